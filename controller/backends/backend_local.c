/*
 * The local backend: sandboxes as processes of this host. This file learns about the host, refuses
 * to start where it cannot work, and holds the table; local_sandbox.c is the life of one sandbox.
 *
 * Nothing here is the only copy of anything: sandboxes live in their own sessions and outlast the
 * controller; the next one finds them by <state_dir>/sandboxes (local_adopt.c).
 */
#include "controller/backends/backend_local.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "controller/backends/local_adopt.h"
#include "controller/backends/local_backend.h"
#include "controller/backends/local_clearing.h"
#include "controller/backends/local_hint.h"
#include "controller/backends/local_run.h"
#include "controller/backends/local_sandbox.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#define HELPER_DEADLINE_MS 20000
#define TRIAL_WORDS_MAX    KIB(2)

struct local_later {
    sandbox_backend_done_fn done;
    void *ctx;
    bool failed;
    struct err err;
    struct local_later *next;
};

/* ---- answers of the next turn ---- */

static void on_later(void *ctx)
{
    struct local_backend *b = ctx;
    struct local_later *list = TAKE_PTR(b->later);

    while (list) {
        struct local_later *l = list;
        list = l->next;
        l->done(l->ctx, l->failed ? &l->err : NULL);
        free(l);
    }
}

void local_later(struct local_backend *b, sandbox_backend_done_fn done, void *ctx,
                 const struct err *err)
{
    struct local_later *l = MEM_NEW(struct local_later);

    l->done = done;
    l->ctx = ctx;
    l->failed = err != NULL;
    if (err)
        l->err = *err;
    LL_APPEND(b->later, l);
    loop_defer_post(b->later_defer);
}

/* ---- the operations ---- */

static struct local_backend *of(struct sandbox_backend *base)
{
    return CONTAINER_OF(base, struct local_backend, base);
}

static int op_create(struct sandbox_backend *base, const struct sandbox_backend_spec *spec,
                     sandbox_backend_created_fn done, void *ctx, struct err *err)
{
    return local_sandbox_create(of(base), spec, done, ctx, err);
}

static int op_remove(struct sandbox_backend *base, const char *id, int64_t deadline_ms,
                     sandbox_backend_done_fn done, void *ctx, struct err *err)
{
    struct local_backend *b = of(base);
    struct local_sandbox *sb = local_sandbox_find(b, id);

    if (sb)
        local_sandbox_remove(sb, deadline_ms, done, ctx);
    else
        local_later(b, done, ctx, NULL);
    return 0;
}

static int op_adopt(struct sandbox_backend *base, int64_t deadline_ms, sandbox_backend_done_fn done,
                    void *ctx, struct err *err)
{
    return local_adopt(of(base), deadline_ms, done, ctx, err);
}

static const char *op_describe(const struct sandbox_backend *base)
{
    return ((const struct local_backend *)(const void *)base)->description;
}

static void free_cfg(struct backend_local_cfg *cfg)
{
    union {
        const char *in;
        char *out;
    } owned[] = {
        {cfg->state_dir}, {cfg->runtime_dir}, {cfg->runner}, {cfg->python}, {cfg->log_level}};

    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i].out);
}

static void op_close(struct sandbox_backend *base)
{
    struct local_backend *b = of(base);
    struct local_sandbox *sb, *next;
    struct local_later *l, *l_next;

    local_adopt_stop(b);
    HASH_ITER (hh, b->sandboxes, sb, next)
        local_sandbox_forget(sb);
    local_clearing_close(b);
    LL_FOREACH_SAFE (b->later, l, l_next)
        free(l);
    loop_defer_free(b->later_defer);
    local_host_done(&b->host);
    free_cfg(&b->cfg);
    free(b->description);
    free(b);
}

static const struct sandbox_backend_ops ops = {
    .name = "local",
    .create = op_create,
    .remove = op_remove,
    .adopt = op_adopt,
    .describe = op_describe,
    .close = op_close,
};

/* ---- learning about the host ---- */

