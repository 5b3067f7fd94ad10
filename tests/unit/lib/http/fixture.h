#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/buf.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/http/http.h"
#include "lib/loop/loop.h"

/*
 * A server and raw clients on one loop. run_until() turns the loop until a condition holds or its
 * deadline passes; the condition is asked before each wait, so no test sleeps.
 */
struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct sockaddr_in addr;
    struct loop_hook *hook;
    struct loop_timer *timer;
    bool (*cond)(void *ctx);
    void *cond_ctx;
    bool met, late;
};

static inline void fx_hook(void *ctx)
{
    struct fixture *fx = ctx;
    if (fx->cond && fx->cond(fx->cond_ctx)) {
        fx->met = true;
        loop_stop(fx->loop);
    }
}

static inline void fx_late(void *ctx)
{
    struct fixture *fx = ctx;
    fx->late = true;
    loop_stop(fx->loop);
}

static inline bool run_until(struct fixture *fx, int ms, bool (*cond)(void *ctx), void *ctx)
{
    fx->cond = cond;
    fx->cond_ctx = ctx;
    fx->met = fx->late = false;
    loop_timer_start(fx->timer, ms, 0);
    while (!fx->met && !fx->late)
        loop_run(fx->loop);
    loop_timer_stop(fx->timer);
    fx->cond = NULL;
    return fx->met;
}

static inline void fx_must(int r, const struct err *err)
{
    if (r < 0)
        fail_msg("%s", err->text);
}

static inline int fx_listen(struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*addr);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
    assert_int_equal(listen(fd, 1024), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static inline void fx_start(struct fixture *fx, const struct http_server_cfg *cfg)
{
    struct err err;
    *fx = (struct fixture){0};
    fx_must(loop_new(&fx->loop, &err), &err);
    fx->hook = loop_hook_new(fx->loop, fx_hook, fx);
    fx->timer = loop_timer_new(fx->loop, fx_late, fx);
    fx_must(http_server_new(&fx->server, fx->loop, fx_listen(&fx->addr), cfg, &err), &err);
}

static inline void fx_stop(struct fixture *fx)
{
    fx->server = http_server_free(fx->server);
    loop_hook_free(fx->hook);
    loop_timer_free(fx->timer);
    loop_free(fx->loop);
}

/* ---- a client ---- */
struct client {
    struct fixture *fx;
    int fd;
    struct loop_poll *poll;
    struct buf out; /* still to be sent */
    struct buf in;
    size_t received; /* all bytes, also those thrown away */
    size_t keep;     /* at most that many are kept in `in` */
    size_t sent;
    bool reading;
    bool eof;
    int error;
};

static inline void cl_interest(struct client *c)
{
    int events = (c->reading && !c->eof ? LOOP_READ : 0) | (c->out.len ? LOOP_WRITE : 0);
    loop_poll_set(c->poll, c->error ? 0 : events);
}

static inline void cl_read(struct client *c)
{
    static char block[1 << 18];
    ssize_t n = recv(c->fd, block, sizeof(block), MSG_DONTWAIT);
    if (n == 0)
        c->eof = true;
    if (n < 0 && errno != EAGAIN)
        c->error = errno;
    if (n <= 0)
        return;
    c->received += (size_t)n;
    if (c->in.len + (size_t)n <= c->keep)
        assert_int_equal(buf_append(&c->in, block, (size_t)n), 0);
}

static inline void cl_write(struct client *c)
{
    if (c->out.len == 0)
        return;
    ssize_t n = send(c->fd, c->out.ptr, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        buf_consume(&c->out, (size_t)n);
        c->sent += (size_t)n;
    }
    if (n < 0 && errno != EAGAIN)
        buf_clear(&c->out); /* the other side closed: what it said can still be read */
}

static inline void cl_event(void *ctx, int events)
{
    struct client *c = ctx;
    if (events & LOOP_WRITE)
        cl_write(c);
    if ((events & LOOP_READ) && c->reading)
        cl_read(c);
    cl_interest(c);
}

static inline struct client *cl_adopt(struct fixture *fx, int fd)
{
    struct err err;
    struct client *c = MEM_NEW(struct client);
    c->fx = fx;
    c->fd = fd;
    c->keep = MIB(16);
    c->reading = true;
    buf_init(&c->out, MIB(256));
    buf_init(&c->in, MIB(16));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fx_must(loop_poll_new(&c->poll, fx->loop, fd, cl_event, c, &err), &err);
    cl_interest(c);
    return c;
}

static inline struct client *cl_open(struct fixture *fx)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&fx->addr, sizeof(fx->addr)), 0);
    return cl_adopt(fx, fd);
}

