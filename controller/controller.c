/*
 * Why: what is made in which order, and how it ends. Adoption comes before the first request, so
 * that a sandbox of the controller before is never unknown.
 *
 *   start:  state directory (lock), callers, socket → backend, table, pool, relay, routes
 *           → adopt → serve, refill, one ready line
 *   stop:   signal: no new connections, no refill, open requests may end (--drain-timeout)
 *           → sandboxes removed (--on-exit remove) → everything freed
 *   A second signal goes on to the next step at once.
 */
#include "controller/controller.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/auth/auth.h"
#include "controller/auth/hosts.h"
#include "controller/auth/state_dir.h"
#include "controller/backends/backend_local.h"
#include "controller/controller_conf.h"
#include "controller/listen.h"
#include "controller/pool/warm_pool.h"
#include "controller/relay/relay.h"
#include "controller/routes/routes.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/http/http.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"

#define UPSTREAM_CONNECTIONS_MAX 8192
#define REMOVE_ALL_MS            15000
#define UNCLAIMED_TIMEOUT_MS     (3600 * 1000)

enum phase { PHASE_STARTING, PHASE_SERVING, PHASE_DRAINING, PHASE_REMOVING, PHASE_STOPPED };

struct controller {
    const struct controller_conf *conf;
    struct listen_socket socket;
    struct state_dir *state;
    struct auth *auth;
    struct hosts *hosts;
    struct loop *loop;
    struct loop_signals *signals;
    struct httpc *http;
    struct sandbox_backend *backend;
    struct sandbox_table *table;
    struct warm_pool *pool;
    struct relay *relay;
    struct routes *routes;
    struct http_server *server;
    enum phase phase;
    struct loop_hook *drain_hook;
    struct loop_timer *drain_timer;
    struct err failed; /* why serving could not begin */
};

static const int stop_signals[] = {SIGTERM, SIGINT, 0};

void controller_block_signals(void)
{
    loop_signals_block(stop_signals);
}

/* ---- stopping ---- */

static void stop_now(struct controller *c)
{
    c->phase = PHASE_STOPPED;
    loop_stop(c->loop);
}

static void on_removed(void *ctx, const struct err *err)
{
    struct controller *c = ctx;

    if (err)
        log_event(LOG_ERROR, "sandboxes_left", "reason", err->text, NULL);
    if (c->phase == PHASE_REMOVING)
        stop_now(c);
}

static void drained(struct controller *c)
{
    c->drain_hook = loop_hook_free(c->drain_hook);
    loop_timer_stop(c->drain_timer);
    warm_pool_stop(c->pool);
    if (c->conf->on_exit == CONF_ON_EXIT_KEEP) {
        stop_now(c);
        return;
    }
    c->phase = PHASE_REMOVING;
    sandbox_table_remove_all(c->table, REMOVE_ALL_MS, on_removed, c);
}

static void on_turn_while_draining(void *ctx)
{
    struct controller *c = ctx;

    if (http_server_active(c->server) == 0)
        drained(c);
}

static void on_drain_deadline(void *ctx)
{
    struct controller *c = ctx;

    log_event(LOG_WARN, "drain_timeout", NULL);
    drained(c);
}

static void drain(struct controller *c)
{
    c->phase = PHASE_DRAINING;
    log_event(LOG_INFO, "stopping", NULL);
    routes_drain(c->routes);
    warm_pool_pause(c->pool);
    http_server_quiesce(c->server);
    c->drain_hook = loop_hook_new(c->loop, on_turn_while_draining, c);
    loop_timer_start(c->drain_timer, c->conf->drain_timeout, 0);
}

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
    struct controller *c = ctx;

    switch (c->phase) {
    case PHASE_SERVING:
        drain(c);
        break;
    case PHASE_DRAINING:
        drained(c);
        break;
    case PHASE_STARTING:
    case PHASE_REMOVING:
    case PHASE_STOPPED:
        stop_now(c);
        break;
    }
}

/* ---- starting ---- */

static void print_ready(const struct controller *c)
{
    const char *token = auth_generated_token(c->auth);

    printf("caesarion ready at %s%s%s\n", c->socket.url, token ? "?token=" : "",
           token ? token : "");
    fflush(stdout);
}

