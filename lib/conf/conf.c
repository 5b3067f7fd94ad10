/*
 * Options from one table. Three passes write the same fields, each overriding the one before:
 * defaults, environment, command line. All go through store(), which is the only place that knows
 * the types; what it refuses is prefixed with where the text stood ("--warm", "CAESARION_WARM").
 */
#include "lib/conf/conf.h"

#include "lib/base/mem.h"
#include "lib/base/parse.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define STRING_MAX      4096U
#define LIST_MAX        64U
#define SECRET_FILE_MAX 4096U
#define FILE_SUFFIX     "-file"

_unused_ static const size_t sizes[] = {
    /* for an assertion */
    [CONF_STRING] = sizeof(char *),
    [CONF_INT] = sizeof(int64_t),
    [CONF_SIZE] = sizeof(uint64_t),
    [CONF_DURATION] = sizeof(int64_t),
    [CONF_BOOL] = sizeof(bool),
    [CONF_ENUM] = sizeof(int),
    [CONF_LIST] = sizeof(struct conf_list),
};

static void *field(const struct conf_option *o, void *values)
{
    assert(o->size == sizes[o->type]);
    return (char *)values + o->offset;
}

static uint64_t max_of(const struct conf_option *o)
{
    if (o->max)
        return o->max;
    switch (o->type) {
    case CONF_STRING:
        return STRING_MAX;
    case CONF_LIST:
        return LIST_MAX;
    case CONF_INT:
    case CONF_SIZE:
    case CONF_DURATION:
    case CONF_BOOL:
    case CONF_ENUM:
        break;
    }
    return INT64_MAX;
}

/* ---- numbers as people write them ---- */

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest unit that divides the number. */
static void put_unit(struct buf *out, uint64_t n, const struct unit *units, size_t n_units)
{
    size_t i = 0;
    while (i + 1 < n_units && (n == 0 || n % units[i].factor))
        i++;
    (void)buf_printf(out, "%llu%s", (unsigned long long)(n / units[i].factor), units[i].name);
}

static void put_number(struct buf *out, enum conf_type type, uint64_t n)
{
    static const struct unit bytes[] = {
        {"Gi", 1ULL << 30}, {"Mi", 1ULL << 20}, {"Ki", 1ULL << 10}, {"", 1}};
    static const struct unit times[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    static const struct unit plain[] = {{"", 1}};
    if (type == CONF_SIZE)
        put_unit(out, n, bytes, ARRAY_LEN(bytes));
    else if (type == CONF_DURATION)
        put_unit(out, n, times, ARRAY_LEN(times));
    else
        put_unit(out, n, plain, ARRAY_LEN(plain));
}

static int check_range(const struct conf_option *o, uint64_t n, struct err *err)
{
    if (n >= o->min && n <= max_of(o))
        return 0;
    struct buf text;
    buf_init(&text, 256);
    if (o->type == CONF_STRING)
        (void)buf_append_str(&text, "the length must be ");
    else
        (void)buf_append_str(&text, "must be ");
    (void)buf_append_str(&text, n < o->min ? "at least " : "at most ");
    put_number(&text, o->type, n < o->min ? o->min : max_of(o));
    int r = err_set(err, ERR_INVALID, "%s", text.ptr);
    buf_done(&text);
    return r;
}

/* ---- storing one value ---- */

static int store_string(const struct conf_option *o, char **dst, const char *text, struct err *err)
{
    int r = check_range(o, strlen(text), err);
    if (r < 0)
        return r;
    mem_free_secret(*dst);
    *dst = mem_dup_str(text);
    return 0;
}

static int store_word(const struct conf_option *o, int *dst, const char *text, struct err *err)
{
    struct buf known;
    buf_init(&known, KIB(2));
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(o->words[i], text) == 0) {
            *dst = i;
            buf_done(&known);
            return 0;
        }
        (void)buf_printf(&known, "%s%s", i ? ", " : "", o->words[i]);
    }
    int r =
        err_set(err, ERR_INVALID, "\"%.64s\" is not one of %s", text, known.ptr ? known.ptr : "");
    buf_done(&known);
    return r;
}

