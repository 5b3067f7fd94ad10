#pragma once
/*
 * A real implementation of the backend's seam without processes: each sandbox is a listening
 * AF_UNIX socket on the loop that answers /readyz, /claim and /sandbox as a runner does. Knobs say
 * what goes wrong. Header-only, because every test is one program of one file.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include "controller/sandbox/backend.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include "lib/loop/loop.h"

enum fake_answer {
    FAKE_OK,
    FAKE_SILENT,  /* no answer at all */
    FAKE_BREAK,   /* the connection closes */
    FAKE_PROBLEM, /* `problem` */
};

struct fake_backend;

struct fake_conn {
    struct fake_runner *runner;
    int fd;
    struct loop_poll *poll;
    char in[16384];
    size_t len;
    struct fake_conn *prev, *next;
};

struct fake_runner {
    struct fake_backend *backend;
    struct sandbox_endpoint endpoint;
    char id[ID_SANDBOX_SIZE];
    char token_hash[65];
    int listen_fd;
    struct loop_poll *poll;
    struct fake_conn *conns;
    json_t *identity; /* body of /claim; NULL: nobody's */
    json_t *jupyter;  /* the test's own */
    bool held_ready;  /* a /readyz waits for fake_release_ready() */
    struct fake_runner *prev, *next;
};

enum fake_op_kind { FAKE_CREATE, FAKE_REMOVE, FAKE_ADOPT };
struct fake_op {
    enum fake_op_kind kind;
    struct fake_backend *backend;
    char id[ID_SANDBOX_SIZE];
    char token_hash[65];
    sandbox_backend_created_fn created;
    sandbox_backend_done_fn done;
    void *ctx;
    struct loop_timer *timer;
    struct fake_op *prev, *next;
};

struct fake_backend {
    struct sandbox_backend base;
    struct loop *loop;
    char dir[64];
    struct fake_runner *runners;
    struct fake_op *ops;
    /* knobs */
    bool refuse_create;    /* create() fails at once */
    unsigned fail_creates; /* so many creations fail from now on */
    unsigned fail_removes; /* so many removals fail from now on */
    bool hold_creates;     /* they wait for fake_release_create() */
    enum fake_answer ready, claim, info;
    bool hold_ready;
    const char *problem;                                    /* of FAKE_PROBLEM */
    void (*jupyter)(struct fake_conn *c, const char *body); /* answers requests to /jupyter/ */
    int problem_status;
    unsigned break_claims; /* so many connections break after the claim was taken */
    /* what happened */
    unsigned creates, removes, claims, infos;
};

static inline struct fake_runner *fake_find(struct fake_backend *b, const char *id)
{
    struct fake_runner *r;

    DL_FOREACH (b->runners, r)
        if (strcmp(r->id, id) == 0)
            return r;
    return NULL;
}

static inline unsigned fake_running(struct fake_backend *b)
{
    struct fake_runner *r;
    unsigned n = 0;

    DL_COUNT(b->runners, r, n);
    return n;
}

static inline void fake_conn_free(struct fake_conn *c)
{
    DL_DELETE(c->runner->conns, c);
    loop_poll_free(c->poll);
    close(c->fd);
    free(c);
}

