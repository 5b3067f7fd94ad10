#pragma once
#include "controller/exec/runner_ask.h"
#include "controller/sandbox/runner_client.h"

/*
 * One execution on a sandbox's runner: start it, or read one that is there, event by event, across
 * broken connections (see runner_ask.h). Knows no client: who reads may be a request, a chat's turn
 * or nobody for a while.
 */
struct runner_exec;

struct runner_exec_cfg {
    struct loop *loop; /* borrowed, as all here */
    struct httpc *http;
    struct sandbox *sandbox;
    const char *execution_id; /* copied; the same id with the same body runs once */
    const char *request_id;   /* for the runner's log, or NULL */
    int64_t patience_ms;      /* as of runner_ask_cfg */
};

/* Callbacks come from the loop itself, and not after runner_exec_free(), which they may call. */
struct runner_exec_consumer {
    /*
     * One event of the log (an NDJSON line), in order, each once; a long one in parts. False: not
     * taken: nothing more is read until runner_exec_resume(), which brings it again.
     */
    bool (*on_event)(void *ctx, const struct stream_event *e);
    /*
     * Once, behind the last event. FAILED also when the runner refuses: err is the problem it
     * answered with. The log's own verdict is its `done` event, also that of a sandbox that is
     * gone (LOST); without one (CUT) attach again behind the last seq, or give up.
     */
    void (*on_done)(void *ctx, enum runner_ask_end end, const struct err *err);
};

/* POST /execute of `body` (copied), an execution request's JSON text. */
int runner_exec_start(struct runner_exec **ret, const struct runner_exec_cfg *cfg,
                      struct slice body, const struct runner_exec_consumer *consumer, void *ctx,
                      struct err *err);
/* The events after `seq`, then live to `done`. */
int runner_exec_attach(struct runner_exec **ret, const struct runner_exec_cfg *cfg, uint64_t seq,
                       const struct runner_exec_consumer *consumer, void *ctx, struct err *err);
void runner_exec_resume(struct runner_exec *x);
/* Reads no more; the execution goes on. NULL ok; returns NULL. */
struct runner_exec *runner_exec_free(struct runner_exec *x);

/*
 * About an execution, whoever started it. `fn` comes once with err NULL when the runner has done
 * it; failing at once (< 0) it does not come. Bounded by 5 s; nothing is kept here.
 */
enum runner_exec_cancel {
    RUNNER_EXEC_CANCEL,      /* running: interrupted, killed 2 s later; queued: cancelled */
    RUNNER_EXEC_CLIENT_LEFT, /* the same if it was asked for with on_disconnect, else nothing */
};
int runner_exec_cancel(struct httpc *http, const struct sandbox *sb, const char *execution_id,
                       enum runner_exec_cancel how, runner_reply_fn fn, void *ctx, struct err *err);
/* A line for its input(); ERR_NO_INPUT_PENDING when it asks for none. Sent once. */
int runner_exec_input(struct httpc *http, const struct sandbox *sb, const char *execution_id,
                      struct slice value, runner_reply_fn fn, void *ctx, struct err *err);