static int store_item(const struct conf_option *o, struct conf_list *dst, const char *text,
                      size_t len, struct err *err)
{
    if (len == 0 || len > STRING_MAX)
        return err_set(err, ERR_INVALID, "an entry must be 1 to %u bytes long", STRING_MAX);
    if (dst->len >= max_of(o))
        return err_set(err, ERR_INVALID, "at most %llu entries", (unsigned long long)max_of(o));
    dst->items = mem_resize(dst->items, (dst->len + 1) * sizeof(*dst->items));
    dst->items[dst->len++] = mem_dup_n(text, len);
    return 0;
}

static int store(const struct conf_option *o, void *values, const char *text, struct err *err)
{
    void *dst = field(o, values);
    uint64_t n = 0;
    int64_t ms = 0;
    int r = 0;
    switch (o->type) {
    case CONF_STRING:
        return store_string(o, dst, text, err);
    case CONF_BOOL:
        return parse_bool(text, dst, err);
    case CONF_ENUM:
        return store_word(o, dst, text, err);
    case CONF_LIST:
        return store_item(o, dst, text, strlen(text), err);
    case CONF_INT:
        r = parse_u64(text, 0, INT64_MAX, &n, err);
        break;
    case CONF_SIZE:
        r = parse_size(text, &n, err);
        break;
    case CONF_DURATION:
        r = parse_duration_ms(text, &ms, err);
        n = (uint64_t)ms;
        break;
    }
    if (r == 0)
        r = check_range(o, n, err);
    if (r < 0)
        return r;
    if (o->type == CONF_SIZE)
        *(uint64_t *)dst = n;
    else
        *(int64_t *)dst = (int64_t)n;
    return 0;
}

static void clear(const struct conf_option *o, void *values)
{
    void *dst = field(o, values);
    if (o->type == CONF_STRING) {
        mem_free_secret(*(char **)dst);
        *(char **)dst = NULL;
    }
    if (o->type == CONF_LIST) {
        struct conf_list *list = dst;
        for (size_t i = 0; i < list->len; i++)
            free(list->items[i]);
        free(list->items);
        *list = (struct conf_list){0};
    }
}

/* A list in one text (environment, default) replaces what was there. */
static int store_whole(const struct conf_option *o, void *values, const char *text, struct err *err)
{
    if (o->type != CONF_LIST)
        return store(o, values, text, err);
    clear(o, values);
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        int r = store_item(o, field(o, values), p, len, err);
        if (r < 0)
            return r;
        p += len;
        if (!*p)
            return 0;
    }
}

/* ---- secrets from files ---- */

static int store_file(const struct conf_option *o, void *values, const char *path, struct err *err)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, "cannot open %.200s", path);
    char text[SECRET_FILE_MAX + 1];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) != 0) {
        if (n > 0)
            len += (size_t)n;
        else if (errno != EINTR)
            return err_errno(err, "cannot read %.200s", path);
    }
    int r;
    if (len > SECRET_FILE_MAX || memchr(text, '\0', len)) {
        r = err_set(err, ERR_INVALID, "%.200s is not a text of at most %u bytes", path,
                    SECRET_FILE_MAX);
    } else {
        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
            len--;
        text[len] = '\0';
        r = store(o, values, text, err);
    }
    explicit_bzero(text, sizeof(text));
    return r;
}

/* ---- finding rows ---- */

static const struct conf_option *find(const struct conf_program *p, const char *name, size_t len)
{
    for (size_t i = 0; i < p->n_options; i++)
        if (strlen(p->options[i].flag) == len && memcmp(p->options[i].flag, name, len) == 0)
            return &p->options[i];
    return NULL;
}