static int check_dirs(const struct backend_local_cfg *cfg, struct err *err)
{
    _cleanup_(freep) char *sandboxes = mem_printf("%s/sandboxes", cfg->state_dir);

    if (mkdir(sandboxes, 0700) < 0 && errno != EEXIST)
        return err_errno(err, "state directory: cannot make %s", sandboxes);
    if (access(cfg->runtime_dir, W_OK | X_OK) < 0)
        return err_errno(err, "the runtime directory %s is not writable", cfg->runtime_dir);
    if (strlen(cfg->runtime_dir) > 60)
        return err_set(err, ERR_INVALID, "the runtime directory %s is longer than 60 bytes",
                       cfg->runtime_dir);
    return 0;
}

static int check_runner(struct local_host *h, const char *runner, struct err *err)
{
    struct stat st;

    if (stat(runner, &st) < 0)
        return err_errno(err, "the runner %s (--runner names it)", runner);
    if (!S_ISREG(st.st_mode) || access(runner, X_OK) < 0)
        return err_set(err, ERR_INVALID, "the runner %s cannot be executed", runner);
    h->runner = realpath(runner, NULL);
    return h->runner ? 0 : err_errno(err, "the runner %s", runner);
}

static int check_bwrap(struct local_host *h, struct err *err)
{
    h->bwrap = local_find_program("bwrap");
    if (!h->bwrap)
        return err_set(err, ERR_UNAVAILABLE,
                       "bubblewrap (bwrap) was not found: install it (Debian: apt install "
                       "bubblewrap), or start with --isolation none, which does not isolate");
    return h->is_root ? local_uid_window(&h->uids, err) : 0;
}

/* Starts the interpreter once in a sandbox like all others. */
static int run_trial(const struct local_host *h, struct buf *said, struct local_run *run,
                     struct err *err)
{
    const char *command[] = {h->python->executable, "-I", "-S", "-c", "pass", NULL};
    _cleanup_(local_launch_freep) struct local_launch *launch = NULL;
    uint32_t seed;

    crypto_random(&seed, sizeof(seed));
    uid_t uid = h->is_root ? h->uids.first + seed % h->uids.count : geteuid();
    int r = local_launch_new(&launch, h, uid, command, NULL, 0, NULL, err);
    if (r < 0)
        return r;
    return local_run(&launch->spawn, HELPER_DEADLINE_MS, said, run, err);
}

static int check_isolation(const struct local_host *h, struct err *err)
{
    struct local_run run = {0};
    struct buf said;
    char hint[512];

    buf_init(&said, TRIAL_WORDS_MAX);
    int r = run_trial(h, &said, &run, err);
    _cleanup_(freep) char *words = buf_take(&said);
    size_t len = strlen(words);
    while (len > 0 && words[len - 1] == '\n')
        words[--len] = '\0';
    if (r < 0)
        return err_wrap(err, "no sandbox can be made on this host");
    if (run.timed_out)
        return err_set(err, ERR_TIMEOUT,
                       "a first sandbox, made as a trial, did not start within %d s: %s",
                       HELPER_DEADLINE_MS / 1000, words);
    if (run.exit_code == 0 && run.signal == 0)
        return 0;
    if (local_hint(words, "/proc/sys", hint, sizeof(hint)))
        return err_set(err, ERR_UNAVAILABLE, "no sandbox can be made on this host: %s: %s", hint,
                       words);
    return err_set(err, ERR_UNAVAILABLE,
                   "no sandbox can be made on this host: python, started in one as a trial, ended "
                   "with %s %d: %s",
                   run.signal ? "signal" : "status", run.signal ? run.signal : run.exit_code,
                   words);
}

/* What holds memory and CPU: one line, since what is promised depends on it. */
static void learn_cgroups(struct local_host *h)
{
    struct err why = {0};

    if (h->isolated)
        local_cgroups_find(&h->cgroups, &why);
    else
        err_set(&why, ERR_UNAVAILABLE, "without isolation none are made");
    const char *memory = local_cgroups_holder(&h->cgroups, LOCAL_CGROUP_MEMORY);
    const char *pids = local_cgroups_holder(&h->cgroups, LOCAL_CGROUP_PIDS);
    const char *cpu = local_cgroups_holder(&h->cgroups, LOCAL_CGROUP_CPU);
    log_event(LOG_INFO, "memory_held_by", "memory", memory ? memory : "watchdog", "pids",
              pids ? pids : "rlimit", "cpu", cpu ? cpu : "nice", "reason",
              memory && pids && cpu ? NULL : why.text, NULL);
}

