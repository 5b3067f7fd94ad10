/*
 * Only the interpreter knows where its parts are (pyenv, uv, conda, Debian and venvs all differ),
 * so it is asked, once, at the start of the controller.
 */
#include "controller/backends/local_python.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/backends/local_run.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"

/* prefixes: needed. paths: what else stands in sys.path, by a .pth file for instance. */
static const char question[] =
    "import json, os, sys\n"
    "print('\\n' + json.dumps({'caesarion_python': sys.executable,\n"
    "    'prefixes': [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],\n"
    "    'paths': [p for p in sys.path if os.path.exists(p)]}))\n";
static const char answer_start[] = "{\"caesarion_python\"";

#define SAID_MAX KIB(64)

struct local_python *local_python_free(struct local_python *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < p->n_trees; i++)
        free(p->trees[i]);
    for (size_t i = 0; i < p->n_links; i++) {
        free(p->links[i].target);
        free(p->links[i].path);
    }
    for (size_t i = 0; i < p->n_left_out; i++)
        free(p->left_out[i].path);
    free(p->trees);
    free(p->links);
    free(p->left_out);
    free(p->executable);
    free(p);
    return NULL;
}

char *local_find_program(const char *name)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? mem_dup_str(name) : NULL;
    if (!path || !*path)
        path = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        size_t len = strcspn(path, ":");
        _cleanup_(freep) char *file = mem_printf("%.*s/%s", (int)len, path, name);
        struct stat st;
        if (len > 0 && path[0] == '/' && stat(file, &st) == 0 && S_ISREG(st.st_mode) &&
            access(file, X_OK) == 0)
            return TAKE_PTR(file);
        if (path[len] == '\0')
            return NULL;
        path += len + 1;
    }
}