/* The secret whose "--<flag>-file" this is. */
static const struct conf_option *find_secret_file(const struct conf_program *p, const char *name,
                                                  size_t len)
{
    size_t suffix = strlen(FILE_SUFFIX);
    if (len <= suffix || memcmp(name + len - suffix, FILE_SUFFIX, suffix) != 0)
        return NULL;
    const struct conf_option *o = find(p, name, len - suffix);
    return o && o->secret ? o : NULL;
}

static bool has_file_twin(const struct conf_program *p, const struct conf_option *o)
{
    if (!o->secret)
        return false;
    _cleanup_(freep) char *name = mem_printf("%s" FILE_SUFFIX, o->flag);
    return !find(p, name, strlen(name));
}

/* Edits between two names (Levenshtein, one row). */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[65];
    if (a_len > 64 || b_len > 64)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

static int unknown(const struct conf_program *p, const char *name, size_t len, struct err *err)
{
    const char *best = NULL;
    size_t least = MAX(len / 3, (size_t)2) + 1;
    for (size_t i = 0; i < p->n_options; i++) {
        const char *flag = p->options[i].flag;
        size_t d = distance(name, len, flag, strlen(flag));
        if (len >= 3 && strncmp(flag, name, len) == 0)
            d = 1;
        if (d < least) {
            least = d;
            best = flag;
        }
    }
    int shown = (int)MIN(len, (size_t)64);
    if (best)
        return err_set(err, ERR_INVALID, "--%.*s is not an option; did you mean --%s?", shown, name,
                       best);
    return err_set(err, ERR_INVALID, "--%.*s is not an option; see --help", shown, name);
}

/* ---- the three passes ---- */

static const char *arg_name(const struct conf_option *o)
{
    if (o->arg)
        return o->arg;
    switch (o->type) {
    case CONF_STRING:
    case CONF_LIST:
        return "TEXT";
    case CONF_INT:
        return "N";
    case CONF_SIZE:
        return "SIZE";
    case CONF_DURATION:
        return "TIME";
    case CONF_BOOL:
    case CONF_ENUM:
        break;
    }
    return NULL;
}

