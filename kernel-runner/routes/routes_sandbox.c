/* What a controller asks of a runner about the sandbox as a whole. */
#include "kernel-runner/routes/routes_sandbox.h"

#include "kernel-runner/core/runner.h"
#include "kernel-runner/routes/routes_util.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"

#define WAIT_MAX_MS 120000

struct ready_waiting {
    struct http_request *req;
    struct runner *runner;
    struct kernel_wait *wait;
    struct loop_timer *timer;
    bool claim; /* answer with the sandbox */
};

static void waiting_free(void *ctx)
{
    struct ready_waiting *w = ctx;
    if (w->wait)
        kernel_wait_cancel(w->wait);
    loop_timer_free(w->timer);
    free(w);
}

static int readiness(struct runner *r, struct err *err)
{
    struct kernel *k = kernel_table_main(runner_kernels(r));
    if (kernel_state_live(kernel_state(k)))
        return 0;
    if (kernel_state(k) == KERNEL_DEAD)
        return err_set(err, ERR_SANDBOX_FAILED, "the kernel did not start. Its last words: %s",
                       kernel_last_words(k));
    return err_set(err, ERR_UNAVAILABLE, "the kernel is %s", kernel_state_name(kernel_state(k)));
}

static void answer(struct ready_waiting *w)
{
    struct err err;
    if (w->wait) {
        kernel_wait_cancel(w->wait);
        w->wait = NULL;
    }
    loop_timer_stop(w->timer);
    if (!w->claim && readiness(w->runner, &err) < 0)
        http_answer_err(w->req, &err);
    else if (w->claim)
        http_answer_json(w->req, 200, runner_sandbox_json(w->runner, /* with_kernel= */ true));
    else
        http_answer_json(w->req, 200, json_pack("{s:s}", "status", "ready"));
}

static void on_settled(void *ctx)
{
    struct ready_waiting *w = ctx;
    w->wait = NULL;
    answer(w);
}

static void on_timeout(void *ctx)
{
    answer(ctx);
}

static void wait_settled(struct runner *r, struct http_request *req, int64_t wait_ms, bool claim)
{
    struct ready_waiting *w = MEM_NEW(struct ready_waiting);
    w->req = req;
    w->runner = r;
    w->claim = claim;
    w->timer = loop_timer_new(runner_loop(r), on_timeout, w);
    http_on_close(req, waiting_free, w);
    w->wait = kernel_wait_settled(kernel_table_main(runner_kernels(r)), on_settled, w);
    loop_timer_start(w->timer, wait_ms, 0);
}

void routes_healthz(void *ctx, struct http_request *req)
{
    http_answer_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

void routes_readyz(void *ctx, struct http_request *req)
{
    uint64_t wait_ms = 0;
    struct err err;
    const char *text = http_query(req, "wait_ms");
    if (text && parse_u64(text, 0, WAIT_MAX_MS, &wait_ms, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    if (wait_ms > 0) {
        wait_settled(ctx, req, (int64_t)wait_ms, /* claim= */ false);
        return;
    }
    if (readiness(ctx, &err) < 0)
        http_answer_err(req, &err);
    else
        http_answer_json(req, 200, json_pack("{s:s}", "status", "ready"));
}

void routes_metrics(void *ctx, struct http_request *req)
{
    struct buf out;
    buf_init(&out, MIB(1));
    metrics_render(runner_metrics(ctx), &out);
    size_t len = out.len;
    http_answer_take(req, 200, METRICS_CONTENT_TYPE, buf_take(&out), len);
}

void routes_sandbox(void *ctx, struct http_request *req)
{
    http_answer_json(req, 200, runner_sandbox_json(ctx, /* with_kernel= */ true));
}

/* The refusal says whose the sandbox is. */
static void answer_claimed(struct runner *r, struct http_request *req, const struct err *err)
{
    _cleanup_(json_decrefp) json_t *problem = http_problem_json(err);
    json_object_set_new(problem, "claim", runner_claim_json(r));
    char *text = jsonx_dump(problem);
    http_answer_take(req, err_code_http_status(err->code), "application/problem+json", text,
                     strlen(text));
}

void routes_claim(void *ctx, struct http_request *req)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    struct err err;
    if (routes_json_body(req, &body, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    if (runner_claim(ctx, body, &err) < 0) {
        if (err.code == ERR_CONFLICT)
            answer_claimed(ctx, req, &err);
        else
            http_answer_err(req, &err);
        return;
    }
    /* With variables to set, the kernel is not settled until it has them. */
    wait_settled(ctx, req, WAIT_MAX_MS, /* claim= */ true);
}
