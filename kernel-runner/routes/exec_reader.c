/*
 * Readers of executions. Each holds its execution, has its own place in the log, and sleeps until
 * the log grows: a reader that does not read costs its socket's buffer and nothing else.
 */
#include "kernel-runner/routes/exec_reader.h"

#include "kernel-runner/exec/exec_render.h"
#include "lib/base/mem.h"

#include <inttypes.h>

#define KEEPALIVE_MS 15000

struct exec_reader {
    struct runner *runner;
    struct http_request *req;
    struct http_stream *stream;
    struct exec *exec;
    struct event_log_waiter *waiter;
    struct loop_timer *keepalive;
    uint64_t offset;
    uint64_t seq; /* of the line that begins next (SSE) */
    bool sse, at_line_start, ping;
    struct exec_render *render;
    struct loop_defer *again;
};

static void reader_free(void *ctx)
{
    struct exec_reader *rd = ctx;
    event_log_wait_free(rd->waiter);
    loop_timer_free(rd->keepalive);
    loop_defer_free(rd->again);
    exec_render_free(rd->render);
    exec_store_release(runner_execs(rd->runner), rd->exec);
    metrics_add(runner_metrics(rd->runner), RUNNER_M_READERS, 0, -1);
    free(rd);
}

static struct exec_reader *reader_new(struct runner *r, struct http_request *req, struct exec *e)
{
    struct exec_reader *rd = MEM_NEW(struct exec_reader);
    rd->runner = r;
    rd->req = req;
    rd->exec = e;
    rd->at_line_start = true;
    exec_store_hold(runner_execs(r), e);
    metrics_add(runner_metrics(r), RUNNER_M_READERS, 0, 1);
    http_on_close(req, reader_free, rd);
    return rd;
}

/* ---- streams of events ---- */

static ssize_t pull_plain(struct exec_reader *rd, char *out, size_t max)
{
    ssize_t n = event_log_read(rd->exec->log, rd->offset, out, max);
    if (n > 0)
        rd->offset += (uint64_t)n;
    return n < 0 ? HTTP_PULL_ABORT : n;
}

/* Each line of the log becomes "id: N", "data: line" and an empty line. */
static size_t frame_sse(struct exec_reader *rd, const char *in, size_t len, char *out, size_t max,
                        size_t *ret_used)
{
    size_t n = 0, i = 0;
    while (i < len && max - n > 64) {
        if (rd->at_line_start) {
            n += (size_t)snprintf(out + n, max - n, "id: %" PRIu64 "\ndata: ", rd->seq);
            rd->at_line_start = false;
        }
        const char *nl = memchr(in + i, '\n', len - i);
        size_t take = nl ? (size_t)(nl - in) - i : len - i;
        take = MIN(take, max - n - 8);
        memcpy(out + n, in + i, take);
        n += take;
        i += take;
        if (nl && in + i == nl && max - n >= 2) {
            memcpy(out + n, "\n\n", 2);
            n += 2;
            i++;
            rd->seq++;
            rd->at_line_start = true;
        }
    }
    *ret_used = i;
    return n;
}

static ssize_t pull_sse(struct exec_reader *rd, char *out, size_t max)
{
    char chunk[8192];
    size_t total = 0;
    while (max - total > 128) {
        ssize_t got = event_log_read(rd->exec->log, rd->offset, chunk, sizeof(chunk));
        if (got < 0)
            return HTTP_PULL_ABORT;
        if (got == 0)
            break;
        size_t used = 0;
        total += frame_sse(rd, chunk, (size_t)got, out + total, max - total, &used);
        rd->offset += used;
        if (used < (size_t)got)
            break;
    }
    return (ssize_t)total;
}