/* What no folder shown to sandboxes may hold: our own state and the user's home. */
static int find_python(struct local_backend *b, const char *const *allowed, struct err *err)
{
    const struct backend_local_cfg *cfg = &b->cfg;
    const struct passwd *user = getpwuid(geteuid());
    const char *named[] = {cfg->state_dir, cfg->runtime_dir, getenv("HOME"),
                           user ? user->pw_dir : NULL};
    char *owned[ARRAY_LEN(named)] = {NULL};
    const char *secrets[2 * ARRAY_LEN(named) + 1];
    static const char *const nothing[] = {NULL};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(named); i++) {
        if (!named[i] || named[i][0] != '/')
            continue;
        secrets[n++] = named[i];
        owned[i] = realpath(named[i], NULL);
        if (owned[i])
            secrets[n++] = owned[i];
    }
    secrets[n] = NULL;
    const struct local_python_rules rules = {secrets, allowed ? allowed : nothing};
    int r = local_python_find(&b->host.python, cfg->python, &rules, HELPER_DEADLINE_MS, err);
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    return r;
}

static void warn_of_left_out(const struct local_python *p)
{
    for (size_t i = 0; i < p->n_left_out; i++)
        log_event(LOG_WARN, "python_path_left_out", "path", p->left_out[i].path, "detail",
                  p->left_out[i].is_secret
                      ? "the environment's sys.path names this folder, which holds things no "
                        "sandbox may see"
                      : "the environment's sys.path names this folder outside of the "
                        "environment: sandboxes do not see it (--python-path shows it to them)",
                  NULL);
}

static int learn_host(struct local_backend *b, const char *const *python_paths, struct err *err)
{
    const struct backend_local_cfg *cfg = &b->cfg;
    struct local_host *h = &b->host;

    h->isolated = !cfg->isolation_none;
    h->network_host = cfg->network_host;
    h->is_root = geteuid() == 0;
    h->files_bytes = cfg->files_max_bytes;
    h->memory_bytes = cfg->memory_bytes;
    local_host_tops(h);
    int r = check_dirs(cfg, err);
    if (r == 0)
        r = check_runner(h, cfg->runner, err);
    if (r == 0 && h->isolated)
        r = check_bwrap(h, err);
    if (r == 0)
        r = find_python(b, python_paths, err);
    if (r == 0 && h->isolated)
        warn_of_left_out(h->python);
    if (r == 0 && h->isolated)
        r = check_isolation(h, err);
    if (r == 0)
        learn_cgroups(h);
    return r;
}

static void copy_cfg(struct backend_local_cfg *to, const struct backend_local_cfg *from)
{
    *to = *from;
    to->state_dir = mem_dup_str(from->state_dir);
    to->runtime_dir = mem_dup_str(from->runtime_dir);
    to->runner = mem_dup_str(from->runner);
    to->python = mem_dup_str(from->python);
    to->python_paths = NULL; /* looked at once */
    to->log_level = mem_dup_str(from->log_level ? from->log_level : "info");
}

static char *describe(const struct local_host *h)
{
    if (!h->isolated)
        return mem_dup_str("processes of this host, without isolation");
    return mem_printf("bubblewrap namespaces, %s, %s",
                      h->is_root ? "a user id of its own for each"
                                 : "all under the controller's user",
                      h->network_host ? "on the host's network" : "without network");
}

int backend_local_new(struct sandbox_backend **ret, struct loop *loop,
                      const struct backend_local_cfg *cfg, struct err *err)
{
    struct local_backend *b = MEM_NEW(struct local_backend);

    b->base.ops = &ops;
    b->loop = loop;
    b->later_defer = loop_defer_new(loop, on_later, b);
    copy_cfg(&b->cfg, cfg);
    int r = learn_host(b, cfg->python_paths, err);
    if (r < 0) {
        op_close(&b->base);
        return r;
    }
    b->description = describe(&b->host);
    if (!b->host.isolated)
        log_event(LOG_WARN, "isolation_none", "detail",
                  "sandboxes are not isolated: code runs with the controller's rights on this host",
                  NULL);
    *ret = &b->base;
    return 0;
}