static bool is_below(const char *path, const char *tree)
{
    size_t n = strlen(tree);

    return strncmp(path, tree, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Bound for every sandbox anyway. */
static bool is_system(const char *path)
{
    static const char *const system_trees[] = {"/usr",   "/bin",   "/sbin",  "/lib",
                                               "/lib32", "/lib64", "/libx32"};

    for (size_t i = 0; i < ARRAY_LEN(system_trees); i++)
        if (is_below(path, system_trees[i]))
            return true;
    return false;
}

static bool is_covered(const struct local_python *p, const char *path)
{
    if (is_system(path))
        return true;
    for (size_t i = 0; i < p->n_trees; i++)
        if (is_below(path, p->trees[i]))
            return true;
    return false;
}

/* A home: "/home/alice", whoever that is. */
static bool is_home(const char *path)
{
    return strncmp(path, "/home/", 6) == 0 && !strchr(path + 6, '/');
}

/* Too much to show to a sandbox, whoever names it. */
static bool is_too_wide(const char *path, const char *const *secrets)
{
    static const char *const never[] = {"/",    "/etc",   "/home", "/root", "/var", "/var/lib",
                                        "/opt", "/tmp",   "/run",  "/proc", "/dev", "/sys",
                                        "/srv", "/media", "/mnt",  "/boot"};

    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (strcmp(path, never[i]) == 0)
            return true;
    for (; *secrets; secrets++)
        if (is_below(*secrets, path))
            return true;
    return is_home(path);
}

static void drop_tree(struct local_python *p, size_t i)
{
    free(p->trees[i]);
    p->trees[i] = p->trees[--p->n_trees];
}

static int add_tree(struct local_python *p, const char *tree, struct err *err)
{
    if (is_covered(p, tree))
        return 0;
    for (size_t i = p->n_trees; i-- > 0;)
        if (is_below(p->trees[i], tree))
            drop_tree(p, i);
    if (p->n_trees == LOCAL_PYTHON_TREES_MAX)
        return err_set(err, ERR_INVALID, "python's sys.path has more than %d folders",
                       LOCAL_PYTHON_TREES_MAX);
    p->trees[p->n_trees++] = mem_dup_str(tree);
    return 0;
}

static bool is_allowed(const struct local_python *p, const char *tree,
                       const struct local_python_rules *rules)
{
    if (is_covered(p, tree))
        return true;
    for (const char *const *a = rules->allowed; *a; a++) {
        _cleanup_(freep) char *real = realpath(*a, NULL);
        if (is_below(tree, *a) || (real && is_below(tree, real)))
            return true;
    }
    return false;
}

static void leave_out(struct local_python *p, const char *tree, bool is_secret)
{
    for (size_t i = 0; i < p->n_left_out; i++)
        if (strcmp(p->left_out[i].path, tree) == 0)
            return;
    if (p->n_left_out < LOCAL_PYTHON_TREES_MAX)
        p->left_out[p->n_left_out++] = (struct local_python_left_out){mem_dup_str(tree), is_secret};
}

/*
 * A tree, and where it really is: links inside it may say either. What is bound is what a link
 * leads to, so both are judged before either is taken.
 */
static int add_path(struct local_python *p, const char *path, bool needed,
                    const struct local_python_rules *rules, struct err *err)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    _cleanup_(freep) char *tree = mem_dup_n(path, len);
    _cleanup_(freep) char *found = realpath(tree, NULL);
    const char *real = found ? found : tree;
    if (tree[0] != '/' || (is_covered(p, tree) && is_covered(p, real)))
        return 0;
    bool is_secret = is_too_wide(tree, rules->secrets) || is_too_wide(real, rules->secrets);
    if (is_secret && needed)
        return err_set(err, ERR_INVALID,
                       "the interpreter's files lie in %s, which holds things no sandbox may see: "
                       "make a virtual environment in a folder of its own, and name its python "
                       "with --python",
                       tree);
    if (is_secret || (!needed && !(is_allowed(p, tree, rules) && is_allowed(p, real, rules)))) {
        leave_out(p, tree, is_secret);
        return 0;
    }
    int r = add_tree(p, tree, err);
    return r < 0 ? r : add_tree(p, real, err);
}

static int add_list(struct local_python *p, const json_t *said, const char *key, bool needed,
                    const struct local_python_rules *rules, struct err *err)
{
    const json_t *list = json_object_get(said, key);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *path = json_string_value(json_array_get(list, i));
        int r = path && *path ? add_path(p, path, needed, rules, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* "target" as seen from the folder of "link", without resolving anything further. */
static char *link_target(const char *link, const char *target)
{
    const char *slash = strrchr(link, '/');

    if (target[0] == '/')
        return mem_dup_str(target);
    return mem_printf("%.*s/%s", (int)(slash - link), link, target);
}

/* Follows the executable's links; hops that lie in no tree are made anew inside. */
static int add_links(struct local_python *p, struct err *err)
{
    _cleanup_(freep) char *at = mem_dup_str(p->executable);

    for (int hops = 0; hops < 40; hops++) {
        char target[PATH_MAX];
        ssize_t n = readlink(at, target, sizeof(target) - 1);
        if (n < 0)
            break;
        target[n] = '\0';
        if (!is_covered(p, at)) {
            if (p->n_links == LOCAL_PYTHON_LINKS_MAX)
                return err_set(err, ERR_INVALID, "%s is reached over too many links",
                               p->executable);
            p->links[p->n_links++] =
                (struct local_python_link){mem_dup_str(target), mem_dup_str(at)};
        }
        char *next = link_target(at, target);
        free(at);
        at = next;
    }
    if (!is_covered(p, at)) { /* the binary alone, outside of every prefix */
        if (p->n_trees == LOCAL_PYTHON_TREES_MAX)
            return err_set(err, ERR_INVALID, "python's sys.path has more than %d folders",
                           LOCAL_PYTHON_TREES_MAX);
        p->trees[p->n_trees++] = TAKE_PTR(at);
    }
    return 0;
}

int local_python_parse(struct local_python **ret, const char *said,
                       const struct local_python_rules *rules, struct err *err)
{
    const char *start = strstr(said, answer_start);
    _cleanup_(json_decrefp) json_t *json = NULL;

    if (!start || jsonx_parse(&json, slice_make(start, strcspn(start, "\n")), err) < 0)
        return err_set(err, ERR_INVALID, "it did not say where its files are");
    const char *executable = json_string_value(json_object_get(json, "caesarion_python"));
    if (!executable || executable[0] != '/')
        return err_set(err, ERR_INVALID, "it does not know its own path (sys.executable)");

    _cleanup_(local_python_freep) struct local_python *p = MEM_NEW(struct local_python);
    p->executable = mem_dup_str(executable);
    p->trees = MEM_NEW_N(char *, LOCAL_PYTHON_TREES_MAX);
    p->left_out = MEM_NEW_N(struct local_python_left_out, LOCAL_PYTHON_TREES_MAX);
    p->links = MEM_NEW_N(struct local_python_link, LOCAL_PYTHON_LINKS_MAX);
    int r = add_list(p, json, "prefixes", /* needed= */ true, rules, err);
    if (r == 0)
        r = add_list(p, json, "paths", /* needed= */ false, rules, err);
    if (r == 0)
        r = add_links(p, err);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(p);
    return 0;
}

/* The environment without our own settings: the callers' tokens may be there. */
static const char **helper_env(void)
{
    size_t n = 0, used = 0;

    while (environ[n])
        n++;
    const char **env = MEM_NEW_N(const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "CAESARION_", 10) != 0)
            env[used++] = environ[i];
    return env;
}

int local_python_find(struct local_python **ret, const char *python,
                      const struct local_python_rules *rules, int64_t deadline_ms, struct err *err)
{
    _cleanup_(freep) char *path = local_find_program(python);
    struct local_run run;
    struct buf said;

    if (!path && strchr(python, '/') && access(python, X_OK) < 0 && errno != ENOENT)
        return err_errno(err, "python: %s cannot be executed", python);
    if (!path)
        return err_set(err, ERR_INVALID,
                       "python: %s was not found; name an interpreter that has ipykernel with "
                       "--python",
                       python);
    const char *argv[] = {path, "-I", "-c", question, NULL};
    _cleanup_(freep) const char **env = helper_env();
    struct local_spawn spawn = {.argv = argv, .envp = env};
    buf_init(&said, SAID_MAX);
    buf_append(&said, "", 0);
    int r = local_run(&spawn, deadline_ms, &said, &run, err);
    if (r == 0 && run.timed_out)
        r = err_set(err, ERR_TIMEOUT, "it did not answer within %lld s",
                    (long long)(deadline_ms / 1000));
    _cleanup_(freep) char *text = buf_take(&said);
    if (r == 0)
        r = local_python_parse(ret, text, rules, err);
    if (r < 0) {
        size_t len = strlen(text);
        bool spoke = len > 0 && !strstr(text, answer_start);
        err_wrap(err, "python: %s cannot be used", path);
        if (spoke) {
            _cleanup_(freep) char *why = mem_dup_str(err->text);
            err_set(err, err->code, "%s; its words: %s", why, text + (len > 1024 ? len - 1024 : 0));
        }
    }
    return r;
}