static inline void fake_send(struct fake_conn *c, int status, const char *body)
{
    char *text = mem_printf("HTTP/1.1 %d x\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            status, strlen(body), body);
    ssize_t n = send(c->fd, text, strlen(text), MSG_NOSIGNAL);

    (void)n;
    free(text);
}

static inline void fake_send_identity(struct fake_conn *c)
{
    struct fake_runner *r = c->runner;
    json_t *o = r->identity ? json_deep_copy(r->identity) : json_object();
    char now[CLK_RFC3339_SIZE];

    json_object_del(o, "env");
    json_object_set_new(o, "id", json_string(r->id));
    json_object_set_new(o, "claimed", json_boolean(r->identity != NULL));
    json_object_set_new(o, "created_at", json_string("2026-01-02T03:04:05.250000Z"));
    json_object_set_new(o, "last_activity_at", json_string(clk_rfc3339(clk_wall_us(), now)));
    json_object_set_new(o, "expires_at", json_string("2027-01-02T03:04:05.000000Z"));
    json_object_set_new(o, "kernel", json_pack("{s:s,s:s}", "id", r->id + 3, "state", "idle"));
    char *text = jsonx_dump(o);
    fake_send(c, 200, text);
    free(text);
    json_decref(o);
}

/* True: the request was dealt with; the connection may be gone. */
static inline void fake_answer_request(struct fake_conn *c, const char *body)
{
    struct fake_runner *r = c->runner;
    struct fake_backend *b = r->backend;
    bool is_ready = strncmp(c->in, "GET /readyz", 11) == 0;
    bool is_claim = strncmp(c->in, "POST /claim", 11) == 0;
    enum fake_answer answer = is_ready ? b->ready : is_claim ? b->claim : b->info;

    assert(strstr(c->in, "Authorization: Bearer "));
    if (b->jupyter && strstr(c->in, " /jupyter/")) {
        b->jupyter(c, body);
        return;
    }
    b->claims += is_claim ? 1 : 0;
    b->infos += !is_claim && !is_ready ? 1 : 0;
    if (is_ready && b->hold_ready) {
        r->held_ready = true;
        return;
    }
    switch (answer) {
    case FAKE_SILENT:
        return;
    case FAKE_BREAK:
        fake_conn_free(c);
        return;
    case FAKE_PROBLEM:
        fake_send(c, b->problem_status, b->problem);
        return;
    case FAKE_OK:
        break;
    }
    if (is_ready) {
        fake_send(c, 200, "{}");
        return;
    }
    if (is_claim) {
        json_t *claim = NULL;
        if (jsonx_parse(&claim, slice_str(body), NULL) < 0)
            abort();
        bool is_other = r->identity && !json_equal(r->identity, claim);
        if (!r->identity)
            r->identity = json_incref(claim);
        json_decref(claim);
        if (is_other) {
            fake_send(c, 409, "{\"code\":\"conflict\",\"detail\":\"claimed already\"}");
            return;
        }
        if (b->break_claims > 0) {
            b->break_claims--;
            fake_conn_free(c);
            return;
        }
    }
    fake_send_identity(c);
}

static inline void fake_on_conn(void *ctx, int events)
{
    struct fake_conn *c = ctx;
    ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fake_conn_free(c);
        return;
    }
    c->len += (size_t)n;
    c->in[c->len] = 0;
    char *body = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "Content-Length: ");
    if (!body || (length && strlen(body + 4) < strtoul(length + 16, NULL, 10)))
        return;
    c->len = 0;
    fake_answer_request(c, body + 4);
}

static inline void fake_on_accept(void *ctx, int events)
{
    struct fake_runner *r = ctx;
    int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    struct fake_conn *c = MEM_NEW(struct fake_conn);
    c->runner = r;
    c->fd = fd;
    DL_APPEND(r->conns, c);
    if (loop_poll_new(&c->poll, r->backend->loop, fd, fake_on_conn, c, NULL) < 0)
        abort();
    loop_poll_set(c->poll, LOOP_READ);
}

static inline struct fake_runner *fake_runner_new(struct fake_backend *b, const char *id)
{
    struct fake_runner *r = MEM_NEW(struct fake_runner);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    r->backend = b;
    snprintf(r->id, sizeof(r->id), "%s", id);
    snprintf(r->endpoint.unix_path, sizeof(r->endpoint.unix_path), "%s/%s", b->dir, id);
    memcpy(addr.sun_path, r->endpoint.unix_path, strlen(r->endpoint.unix_path) + 1);
    r->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(r->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(r->listen_fd, 16) < 0)
        abort();
    if (loop_poll_new(&r->poll, b->loop, r->listen_fd, fake_on_accept, r, NULL) < 0)
        abort();
    loop_poll_set(r->poll, LOOP_READ);
    DL_APPEND(b->runners, r);
    return r;
}

static inline void fake_runner_free(struct fake_runner *r)
{
    struct fake_conn *c, *next;

    DL_DELETE(r->backend->runners, r);
    DL_FOREACH_SAFE (r->conns, c, next)
        fake_conn_free(c);
    loop_poll_free(r->poll);
    close(r->listen_fd);
    unlink(r->endpoint.unix_path);
    json_decref(r->identity);
    json_decref(r->jupyter);
    free(r);
}

