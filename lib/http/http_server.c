/*
 * The server: libmicrohttpd without threads, its epoll descriptor on our loop. MHD_run() is called
 * when that descriptor is readable and, without waiting, after anything was resumed: several wakes
 * in one turn are one run. libmicrohttpd's own timeouts are off, so its MHD_get_timeout() says only
 * "now" or "never"; "now" repeats the run, a few times before other watchers get their turn.
 */
#include "lib/base/mem.h"
#include "lib/http/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#define RUNS_PER_TURN 8

static bool has_work(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG timeout = 0;
    return MHD_get_timeout(s->daemon, &timeout) == MHD_YES && timeout == 0;
}

void http_server_run(struct http_server *s)
{
    bool more = true;
    s->running = true;
    for (int i = 0; more && i < RUNS_PER_TURN; i++) {
        s->again = false;
        http_upgrade_end(s);
        MHD_run(s->daemon);
        more = s->again || has_work(s);
    }
    s->running = false;
    if (more)
        loop_defer_post(s->defer);
}

static void on_epoll(void *ctx, int events)
{
    http_server_run(ctx);
}

static void on_defer(void *ctx)
{
    http_server_run(ctx);
}

void http_server_kick(struct http_server *s)
{
    if (s->running)
        s->again = true;
    else if (!s->stopping)
        loop_defer_post(s->defer);
}

/* Paths and parameters are decoded by the router, queries by http_query.c. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *s)
{
    return strlen(s);
}

/* Accepted sockets inherit these. */
static int prepare_socket(int fd, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_errno(err, "cannot make the listening socket non-blocking");
    int domain = 0;
    socklen_t len = sizeof(domain);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return err_errno(err, "cannot listen");
    if (domain == AF_UNIX)
        return 0;
    static const struct {
        int level, name, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                   {SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, 60},
                   {IPPROTO_TCP, TCP_KEEPINTVL, 15},
                   {IPPROTO_TCP, TCP_KEEPCNT, 4}};
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) < 0)
            return err_errno(err, "cannot set up the listening socket");
    return 0;
}

static void set_defaults(struct http_server_cfg *cfg)
{
    if (cfg->header_deadline_ms <= 0)
        cfg->header_deadline_ms = 10000;
    if (cfg->body_deadline_ms <= 0)
        cfg->body_deadline_ms = 60000;
    if (cfg->keepalive_ms <= 0)
        cfg->keepalive_ms = 75000;
    if (cfg->shortage_ms <= 0)
        cfg->shortage_ms = 60000;
    if (cfg->max_connections == 0)
        cfg->max_connections = 4096;
    if (cfg->max_header_bytes == 0)
        cfg->max_header_bytes = KIB(16);
    if (cfg->max_uri_bytes == 0)
        cfg->max_uri_bytes = KIB(8);
}

static int start_daemon(struct http_server *s, struct err *err)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE, 0,
        NULL, NULL, http_serve_on_access, s, MHD_OPTION_CONNECTION_LIMIT,
        s->cfg.max_connections + HTTP_SPARE_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        HTTP_CONN_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_URI_LOG_CALLBACK,
        http_serve_on_uri, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, http_serve_on_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
        http_conn_on_notify, s, MHD_OPTION_END);
    if (!s->daemon)
        return err_set(err, ERR_INTERNAL, "the HTTP server did not start");
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int r = loop_poll_new(&s->poll, s->loop, info->epoll_fd, on_epoll, s, err);
    if (r < 0)
        return r;
    loop_poll_set(s->poll, LOOP_READ);
    return 0;
}

int http_server_new(struct http_server **ret, struct loop *loop, int listen_fd_take,
                    const struct http_server_cfg *cfg, struct err *err)
{
    _cleanup_(closep) int fd = listen_fd_take;
    int r = prepare_socket(fd, err);
    if (r < 0)
        return r;
    struct http_server *s = MEM_NEW(struct http_server);
    s->loop = loop;
    s->listen_fd = TAKE_FD(fd);
    s->cfg = *cfg;
    set_defaults(&s->cfg);
    s->router = http_router_new(cfg->routes, cfg->n_routes);
    s->defer = loop_defer_new(loop, on_defer, s);
    s->deadline_timer = loop_timer_new(loop, http_conn_on_deadline, s);
    s->scan_timer = loop_timer_new(loop, http_conn_on_scan, s);
    if (getrandom(&s->id_seed, sizeof(s->id_seed), 0) != (ssize_t)sizeof(s->id_seed))
        r = err_errno(err, "getrandom");
    if (r == 0)
        r = start_daemon(s, err);
    if (r == 0)
        r = http_accept_start(s, err);
    if (r < 0) {
        http_server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void http_server_quiesce(struct http_server *s)
{
    if (s->quiesced)
        return;
    s->quiesced = true;
    http_accept_stop(s);
    for (enum http_deadline kind = HTTP_DL_FRESH; kind <= HTTP_DL_IDLE; kind++) {
        while (s->deadlines[kind]) {
            struct http_conn *c = s->deadlines[kind];
            http_conn_deadline(c, HTTP_DL_NONE);
            http_conn_cut(c);
        }
    }
}

unsigned http_server_active(const struct http_server *s)
{
    return s->active;
}

struct http_server *http_server_free(struct http_server *s)
{
    if (!s)
        return NULL;
    assert(!s->running);
    s->stopping = true;
    http_accept_stop(s);
    http_upgrade_end_all(s);
    /* libmicrohttpd aborts the program when it is stopped with suspended connections. */
    for (struct http_conn *c = s->conns; c; c = c->next) {
        if (c->req)
            c->req->dead = true;
        http_conn_resume(c);
    }
    loop_poll_free(s->poll);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    http_linger_end_all(s);
    loop_defer_free(s->defer);
    loop_timer_free(s->deadline_timer);
    loop_timer_free(s->scan_timer);
    http_router_free(s->router);
    free(s);
    return NULL;
}
