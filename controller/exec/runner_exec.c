/*
 * Why: chat runs code and reads its events without an HTTP request behind it. What a connection is,
 * and what to do when it breaks, is runner_ask's; here bytes become events, one at a time, at the
 * pace of who takes them.
 */
#include "controller/exec/runner_exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/sandbox/sandbox.h"
#include "lib/base/mem.h"
#include "lib/loop/loop.h"

#define CONTROL_MS  5000
#define PROBLEM_MAX KIB(64)

struct runner_exec {
    const struct runner_exec_consumer *consumer;
    void *ctx;
    struct runner_ask *ask;
    char *body;
    struct loop *loop;
    struct loop_post again; /* runner_exec_resume() */
    bool *freed;
    bool paused;
    bool over, told_over;
    enum runner_ask_end end;
    struct err err; /* of the end */
};

/* An answer that is no stream of events says why there is none. */
static void read_problem(struct runner_exec *x)
{
    char text[4096];
    struct buf body;
    buf_init(&body, PROBLEM_MAX);
    for (ssize_t n; (n = runner_ask_read(x->ask, text, sizeof(text))) > 0;)
        if (buf_append(&body, text, (size_t)n) < 0)
            break;
    x->end = RUNNER_ASK_FAILED;
    runner_problem(runner_ask_status(x->ask), buf_slice(&body), &x->err);
    buf_done(&body);
}

/* Gives what there is; the end behind the last event. The last thing a callback does. */
static void give(struct runner_exec *x)
{
    struct stream_event e;
    bool freed = false;
    x->freed = &freed;
    while (!x->paused && runner_ask_format(x->ask) == STREAM_NDJSON &&
           runner_ask_event(x->ask, &e)) {
        bool taken = x->consumer->on_event(x->ctx, &e);
        if (freed)
            return;
        if (taken)
            runner_ask_took(x->ask, &e);
        else
            x->paused = true;
    }
    x->freed = NULL;
    if (!x->over || x->paused || x->told_over)
        return;
    x->told_over = true;
    x->consumer->on_done(x->ctx, x->end, x->end == RUNNER_ASK_ENDED ? NULL : &x->err);
}

static void on_head(void *ctx)
{
}

static void on_ready(void *ctx)
{
    give(ctx);
}

static void on_over(void *ctx, enum runner_ask_end end, const struct err *err)
{
    struct runner_exec *x = ctx;
    x->over = true;
    x->end = end;
    if (err)
        x->err = *err;
    else if (runner_ask_format(x->ask) != STREAM_NDJSON)
        read_problem(x);
    give(x);
}

void runner_exec_resume(struct runner_exec *x)
{
    if (!x->paused)
        return;
    x->paused = false;
    loop_post(&x->again, x->loop, on_ready, x);
}

static int start(struct runner_exec **ret, struct runner_exec *x, const struct runner_exec_cfg *cfg,
                 struct runner_ask_cfg *ask, struct err *err)
{
    static const struct runner_ask_consumer consumer = {
        .on_head = on_head, .on_ready = on_ready, .on_over = on_over};
    _cleanup_(freep) char *id = mem_printf("X-Execution-Id: %s", cfg->execution_id);
    _cleanup_(freep) char *request =
        cfg->request_id ? mem_printf("X-Request-Id: %s", cfg->request_id) : NULL;
    const char *headers[] = {id, "Accept: application/x-ndjson", "Content-Type: application/json",
                             request, NULL};
    ask->loop = cfg->loop;
    ask->http = cfg->http;
    ask->sandbox = cfg->sandbox;
    ask->headers = headers;
    ask->again = RUNNER_ASK_ATTACH;
    ask->execution_id = cfg->execution_id;
    ask->patience_ms = cfg->patience_ms;
    x->loop = cfg->loop;
    int r = runner_ask_start(&x->ask, ask, &consumer, x, err);
    if (r < 0) {
        runner_exec_free(x);
        return r;
    }
    *ret = x;
    return 0;
}

int runner_exec_start(struct runner_exec **ret, const struct runner_exec_cfg *cfg,
                      struct slice body, const struct runner_exec_consumer *consumer, void *ctx,
                      struct err *err)
{
    struct runner_exec *x = MEM_NEW(struct runner_exec);
    *x = (struct runner_exec){
        .consumer = consumer, .ctx = ctx, .body = mem_dup_n(body.ptr, body.len)};
    struct runner_ask_cfg ask = {
        .method = "POST", .target = "/execute", .body = x->body, .body_len = body.len};
    return start(ret, x, cfg, &ask, err);
}

int runner_exec_attach(struct runner_exec **ret, const struct runner_exec_cfg *cfg, uint64_t seq,
                       const struct runner_exec_consumer *consumer, void *ctx, struct err *err)
{
    struct runner_exec *x = MEM_NEW(struct runner_exec);
    *x = (struct runner_exec){.consumer = consumer, .ctx = ctx};
    _cleanup_(freep) char *target =
        mem_printf("/executions/%s/events?after=%llu", cfg->execution_id, (unsigned long long)seq);
    struct runner_ask_cfg ask = {.method = "GET", .target = target, .after = seq};
    return start(ret, x, cfg, &ask, err);
}

struct runner_exec *runner_exec_free(struct runner_exec *x)
{
    if (!x)
        return NULL;
    if (x->freed)
        *x->freed = true;
    runner_ask_free(x->ask);
    loop_post_cancel(&x->again);
    mem_free_secret(x->body);
    free(x);
    return NULL;
}

int runner_exec_cancel(struct httpc *http, const struct sandbox *sb, const char *execution_id,
                       enum runner_exec_cancel how, runner_reply_fn fn, void *ctx, struct err *err)
{
    _cleanup_(freep) char *path =
        mem_printf("/executions/%s/cancel%s", execution_id,
                   how == RUNNER_EXEC_CLIENT_LEFT ? "?on=disconnect" : "");
    return runner_post(NULL, http, sb, path, NULL, /* repeatable= */ true, CONTROL_MS, fn, ctx,
                       err);
}

int runner_exec_input(struct httpc *http, const struct sandbox *sb, const char *execution_id,
                      struct slice value, runner_reply_fn fn, void *ctx, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("/executions/%s/input", execution_id);
    json_t *body = json_pack("{s:s%}", "value", value.ptr, value.len);
    if (!body)
        return err_field(err, "value", "\"value\" is not UTF-8");
    return runner_post(NULL, http, sb, path, body, /* repeatable= */ false, CONTROL_MS, fn, ctx,
                       err);
}