static inline void fake_op_free(struct fake_op *op)
{
    DL_DELETE(op->backend->ops, op);
    loop_timer_free(op->timer);
    free(op);
}

static inline void fake_run_op(struct fake_op *op)
{
    struct fake_backend *b = op->backend;
    struct fake_op copy = *op;
    struct err err;
    struct fake_runner *r, *next;

    fake_op_free(op);
    switch (copy.kind) {
    case FAKE_CREATE:
        if (b->fail_creates > 0) {
            b->fail_creates--;
            err_set(&err, ERR_SANDBOX_FAILED, "no room: the fake's last words");
            copy.created(copy.ctx, NULL, &err);
            return;
        }
        r = fake_runner_new(b, copy.id);
        memcpy(r->token_hash, copy.token_hash, sizeof(r->token_hash));
        copy.created(copy.ctx, &r->endpoint, NULL);
        return;
    case FAKE_REMOVE:
        if (b->fail_removes > 0) {
            b->fail_removes--;
            err_set(&err, ERR_UNAVAILABLE, "the fake is not in the mood");
            copy.done(copy.ctx, &err);
            return;
        }
        if ((r = fake_find(b, copy.id)))
            fake_runner_free(r);
        copy.done(copy.ctx, NULL);
        return;
    case FAKE_ADOPT:
        DL_FOREACH_SAFE (b->runners, r, next)
            b->base.events->on_found(b->base.events_ctx, r->id, &r->endpoint);
        copy.done(copy.ctx, NULL);
        return;
    }
}

static inline void fake_on_op(void *ctx)
{
    fake_run_op(ctx);
}

static inline struct fake_op *fake_op_new(struct fake_backend *b, enum fake_op_kind kind,
                                          const char *id, void *ctx)
{
    struct fake_op *op = MEM_NEW(struct fake_op);

    op->kind = kind;
    op->backend = b;
    op->ctx = ctx;
    snprintf(op->id, sizeof(op->id), "%s", id);
    op->timer = loop_timer_new(b->loop, fake_on_op, op);
    if (kind != FAKE_CREATE || !b->hold_creates)
        loop_timer_start(op->timer, 0, 0);
    DL_APPEND(b->ops, op);
    return op;
}

static inline int fake_create(struct sandbox_backend *base, const struct sandbox_backend_spec *spec,
                              sandbox_backend_created_fn done, void *ctx, struct err *err)
{
    struct fake_backend *b = (struct fake_backend *)(void *)base;

    b->creates++;
    if (b->refuse_create)
        return err_set(err, ERR_UNAVAILABLE, "the fake refuses");
    struct fake_op *op = fake_op_new(b, FAKE_CREATE, spec->id, ctx);
    op->created = done;
    memcpy(op->token_hash, spec->token_hash, sizeof(op->token_hash));
    return 0;
}

static inline int fake_remove(struct sandbox_backend *base, const char *id, int64_t deadline_ms,
                              sandbox_backend_done_fn done, void *ctx, struct err *err)
{
    struct fake_backend *b = (struct fake_backend *)(void *)base;
    struct fake_op *op, *next;
    struct err ended;

    b->removes++;
    fake_op_new(b, FAKE_REMOVE, id, ctx)->done = done;
    /* The creation ends first; not from here, because no callback comes before we return. */
    DL_FOREACH_SAFE (b->ops, op, next) {
        if (op->kind == FAKE_CREATE && strcmp(op->id, id) == 0) {
            err_set(&ended, ERR_SANDBOX_FAILED, "removed");
            loop_timer_start(op->timer, 0, 0);
            b->fail_creates++;
        }
    }
    return 0;
}

static inline int fake_adopt(struct sandbox_backend *base, int64_t deadline_ms,
                             sandbox_backend_done_fn done, void *ctx, struct err *err)
{
    fake_op_new((struct fake_backend *)(void *)base, FAKE_ADOPT, "", ctx)->done = done;
    return 0;
}