static void serve(struct controller *c)
{
    struct http_server_cfg cfg = {0};
    int fd = c->socket.fd;

    routes_serve(c->routes, &cfg);
    c->socket.fd = -1;
    if (http_server_new(&c->server, c->loop, fd, &cfg, &c->failed) < 0) {
        stop_now(c);
        return;
    }
    c->phase = PHASE_SERVING;
    warm_pool_start(c->pool);
    print_ready(c);
    log_event(LOG_INFO, "ready", "backend", c->backend->ops->name, "isolation",
              c->backend->ops->describe(c->backend), "state_dir", state_dir_path(c->state), NULL);
}

static void on_adopted(void *ctx, const struct err *err)
{
    struct controller *c = ctx;

    if (c->phase != PHASE_STARTING)
        return;
    if (err) {
        c->failed = *err;
        err_wrap(&c->failed, "cannot look for the sandboxes of an earlier start");
        stop_now(c);
        return;
    }
    serve(c);
}

/* The directory this program lies in. */
static char *own_dir(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (n <= 0)
        return mem_dup_str(".");
    path[n] = 0;
    char *slash = strrchr(path, '/');
    return mem_dup_n(path, slash ? (size_t)(slash - path) : 0);
}

/* Where the kernel's interpreter is; its last link is kept, for a virtual environment lives by it.
 */
static char *find_python(const char *given, const char *dir)
{
    if (!given) {
        char *venv = mem_printf("%s/../../.venv/bin/python", dir);
        if (access(venv, X_OK) < 0) {
            free(venv);
            return mem_dup_str("python3");
        }
        free(venv);
        _cleanup_(freep) char *up = mem_printf("%s/../..", dir);
        _cleanup_(freep) char *root = realpath(up, NULL);
        return mem_printf("%s/.venv/bin/python", root ? root : up);
    }
    if (given[0] == '/' || !strchr(given, '/'))
        return mem_dup_str(given);
    _cleanup_(freep) char *cwd = realpath(".", NULL);
    return mem_printf("%s/%s", cwd ? cwd : "", given);
}

static char *find_runner(const char *given, const char *dir)
{
    if (!given)
        return mem_printf("%s/caesarion-runner", dir);
    char *full = realpath(given, NULL);
    return full ? full : mem_dup_str(given);
}

/* Ended by NULL; the caller frees the array, not the entries. */
static const char **entries(const struct conf_list *list)
{
    const char **array = MEM_NEW_N(const char *, list->len + 1);

    for (size_t i = 0; i < list->len; i++)
        array[i] = list->items[i];
    return array;
}

static int check_folders(const struct conf_list *list, struct err *err)
{
    for (size_t i = 0; i < list->len; i++) {
        struct stat st;
        if (list->items[i][0] != '/')
            return err_set(err, ERR_INVALID, "--python-path %s is not an absolute path",
                           list->items[i]);
        if (stat(list->items[i], &st) < 0)
            return err_set(err, ERR_INVALID, "--python-path %s: %s", list->items[i],
                           strerror(errno));
    }
    return 0;
}

static int make_backend(struct controller *c, struct err *err)
{
    const struct controller_conf *o = c->conf;
    _cleanup_(freep) char *dir = own_dir();
    _cleanup_(freep) char *python = find_python(o->python, dir);
    _cleanup_(freep) char *runner = find_runner(o->runner, dir);

    if (o->backend == CONF_BACKEND_KUBERNETES)
        return err_set(err, ERR_INVALID, "--backend kubernetes: this version has only local");
    int r = check_folders(&o->python_path, err);
    if (r < 0)
        return r;
    _cleanup_(freep) const char **python_paths = entries(&o->python_path);
    const struct backend_local_cfg cfg = {
        .state_dir = state_dir_path(c->state),
        .runtime_dir = state_dir_runtime(c->state),
        .runner = runner,
        .python = python,
        .python_paths = python_paths,
        .isolation_none = o->isolation == CONF_ISOLATION_NONE,
        .network_host = o->network == CONF_NETWORK_HOST,
        .memory_bytes = o->memory,
        .pids_max = (uint64_t)o->pids,
        .files_max_bytes = o->files_max,
        .output_limit_bytes = o->output_limit,
        .exec_timeout_ms = o->exec_timeout,
        .idle_timeout_ms = o->idle_timeout,
        .idle_counts_connections = o->idle_counts_connections,
        .unclaimed_timeout_ms = UNCLAIMED_TIMEOUT_MS,
        .log_level = controller_log_levels[o->log_level],
    };
    return backend_local_new(&c->backend, c->loop, &cfg, err);
}