char *conf_env_name(const struct conf_program *p, const char *flag)
{
    char *name = mem_printf("%s%s", p->env_prefix, flag);
    for (char *c = name + strlen(p->env_prefix); *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return name;
}

static int read_defaults(const struct conf_program *p, void *values, struct err *err)
{
    for (size_t i = 0; i < p->n_options; i++) {
        const struct conf_option *o = &p->options[i];
        assert(!o->secret || (o->type == CONF_STRING && !o->def));
        if (o->def && store_whole(o, values, o->def, err) < 0)
            return err_wrap(err, "default of --%s", o->flag);
    }
    return 0;
}

/* An empty variable counts as unset: that is how one takes a variable back in a compose file. */
static int read_env(const struct conf_program *p, void *values, struct err *err)
{
    for (size_t i = 0; i < p->n_options; i++) {
        const struct conf_option *o = &p->options[i];
        _cleanup_(freep) char *name = conf_env_name(p, o->flag);
        if (has_file_twin(p, o)) {
            _cleanup_(freep) char *file_name = mem_printf("%s_FILE", name);
            const char *path = getenv(file_name);
            if (path && *path && store_file(o, values, path, err) < 0)
                return err_wrap(err, "%s", file_name);
        }
        char *text = getenv(name);
        if (!text || !*text)
            continue;
        if (store_whole(o, values, text, err) < 0)
            return err_wrap(err, "%s", name);
        if (o->secret) { /* neither children nor /proc/<pid>/environ shall show it */
            explicit_bzero(text, strlen(text));
            unsetenv(name);
        }
    }
    return 0;
}

struct args {
    const struct conf_program *program;
    int argc;
    char *const *argv;
    int next;
    bool *seen; /* lists that the command line has begun to fill */
};

/* The value of the flag at `arg`: behind "=", or the next argument. */
static int flag_value(struct args *a, const char *inline_value, const char *flag, const char **ret,
                      struct err *err)
{
    if (inline_value) {
        *ret = inline_value;
        return 0;
    }
    if (a->next >= a->argc || strncmp(a->argv[a->next], "--", 2) == 0)
        return err_set(err, ERR_INVALID, "--%s needs a value", flag);
    *ret = a->argv[a->next++];
    return 0;
}

static int store_arg(struct args *a, const struct conf_option *o, const char *inline_value,
                     void *values, struct err *err)
{
    const char *text = NULL;
    if (o->type == CONF_BOOL && !inline_value)
        inline_value = "true";
    int r = flag_value(a, inline_value, o->flag, &text, err);
    if (r < 0)
        return r;
    size_t row = (size_t)(o - a->program->options);
    if (o->type == CONF_LIST && !a->seen[row])
        clear(o, values);
    a->seen[row] = true;
    r = store(o, values, text, err);
    return r < 0 ? err_wrap(err, "--%s", o->flag) : 0;
}

static int read_flag(struct args *a, const char *arg, void *values, struct err *err)
{
    const struct conf_program *p = a->program;
    const char *name = arg + 2;
    size_t len = strcspn(name, "=");
    const char *inline_value = name[len] == '=' ? name + len + 1 : NULL;
    const char *text = NULL;
    const struct conf_option *o = find(p, name, len);
    const struct conf_option *secret = o ? NULL : find_secret_file(p, name, len);
    int r;
    if (secret) {
        if (flag_value(a, inline_value, "…-file", &text, err) < 0)
            return err_set(err, ERR_INVALID, "--%s" FILE_SUFFIX " needs a value", secret->flag);
        r = store_file(secret, values, text, err);
        return r < 0 ? err_wrap(err, "--%s" FILE_SUFFIX, secret->flag) : 0;
    }
    if (!o)
        return unknown(p, name, len, err);
    if (o->secret) {
        _cleanup_(freep) char *env = conf_env_name(p, o->flag);
        return err_set(err, ERR_INVALID,
                       "--%s is a secret, and everybody can read a command line; set %s or give "
                       "a file with --%s" FILE_SUFFIX,
                       o->flag, env, o->flag);
    }
    return store_arg(a, o, inline_value, values, err);
}

/* "-f VALUE" */
static int read_letter(struct args *a, const char *arg, void *values, struct err *err)
{
    const struct conf_program *p = a->program;
    for (size_t i = 0; i < p->n_options; i++)
        if (p->options[i].letter == arg[1] && arg[1] && !arg[2])
            return store_arg(a, &p->options[i], NULL, values, err);
    return err_set(err, ERR_INVALID, "\"%.64s\" is not an option; options begin with --", arg);
}

static int read_bare(struct args *a, const char *arg, void *values, struct err *err)
{
    const struct conf_program *p = a->program;
    for (size_t i = 0; i < p->n_options; i++) {
        if (!p->options[i].bare)
            continue;
        if (a->seen[i])
            return err_set(err, ERR_INVALID, "\"%.64s\" is one %s too many", arg,
                           arg_name(&p->options[i]));
        return store_arg(a, &p->options[i], arg, values, err);
    }
    return err_set(err, ERR_INVALID, "\"%.64s\" is not an option; options begin with --", arg);
}

static int read_arg(struct args *a, const char *arg, void *values, struct err *err)
{
    if (arg[0] != '-')
        return read_bare(a, arg, values, err);
    if (arg[1] != '-')
        return read_letter(a, arg, values, err);
    if (arg[2] == '\0')
        return err_set(err, ERR_INVALID, "\"%s\" is not an option; options begin with --", arg);
    return read_flag(a, arg, values, err);
}

/* --help and --version win over everything else, also over mistakes beside them. */
static int wants_text(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return CONF_HELP;
        if (strcmp(argv[i], "--version") == 0)
            return CONF_VERSION;
    }
    return 0;
}