static inline const char *fake_describe(const struct sandbox_backend *b)
{
    return "fake";
}

static inline void fake_close(struct sandbox_backend *base)
{
    struct fake_backend *b = (struct fake_backend *)(void *)base;
    struct fake_op *op, *next;
    struct fake_runner *r, *r_next;

    DL_FOREACH_SAFE (b->ops, op, next)
        fake_op_free(op);
    DL_FOREACH_SAFE (b->runners, r, r_next)
        fake_runner_free(r);
    rmdir(b->dir);
    free(b);
}

static inline struct fake_backend *fake_backend_new(struct loop *loop)
{
    static const struct sandbox_backend_ops ops = {
        .name = "fake",
        .create = fake_create,
        .remove = fake_remove,
        .adopt = fake_adopt,
        .describe = fake_describe,
        .close = fake_close,
    };
    struct fake_backend *b = MEM_NEW(struct fake_backend);

    b->base.ops = &ops;
    b->loop = loop;
    snprintf(b->dir, sizeof(b->dir), "/tmp/fake.XXXXXX");
    if (!mkdtemp(b->dir))
        abort();
    return b;
}

/* The runner dies. */
static inline void fake_lose(struct fake_backend *b, const char *id, const char *reason)
{
    char copy[ID_SANDBOX_SIZE];

    snprintf(copy, sizeof(copy), "%s", id);
    fake_runner_free(fake_find(b, copy));
    b->base.events->on_lost(b->base.events_ctx, copy, reason);
}

/* Lets the creation that waits longest go on. */
static inline void fake_release_create(struct fake_backend *b)
{
    struct fake_op *op;

    DL_FOREACH (b->ops, op) {
        if (op->kind == FAKE_CREATE && !loop_timer_active(op->timer)) {
            loop_timer_start(op->timer, 0, 0);
            return;
        }
    }
    abort();
}

static inline unsigned fake_creating(struct fake_backend *b)
{
    struct fake_op *op;
    unsigned n = 0;

    DL_FOREACH (b->ops, op)
        n += op->kind == FAKE_CREATE ? 1 : 0;
    return n;
}

/* Answers every /readyz that waits. */
static inline void fake_release_ready(struct fake_backend *b)
{
    struct fake_runner *r;
    struct fake_conn *c;

    b->hold_ready = false;
    DL_FOREACH (b->runners, r) {
        if (r->held_ready && (c = r->conns))
            fake_send(c, 200, "{}");
        r->held_ready = false;
    }
}

/* Its connections break. */
static inline void fake_hang_up(struct fake_backend *b, const char *id)
{
    struct fake_conn *c, *next;

    DL_FOREACH_SAFE (fake_find(b, id)->conns, c, next)
        fake_conn_free(c);
}

/* What an earlier controller left. identity: JSON of a claim, or NULL. */
static inline void fake_leave(struct fake_backend *b, const char *id, const char *identity)
{
    struct fake_runner *r = fake_runner_new(b, id);

    if (identity && jsonx_parse(&r->identity, slice_str(identity), NULL) < 0)
        abort();
}

/* Runs the loop until `ok` says so; false when that took longer than 10 s. */
struct fake_wait {
    struct loop *loop;
    bool (*ok)(void *ctx);
    void *ctx;
    bool late;
};
static inline void fake_on_turn(void *ctx)
{
    struct fake_wait *w = ctx;

    if (w->ok(w->ctx))
        loop_stop(w->loop);
}
static inline void fake_on_late(void *ctx)
{
    struct fake_wait *w = ctx;

    w->late = true;
    loop_stop(w->loop);
}
static inline bool fake_run_until(struct loop *loop, bool (*ok)(void *ctx), void *ctx)
{
    struct fake_wait w = {.loop = loop, .ok = ok, .ctx = ctx};
    struct loop_hook *hook = loop_hook_new(loop, fake_on_turn, &w);
    struct loop_timer *late = loop_timer_new(loop, fake_on_late, &w);

    loop_timer_start(late, 10000, 0);
    if (!ok(ctx))
        loop_run(loop);
    loop_timer_free(late);
    loop_hook_free(hook);
    return !w.late;
}