static int make_table(struct controller *c, struct err *err)
{
    struct sandbox_table_cfg cfg = {
        .backend = c->backend,
        .http = c->http,
        .defaults = {.exec_timeout_ms = c->conf->exec_timeout,
                     .idle_timeout_ms = c->conf->idle_timeout},
    };

    memcpy(cfg.key, state_dir_key(c->state), sizeof(cfg.key));
    int r = sandbox_table_new(&c->table, c->loop, &cfg, err);
    explicit_bzero(cfg.key, sizeof(cfg.key));
    return r;
}

static int make_hosts(struct controller *c, struct err *err)
{
    const char **allow = entries(&c->conf->allow_host);
    const struct hosts_cfg cfg = {.listen_host = c->socket.host, .allow = allow};
    int r = hosts_new(&c->hosts, &cfg, err);

    free(allow);
    return r;
}

static int make_auth(struct controller *c, struct err *err)
{
    const char **origins = entries(&c->conf->allow_origin);
    const struct auth_cfg cfg = {
        .token_file = c->conf->token_file,
        .token = c->conf->token,
        .generated_file = state_dir_token_file(c->state),
        .allow_origin = origins,
    };
    int r = auth_new(&c->auth, &cfg, err);
    free(origins);
    if (r == 0 && auth_token_file_is_open(c->auth))
        log_event(LOG_WARN, "token_file_open", "reason",
                  "others can read the token file; run chmod 600 on it", "file",
                  c->conf->token_file, NULL);
    return r;
}

static int assemble(struct controller *c, struct err *err)
{
    const struct warm_pool_cfg pool = {.min_ready = (unsigned)c->conf->warm,
                                       .max_sandboxes = (unsigned)c->conf->max_sandboxes,
                                       .max_per_caller = (unsigned)c->conf->max_per_caller};
    int r = crypto_init(err);

    if (r < 0 || (r = state_dir_open(&c->state, c->conf->state_dir, err)) < 0 ||
        (r = make_auth(c, err)) < 0 ||
        (r = listen_socket_open(&c->socket, c->conf->listen, err)) < 0 ||
        (r = make_hosts(c, err)) < 0 || (r = loop_new(&c->loop, err)) < 0 ||
        (r = loop_signals_new(&c->signals, c->loop, stop_signals, on_signal, c, err)) < 0)
        return r;
    c->drain_timer = loop_timer_new(c->loop, on_drain_deadline, c);
    if ((r = httpc_new(&c->http, c->loop, UPSTREAM_CONNECTIONS_MAX, err)) < 0 ||
        (r = make_backend(c, err)) < 0 || (r = make_table(c, err)) < 0 ||
        (r = warm_pool_new(&c->pool, c->table, &pool, err)) < 0)
        return r;
    const struct relay_cfg relay = {.loop = c->loop, .http = c->http};
    if ((r = relay_new(&c->relay, &relay, err)) < 0)
        return r;
    const struct routes_cfg routes = {.auth = c->auth,
                                      .hosts = c->hosts,
                                      .table = c->table,
                                      .pool = c->pool,
                                      .relay = c->relay,
                                      .metrics_open = c->conf->metrics_open};
    return routes_new(&c->routes, &routes, err);
}

/* The reverse of assemble(), whole or half-way. */
static void take_down(struct controller *c)
{
    http_server_free(c->server);
    routes_free(c->routes);
    relay_free(c->relay);
    sandbox_backend_close(c->backend);
    warm_pool_free(c->pool);
    sandbox_table_free(c->table);
    httpc_free(c->http);
    loop_hook_free(c->drain_hook);
    loop_timer_free(c->drain_timer);
    loop_signals_free(c->signals);
    loop_free(c->loop);
    listen_socket_close(&c->socket);
    hosts_free(c->hosts);
    auth_free(c->auth);
    state_dir_close(c->state);
}

int controller_run(const struct controller_conf *conf, struct err *err)
{
    struct controller c = {.conf = conf, .socket = {.fd = -1}};
    int r = assemble(&c, err);

    if (r == 0)
        r = sandbox_table_adopt(c.table, on_adopted, &c, err);
    if (r == 0) {
        loop_run(c.loop);
        if (c.failed.code) {
            *err = c.failed;
            r = -ERR_INTERNAL;
        }
    }
    take_down(&c);
    return r;
}
