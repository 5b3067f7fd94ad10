/*
 * The list of executions, whose code alone can be hundreds of megabytes: made while it is sent, and
 * no more of it is held than one execution and a piece of its text. What begins or goes meanwhile
 * may be in the list or not; nothing is in it twice.
 */
#include "kernel-runner/routes/exec_list.h"

#include "kernel-runner/exec/exec_render.h"
#include "lib/base/mem.h"

#include <string.h>

#define STATE_SIZE 16

struct list {
    struct runner *runner;
    char state[STATE_SIZE]; /* "": all */
    struct exec *at;        /* held; NULL before the first */
    struct exec_render *render;
    struct slice word; /* what stands between two executions, as far as it is not given */
    bool over;
};

static void step(struct list *l)
{
    struct exec_store *execs = runner_execs(l->runner);
    struct exec *before = l->at;
    l->render = exec_render_free(l->render);
    l->at = exec_store_next(execs, before, l->state[0] ? l->state : NULL);
    if (l->at) {
        exec_store_hold(execs, l->at);
        l->render = exec_render_new_summary(l->at);
    }
    l->word = slice_str(l->at    ? before ? "," : "{\"executions\":["
                        : before ? "]}"
                                 : "{\"executions\":[]}");
    l->over = !l->at;
    if (before)
        exec_store_release(execs, before);
}

static size_t put_word(struct list *l, char *out, size_t max)
{
    size_t n = MIN(l->word.len, max);
    memcpy(out, l->word.ptr, n);
    l->word = slice_make(l->word.ptr + n, l->word.len - n);
    return n;
}

static ssize_t pull(void *ctx, char *out, size_t max)
{
    struct list *l = ctx;
    size_t n = 0;
    while (n < max) {
        if (l->word.len) {
            n += put_word(l, out + n, max - n);
            continue;
        }
        if (l->over)
            break;
        ssize_t got = l->render ? exec_render_pull(l->render, out + n, max - n) : EXEC_RENDER_END;
        if (got == EXEC_RENDER_FAILED)
            return HTTP_PULL_ABORT;
        if (got == EXEC_RENDER_END)
            step(l);
        else
            n += (size_t)got;
    }
    return n ? (ssize_t)n : HTTP_PULL_END;
}

static void on_close(void *ctx)
{
    struct list *l = ctx;
    exec_render_free(l->render);
    if (l->at)
        exec_store_release(runner_execs(l->runner), l->at);
    free(l);
}

void exec_list_answer(struct runner *r, struct http_request *req, const char *state)
{
    struct err err;
    if (exec_store_room(runner_execs(r), NULL, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct list *l = MEM_NEW(struct list);
    l->runner = r;
    snprintf(l->state, sizeof(l->state), "%s", state ? state : "");
    http_on_close(req, on_close, l);
    http_set_header(req, "Cache-Control", "no-store");
    http_answer_stream(req, 200, "application/json", -1, pull, l);
}