int conf_parse(const struct conf_program *p, int argc, char *const *argv, void *values,
               struct err *err)
{
    int r = wants_text(argc, argv);
    if (r != 0)
        return r;
    r = read_defaults(p, values, err);
    if (r < 0)
        return r;
    r = read_env(p, values, err);
    if (r < 0)
        return r;
    _cleanup_(freep) bool *seen = MEM_NEW_N(bool, p->n_options);
    struct args a = {.program = p, .argc = argc, .argv = argv, .next = 1, .seen = seen};
    while (a.next < argc) {
        r = read_arg(&a, argv[a.next++], values, err);
        if (r < 0)
            return r;
    }
    return 0;
}

void conf_done(const struct conf_program *p, void *values)
{
    for (size_t i = 0; i < p->n_options; i++)
        clear(&p->options[i], values);
}

/* ---- help ---- */

static void put_heading(struct buf *out, const struct conf_program *p, const struct conf_option *o)
{
    if (o->secret && !has_file_twin(p, o))
        (void)buf_printf(out, "  (%s, environment only)", o->flag);
    else
        (void)buf_printf(out, "  --%s%s", o->flag, o->secret ? FILE_SUFFIX : "");
    if (o->letter)
        (void)buf_printf(out, ", -%c", o->letter);
    if (o->secret) {
        (void)buf_append_str(out, has_file_twin(p, o) ? " PATH" : "");
    } else if (o->type == CONF_ENUM) {
        for (int i = 0; o->words[i]; i++)
            (void)buf_printf(out, "%c%s", i ? '|' : ' ', o->words[i]);
    } else if (arg_name(o)) {
        (void)buf_printf(out, " %s", arg_name(o));
    }
    (void)buf_append_str(out, "\n      ");
}

static void put_limits(struct buf *out, const struct conf_option *o)
{
    bool number = o->type == CONF_INT || o->type == CONF_SIZE || o->type == CONF_DURATION;
    if (number && (o->min || o->max)) {
        (void)buf_append_str(out, "; ");
        put_number(out, o->type, o->min);
        if (o->max) {
            (void)buf_append_str(out, " to ");
            put_number(out, o->type, o->max);
        } else {
            (void)buf_append_str(out, " or more");
        }
    }
    if (o->type == CONF_LIST)
        (void)buf_printf(out, "; may be repeated, at most %llu times",
                         (unsigned long long)max_of(o));
    else if (o->type == CONF_STRING && o->max)
        (void)buf_printf(out, "; at most %llu bytes", (unsigned long long)o->max);
}

int conf_help(const struct conf_program *p, struct buf *out)
{
    int r = buf_printf(out, "%s: %s\n\nUsage: %s [options]", p->name, p->summary, p->name);
    for (size_t i = 0; i < p->n_options && r == 0; i++)
        if (p->options[i].bare)
            r = buf_printf(out, " [%s]", arg_name(&p->options[i]));
    if (r == 0)
        r = buf_append_str(out, "\n\n");
    for (size_t i = 0; i < p->n_options && r == 0; i++) {
        const struct conf_option *o = &p->options[i];
        put_heading(out, p, o);
        (void)buf_append_str(out, o->help);
        put_limits(out, o);
        _cleanup_(freep) char *env = conf_env_name(p, o->flag);
        (void)buf_printf(out, "\n      default %s; environment %s",
                         o->def                 ? o->def
                         : o->type == CONF_BOOL ? "false"
                                                : "none",
                         env);
        if (has_file_twin(p, o))
            (void)buf_printf(out, ", %s_FILE", env);
        r = buf_append_str(out, "\n");
    }
    if (r == 0)
        r = buf_append_str(out,
                           "  --help\n  --version\n\nA flag beats the environment, which beats "
                           "the default. Sizes take Ki, Mi and Gi, times ms, s, m\nand h.\n");
    return r;
}

int conf_version(const struct conf_program *p, struct buf *out)
{
    return buf_printf(out, "%s %s\n", p->name, p->version);
}
