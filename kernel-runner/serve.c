/* From the socket to the routes. */
#include "kernel-runner/serve.h"

#include "kernel-runner/attach/attach.h"
#include "kernel-runner/routes/routes.h"
#include "lib/api/jupyter_problem.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/crypto/crypto.h"
#include "lib/http/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BACKLOG 512

struct serve {
    struct runner *runner;
    struct http_server *server;
    struct attach *attach;
    char *token_hash;
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct loop_defer *drained_later;
};

void signal_ignore_pipe(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

int serve_open_spill(int64_t fd, const char *path, int *ret_fd, struct err *err)
{
    *ret_fd = -1;
    if (fd > 0) {
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        *ret_fd = (int)fd;
        return 0;
    }
    if (!path)
        return 0;
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? err_errno(err, "--spill-dir %s", path) : 0;
}

static int bind_unix(const char *path, int *ret, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return err_set(err, ERR_INVALID, "the path of a socket has at most %zu bytes: %s",
                       sizeof(addr.sun_path) - 1, path);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, "socket");
    unlink(path);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return err_errno(err, "cannot listen on unix:%s", path);
    *ret = TAKE_FD(fd);
    return 0;
}

static int bind_tcp(const char *listen, int *ret, struct err *err)
{
    const char *colon = strrchr(listen, ':');
    if (!colon)
        return err_set(err, ERR_INVALID, "--listen is HOST:PORT or unix:PATH, not \"%s\"", listen);
    _cleanup_(freep) char *host = mem_dup_n(listen, (size_t)(colon - listen));
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host[0] ? host : NULL, colon + 1, &hints, &found) != 0)
        return err_set(err, ERR_INVALID, "--listen %s: give a numeric address and port", listen);
    _cleanup_(closep) int fd =
        socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1, r = 0;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0)
        r = err_errno(err, "cannot listen on %s", listen);
    freeaddrinfo(found);
    if (r == 0)
        *ret = TAKE_FD(fd);
    return r;
}

static int open_socket(const struct serve_cfg *cfg, int *ret, struct err *err)
{
    _cleanup_(closep) int fd = -1;
    int r = 0;
    if (cfg->listen_fd > 0)
        fd = cfg->listen_fd;
    else if (!cfg->listen)
        r = err_set(err, ERR_INVALID, "give --listen or --listen-fd");
    else if (strncmp(cfg->listen, "unix:", 5) == 0)
        r = bind_unix(cfg->listen + 5, &fd, err);
    else
        r = bind_tcp(cfg->listen, &fd, err);
    if (r < 0)
        return r;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    /* listen() is called here, by the runner, so that SO_PEERCRED names this process. */
    if (listen(fd, BACKLOG) < 0)
        return err_errno(err, "listen");
    *ret = TAKE_FD(fd);
    return 0;
}

static const char *bearer(const char *header)
{
    if (header && strncasecmp(header, "Bearer ", 7) == 0)
        return header + 7;
    if (header && strncasecmp(header, "token ", 6) == 0)
        return header + 6;
    return NULL;
}

static int before(void *ctx, struct http_request *req, const struct http_route *route,
                  struct err *err)
{
    struct serve *s = runner_door(ctx);
    const char *token = bearer(http_header(req, "Authorization"));
    bool open = route && (route->flags & ROUTE_OPEN);
    if (!open && s->token_hash && (!token || !crypto_token_matches(token, s->token_hash)))
        return err_set(err, ERR_UNAUTHORIZED, "this runner answers only to its controller");
    bool reads = strcmp(http_method(req), "GET") == 0 || strcmp(http_method(req), "HEAD") == 0;
    if (route && !reads && !(route->flags & ROUTE_QUIET))
        runner_touch(s->runner);
    return 0;
}

static void on_drained_later(void *ctx)
{
    struct serve *s = ctx;
    if (s->drained && http_server_active(s->server) == 0)
        s->drained(s->drained_ctx);
}

static void after(void *ctx, struct http_request *req, int status, int64_t duration_us)
{
    struct serve *s = runner_door(ctx);
    if (s->drained)
        loop_defer_post(s->drained_later); /* this request still counts until this returns */
}

static void problem(void *ctx, const struct http_request *req, json_t *problem)
{
    if (jupyter_path(http_path(req)))
        jupyter_problem(problem);
}

static void shortage(void *ctx, const struct http_shortage *since)
{
    char reason[200];
    http_shortage_text(since, reason, sizeof(reason));
    log_event(LOG_WARN, "connections_short", "reason", reason, NULL);
}

int serve_new(struct serve **ret, struct loop *loop, const struct serve_cfg *cfg, struct err *err)
{
    int fd = -1;
    int r = open_socket(cfg, &fd, err);
    if (r < 0)
        return r;
    struct serve *s = MEM_NEW(struct serve);
    s->runner = cfg->runner;
    s->token_hash = mem_dup_str(cfg->token_hash);
    s->drained_later = loop_defer_new(loop, on_drained_later, s);
    runner_set_door(cfg->runner, s);
    s->attach = attach_new(cfg->runner);
    struct http_server_cfg http = {.routes = runner_routes,
                                   .n_routes = runner_routes_len,
                                   .ctx = cfg->runner,
                                   .before = before,
                                   .after = after,
                                   .problem = problem,
                                   .shortage = shortage,
                                   .body_budget = runner_budget(cfg->runner),
                                   .body_account = HELD_BODIES};
    r = http_server_new(&s->server, loop, fd, &http, err);
    if (r < 0) {
        serve_free(s);
        return r;
    }
    if (cfg->ready_fd > 0) {
        ssize_t n = write(cfg->ready_fd, "1", 1);
        close(cfg->ready_fd);
        if (n != 1) {
            serve_free(s);
            return err_set(err, ERR_UNAVAILABLE, "nobody waits at --ready-fd");
        }
    }
    *ret = s;
    return 0;
}

bool serve_drain(struct serve *s, void (*fn)(void *ctx), void *ctx)
{
    http_server_quiesce(s->server);
    attach_close_all(s->attach);
    if (http_server_active(s->server) == 0)
        return false;
    s->drained = fn;
    s->drained_ctx = ctx;
    return true;
}

struct serve *serve_free(struct serve *s)
{
    if (!s)
        return NULL;
    http_server_free(s->server);
    attach_free(s->attach);
    loop_defer_free(s->drained_later);
    free(s->token_hash);
    free(s);
    return NULL;
}
