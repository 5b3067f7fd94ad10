/*
 * Why: one place that turns a token into a caller. A token is looked up by its keyed hash (the key
 * is random and lives as long as the process), so neither the time of the look-up nor this
 * process's memory says anything about a token; the hashes are then compared in constant time.
 */
#include "controller/auth/auth.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <uthash.h>

#include "controller/auth/state_dir.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

/* A line is at most name + token + ":" twice + "admin" + CR LF. */
#define FILE_MAX ((size_t)AUTH_CALLERS_MAX * 1024)

struct entry {
    struct caller caller;
    char hash[CRYPTO_HEX_SIZE];
    UT_hash_handle by_hash;
    UT_hash_handle by_name;
};

struct auth {
    struct crypto_hmac hmac;
    struct entry *by_hash;
    struct entry *by_name;
    char *generated;
    char **allow_origin;
    size_t n_allow_origin;
    bool file_is_open;
};

static void token_hash(const struct auth *a, const char *token, char out[CRYPTO_HEX_SIZE])
{
    struct crypto_hmac h = a->hmac;

    crypto_hmac_update(&h, token, strlen(token));
    crypto_hmac_hex(&h, out);
    crypto_hmac_done(&h);
}

static bool name_is_valid(const char *s)
{
    size_t len = strlen(s);

    if (len == 0 || len > AUTH_NAME_MAX || !isalnum((unsigned char)s[0]))
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") == len;
}

static bool token_is_valid(const char *s)
{
    size_t len = strlen(s);

    if (len < AUTH_TOKEN_MIN || len > AUTH_TOKEN_MAX)
        return false;
    for (; *s; s++)
        if (*s <= 0x20 || *s >= 0x7f || *s == ':')
            return false;
    return true;
}

static int add_caller(struct auth *a, const char *name, const char *token, bool admin,
                      struct err *err)
{
    struct entry *e = NULL, *old = NULL;

    if (!name_is_valid(name))
        return err_set(err, ERR_INVALID,
                       "a caller's name is 1 to %d letters, digits or \"-_.@\", beginning with a "
                       "letter or digit",
                       AUTH_NAME_MAX);
    if (!token_is_valid(token))
        return err_set(err, ERR_INVALID,
                       "the token of \"%s\" must be %d to %d visible ASCII characters without "
                       "\":\"",
                       name, AUTH_TOKEN_MIN, AUTH_TOKEN_MAX);
    HASH_FIND(by_name, a->by_name, name, strlen(name), old);
    if (old)
        return err_set(err, ERR_INVALID, "the name \"%s\" is there twice", name);
    e = MEM_NEW(struct entry);
    token_hash(a, token, e->hash);
    HASH_FIND(by_hash, a->by_hash, e->hash, CRYPTO_HEX_SIZE - 1, old);
    if (old) {
        free(e);
        return err_set(err, ERR_INVALID, "\"%s\" and \"%s\" have the same token", old->caller.name,
                       name);
    }
    memcpy(e->caller.name, name, strlen(name) + 1);
    e->caller.admin = admin;
    HASH_ADD(by_hash, a->by_hash, hash, CRYPTO_HEX_SIZE - 1, e);
    HASH_ADD_KEYPTR(by_name, a->by_name, e->caller.name, strlen(e->caller.name), e);
    return 0;
}

/* "name:token[:admin]"; blank lines and those that begin with "#" are nothing. */
static int parse_line(struct auth *a, char *line, struct err *err)
{
    size_t len = strlen(line);

    while (len > 0 && isspace((unsigned char)line[len - 1]))
        line[--len] = 0;
    line += strspn(line, " \t");
    if (!line[0] || line[0] == '#')
        return 0;
    char *token = strchr(line, ':');
    if (!token)
        return err_set(err, ERR_INVALID, "it must be name:token or name:token:admin");
    *token++ = 0;
    char *role = strchr(token, ':');
    if (role) {
        *role++ = 0;
        if (strcmp(role, "admin") != 0)
            return err_set(err, ERR_INVALID,
                           "after the token only \":admin\" may follow (line of \"%s\")", line);
    }
    return add_caller(a, line, token, role != NULL, err);
}