static ssize_t pull(void *ctx, char *out, size_t max)
{
    struct exec_reader *rd = ctx;
    ssize_t n = rd->sse ? pull_sse(rd, out, max) : pull_plain(rd, out, max);
    if (n != 0) {
        rd->ping = false;
        loop_timer_start(rd->keepalive, KEEPALIVE_MS, KEEPALIVE_MS);
        return n;
    }
    if (event_log_ended(rd->exec->log))
        return HTTP_PULL_END;
    if (!rd->ping)
        return 0;
    rd->ping = false;
    const char *beat = rd->sse ? ":\n\n" : "\n";
    memcpy(out, beat, strlen(beat));
    return (ssize_t)strlen(beat);
}

static void on_growth(void *ctx)
{
    struct exec_reader *rd = ctx;
    http_stream_wake(rd->stream);
}

static void on_silence(void *ctx)
{
    struct exec_reader *rd = ctx;
    rd->ping = true;
    http_stream_wake(rd->stream);
}

void exec_reader_start(struct runner *r, struct http_request *req, struct exec *e,
                       uint64_t after_seq, bool sse)
{
    struct exec_reader *rd = reader_new(r, req, e);
    rd->sse = sse;
    rd->offset = event_log_seek(e->log, after_seq);
    rd->seq = MIN(after_seq, event_log_lines(e->log)) + 1;
    rd->keepalive = loop_timer_new(runner_loop(r), on_silence, rd);
    loop_timer_start(rd->keepalive, KEEPALIVE_MS, KEEPALIVE_MS);
    rd->waiter = event_log_wait(e->log, on_growth, rd);
    http_set_header(req, "Cache-Control", "no-store");
    http_set_header(req, "X-Accel-Buffering", "no");
    rd->stream = http_answer_stream(req, 200, sse ? "text/event-stream" : "application/x-ndjson",
                                    -1, pull, rd);
}

/* ---- the whole execution ---- */

static ssize_t pull_render(void *ctx, char *out, size_t max)
{
    struct exec_reader *rd = ctx;
    ssize_t n = exec_render_pull(rd->render, out, max);
    if (n == EXEC_RENDER_AGAIN)
        loop_defer_post(rd->again);
    return n == EXEC_RENDER_END ? HTTP_PULL_END : n == EXEC_RENDER_FAILED ? HTTP_PULL_ABORT : n;
}

static void answer_streamed(struct exec_reader *rd, int status)
{
    struct err err;
    if (exec_render_new(&rd->render, rd->exec, &err) < 0) {
        http_answer_err(rd->req, &err);
        return;
    }
    rd->again = loop_defer_new(runner_loop(rd->runner), on_growth, rd);
    rd->stream = http_answer_stream(rd->req, status, "application/json", -1, pull_render, rd);
}

static void answer_small(struct http_request *req, const struct exec *e, int status)
{
    size_t len = 0;
    char *text = exec_render_text(e, &len);
    http_set_header(req, "Cache-Control", "no-store");
    http_answer_take(req, status, "application/json", text, len);
}

void exec_answer_now(struct runner *r, struct http_request *req, struct exec *e, int status)
{
    if (exec_render_is_small(e)) {
        answer_small(req, e, status);
        return;
    }
    struct err err;
    if (exec_store_room(runner_execs(r), e, &err) < 0)
        http_answer_err(req, &err);
    else
        answer_streamed(reader_new(r, req, e), status);
}

static void on_maybe_done(void *ctx)
{
    struct exec_reader *rd = ctx;
    if (rd->exec->state != EXEC_DONE || !rd->waiter)
        return;
    rd->waiter = event_log_wait_free(rd->waiter);
    if (exec_render_is_small(rd->exec))
        answer_small(rd->req, rd->exec, 200);
    else
        answer_streamed(rd, 200);
}

void exec_answer_when_done(struct runner *r, struct http_request *req, struct exec *e)
{
    if (e->state == EXEC_DONE) {
        exec_answer_now(r, req, e, 200);
        return;
    }
    struct exec_reader *rd = reader_new(r, req, e);
    rd->waiter = event_log_wait(e->log, on_maybe_done, rd);
}