static inline void cl_send_n(struct client *c, const char *data, size_t len)
{
    assert_int_equal(buf_append(&c->out, data, len), 0);
    cl_interest(c);
}

static inline void cl_send(struct client *c, const char *text)
{
    cl_send_n(c, text, strlen(text));
}

static inline void cl_close(struct client *c)
{
    if (!c)
        return;
    loop_poll_free(c->poll);
    close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out);
    free(c);
}

/* Closes with RST instead of FIN. */
static inline void cl_reset(struct client *c)
{
    struct linger linger = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    cl_close(c);
}

/* ---- answers ---- */
struct answer {
    int status;
    size_t head_len;
    size_t total; /* bytes in the stream, 0: not complete */
    bool chunked;
    char head[8192];
    struct buf body;
};

static inline const char *an_header(const struct answer *a, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);
    for (const char *p = a->head; (p = strchr(p, '\n'));) {
        p++;
        if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
            p += n + 1 + strspn(p + n + 1, " ");
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(p, "\r\n"), p);
            return value;
        }
    }
    return NULL;
}

/* Reads chunks; returns the bytes they take, 0 when the last has not come. */
static inline size_t an_chunks(struct answer *a, const char *p, size_t len)
{
    size_t at = 0;
    for (;;) {
        const char *eol = len > at ? memchr(p + at, '\n', len - at) : NULL;
        if (!eol)
            return 0;
        size_t size = strtoul(p + at, NULL, 16);
        at = (size_t)(eol - p) + 1;
        if (len < at + size + 2)
            return 0;
        buf_append(&a->body, p + at, size);
        at += size + 2;
        if (size == 0)
            return at;
    }
}

/* Parses the first answer of `in`; returns whether it is complete. */
static inline bool an_parse(struct answer *a, const struct buf *in, bool head_request)
{
    buf_done(&a->body);
    *a = (struct answer){0};
    buf_init(&a->body, MIB(16));
    const char *end = in->len ? memmem(in->ptr, in->len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    a->head_len = (size_t)(end - in->ptr) + 4;
    assert_true(a->head_len < sizeof(a->head));
    memcpy(a->head, in->ptr, a->head_len);
    assert_int_equal(sscanf(a->head, "HTTP/1.1 %d", &a->status), 1);
    a->chunked = an_header(a, "Transfer-Encoding") != NULL;
    size_t left = in->len - a->head_len, body = 0;
    if (head_request || a->status == 204 || a->status == 304 || a->status < 200) {
        a->total = a->head_len;
        return true;
    }
    if (a->chunked) {
        body = an_chunks(a, in->ptr + a->head_len, left);
        a->total = body ? a->head_len + body : 0;
        return body > 0;
    }
    const char *length = an_header(a, "Content-Length");
    body = length ? strtoul(length, NULL, 10) : 0;
    if (!length || left < body)
        return false;
    buf_append(&a->body, in->ptr + a->head_len, body);
    a->total = a->head_len + body;
    return true;
}

struct an_wait {
    struct client *c;
    struct answer *a;
    bool head_request;
};

static inline bool an_ready(void *ctx)
{
    struct an_wait *w = ctx;
    return an_parse(w->a, &w->c->in, w->head_request) || w->c->eof || w->c->error;
}

/* Waits for an answer, takes it off the stream and returns its status; 0: the connection ended. */
static inline int cl_answer_of(struct client *c, struct answer *a, bool head_request)
{
    struct an_wait w = {c, a, head_request};
    assert_true(run_until(c->fx, 5000, an_ready, &w));
    if (!an_parse(a, &c->in, head_request))
        return 0;
    buf_consume(&c->in, a->total);
    return a->status;
}

static inline int cl_answer(struct client *c, struct answer *a)
{
    return cl_answer_of(c, a, false);
}

/* One request on its own connection. */
static inline int ask(struct fixture *fx, struct answer *a, const char *request)
{
    struct client *c = cl_open(fx);
    cl_send(c, request);
    int status = cl_answer_of(c, a, strncmp(request, "HEAD ", 5) == 0);
    cl_close(c);
    return status;
}

static inline void an_done(struct answer *a)
{
    buf_done(&a->body);
}

static inline bool cl_ended(void *ctx)
{
    struct client *c = ctx;
    return c->eof || c->error;
}

#define HOST "Host: x\r\n"