static int parse_lines(struct auth *a, char *text, size_t len, const char *path, struct err *err)
{
    unsigned n = 0;
    char *save = NULL, *end = text + len;

    if (memchr(text, 0, len))
        return err_set(err, ERR_INVALID, "%s is not a text file", path);
    for (char *line = text; line < end; line = save) {
        save = memchr(line, '\n', (size_t)(end - line));
        if (save)
            *save++ = 0;
        else
            save = end;
        if (++n > AUTH_CALLERS_MAX)
            return err_set(err, ERR_LIMIT, "%s has more than %d lines", path, AUTH_CALLERS_MAX);
        if (parse_line(a, line, err) < 0)
            return err_wrap(err, "%s line %u", path, n);
    }
    if (!a->by_name)
        return err_set(err, ERR_INVALID, "%s names no caller: lines are name:token[:admin]", path);
    return 0;
}

/* Unlike our own secrets this file may belong to somebody else, e.g. a mounted Secret. */
static int load_file(struct auth *a, const char *path, struct err *err)
{
    /* A FIFO without a writer must not hold up the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    _cleanup_(fclosep) FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    struct stat st;
    char *text;

    if (!f)
        return err_errno(err, "cannot read the token file %s", path);
    if (fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "the token file %s is not a plain file", path);
    if ((uint64_t)st.st_size > FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, "the token file %s is larger than %zu bytes", path,
                       FILE_MAX);
    a->file_is_open = (st.st_mode & 077) != 0;
    size_t max = (size_t)st.st_size;
    text = mem_alloc(max + 1);
    size_t len = fread(text, 1, max, f);
    text[len] = 0;
    int r = ferror(f) ? err_errno(err, "cannot read the token file %s", path)
                      : parse_lines(a, text, len, path, err);
    explicit_bzero(text, max + 1);
    free(text);
    return r;
}

static int load_generated(struct auth *a, const char *path, struct err *err)
{
    char token[CRYPTO_TOKEN_SIZE];
    size_t len = 0;
    int r = 0;

    if (access(path, F_OK) < 0 && errno == ENOENT) {
        crypto_new_token(token);
        a->generated = mem_dup_str(token);
        explicit_bzero(token, sizeof(token));
        r = secret_file_create(path, a->generated, strlen(a->generated), err);
    } else {
        r = secret_file_read(path, AUTH_TOKEN_MAX + 2, &a->generated, &len, err);
        if (r == 0)
            a->generated[strcspn(a->generated, "\r\n")] = 0;
    }
    if (r < 0)
        return r;
    if (add_caller(a, "admin", a->generated, /* admin= */ true, err) < 0)
        return err_wrap(err, "%s", path);
    return 0;
}

static int copy_origins(struct auth *a, const char *const *origins, struct err *err)
{
    size_t n = 0;

    while (origins && origins[n])
        n++;
    a->allow_origin = MEM_NEW_N(char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *o = origins[i], *scheme = strstr(o, "://");
        if (strcmp(o, "*") != 0 && (!scheme || !scheme[3] || strchr(scheme + 3, '/')))
            return err_set(err, ERR_INVALID,
                           "--allow-origin %s: an origin is scheme://host[:port] without a path, "
                           "or * for all",
                           o);
        a->allow_origin[a->n_allow_origin++] = mem_dup_str(o);
    }
    return 0;
}

int auth_new(struct auth **ret, const struct auth_cfg *cfg, struct err *err)
{
    _cleanup_(auth_freep) struct auth *a = MEM_NEW(struct auth);
    uint8_t key[CRYPTO_KEY_SIZE];
    int r = 0;

    crypto_random(key, sizeof(key));
    crypto_hmac_init(&a->hmac, key, sizeof(key));
    explicit_bzero(key, sizeof(key));
    r = copy_origins(a, cfg->allow_origin, err);
    if (r == 0 && cfg->token_file)
        r = load_file(a, cfg->token_file, err);
    if (r == 0 && cfg->token && add_caller(a, "admin", cfg->token, /* admin= */ true, err) < 0)
        r = err_wrap(err, "CAESARION_TOKEN");
    if (r == 0 && !cfg->token_file && !cfg->token)
        r = load_generated(a, cfg->generated_file, err);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(a);
    return 0;
}

struct auth *auth_free(struct auth *a)
{
    struct entry *e, *next;

    if (!a)
        return NULL;
    HASH_CLEAR(by_name, a->by_name);
    HASH_ITER (by_hash, a->by_hash, e, next) {
        HASH_DELETE(by_hash, a->by_hash, e);
        free(e);
    }
    for (size_t i = 0; i < a->n_allow_origin; i++)
        free(a->allow_origin[i]);
    free(a->allow_origin);
    mem_free_secret(a->generated);
    crypto_hmac_done(&a->hmac);
    free(a);
    return NULL;
}

const char *auth_generated_token(const struct auth *a)
{
    return a->generated;
}

size_t auth_callers(const struct auth *a)
{
    return HASH_CNT(by_hash, a->by_hash);
}

bool auth_token_file_is_open(const struct auth *a)
{
    return a->file_is_open;
}

/* The token in an Authorization header, or NULL when its form is another. */
static const char *header_token(const char *authorization)
{
    static const char *const schemes[] = {"bearer", "token"};

    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(authorization, schemes[i], n) == 0 && authorization[n] == ' ')
            return authorization + n + strspn(authorization + n, " ");
    }
    return NULL;
}

int auth_identify(const struct auth *a, const char *authorization, const char *query_token,
                  const struct caller **ret, struct err *err)
{
    const char *token = authorization ? header_token(authorization) : query_token;
    char hash[CRYPTO_HEX_SIZE];
    struct entry *e = NULL;

    if (!authorization && !query_token)
        return err_set(err, ERR_UNAUTHORIZED,
                       "a token is needed: send \"Authorization: Bearer <token>\" or ?token=");
    if (!token)
        return err_set(err, ERR_UNAUTHORIZED,
                       "the Authorization header must be \"Bearer <token>\" or \"token <token>\"");
    if (strlen(token) <= AUTH_TOKEN_MAX) {
        token_hash(a, token, hash);
        HASH_FIND(by_hash, a->by_hash, hash, CRYPTO_HEX_SIZE - 1, e);
    }
    if (!e || !crypto_equal_bytes(e->hash, hash, CRYPTO_HEX_SIZE - 1))
        return err_set(err, ERR_UNAUTHORIZED, "the token is not known");
    *ret = &e->caller;
    return 0;
}

bool auth_origin_is_allowed(const struct auth *a, const char *origin)
{
    for (size_t i = 0; i < a->n_allow_origin; i++)
        if (strcmp(a->allow_origin[i], "*") == 0 || strcasecmp(a->allow_origin[i], origin) == 0)
            return true;
    return false;
}

/* host[:port] without a port that is the scheme's own. */
static size_t bare_host_len(const char *host, const char *default_port)
{
    size_t len = strlen(host), n = strlen(default_port);

    return len > n && strcmp(host + len - n, default_port) == 0 ? len - n : len;
}

static bool is_same_host(const char *origin, const char *host)
{
    const char *default_port, *rest;

    if (strncasecmp(origin, "http://", 7) == 0) {
        rest = origin + 7;
        default_port = ":80";
    } else if (strncasecmp(origin, "https://", 8) == 0) {
        rest = origin + 8;
        default_port = ":443";
    } else {
        return false;
    }
    size_t a = bare_host_len(rest, default_port), b = bare_host_len(host, default_port);
    return a == b && a > 0 && strncasecmp(rest, host, a) == 0;
}

int auth_check_origin(const struct auth *a, const char *origin, const char *host, struct err *err)
{
    if (!origin || auth_origin_is_allowed(a, origin) || (host && is_same_host(origin, host)))
        return 0;
    return err_set(err, ERR_FORBIDDEN,
                   "requests from pages of %.200s are refused; start with --allow-origin to permit "
                   "them",
                   origin);
}
