/*
 * Why: the controller's main road. One relay_call lives from the handler to the request's on_close:
 * the client's body comes by `body`, what the runner says by `ask` (over as many connections as
 * that takes), and `answer` is what the client has got of it.
 *
 * Whatever may end in on_close (an answer, a wake) is the last thing a callback does.
 */
#include "controller/relay/relay.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "controller/exec/runner_exec.h"
#include "controller/relay/relay_body.h"
#include "controller/relay/relay_head.h"
#include "controller/relay/relay_internal.h"
#include "controller/sandbox/sandbox.h"
#include "controller/sandbox/sandbox_spec.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/crypto/crypto.h"
#include "lib/http/http.h"
#include "lib/loop/loop.h"

#define TARGET_MAX  KIB(32) /* of the URL at the runner; the server's own ceiling is lower */
#define HEADERS_MAX 24

struct relay_call {
    struct relay *relay;
    struct relay_call *prev, *next;
    struct http_request *req;
    enum relay_kind kind;
    char id[ID_SANDBOX_SIZE];
    char eid[ID_EXEC_MAX + 1]; /* of RELAY_EXECUTE and RELAY_EVENTS */
    const char *method;

    struct sandbox_watch watch; /* watch.sandbox is NULL once it is gone, then `gone` says why */
    struct err gone;
    char *target;
    char *headers[HEADERS_MAX + 1];
    size_t n_headers;

    struct relay_body body;
    struct runner_ask *ask; /* NULL until the body is known */
    enum relay_answer_state answer;
    struct http_stream *stream; /* of a flowing answer */
};

/* ---- the answer ---- */

static bool step(struct relay_call *c, enum relay_answer_event ev)
{
    enum relay_answer_state to;
    if (!relay_answer_next_state(c->answer, ev, &to))
        return false;
    c->answer = to;
    return true;
}

static void answer_err(struct relay_call *c, const struct err *err)
{
    if (!step(c, RELAY_ANSWER_EV_PROBLEM))
        return;
    if (err->code == ERR_SANDBOX_LOST)
        c->relay->stats.lost++;
    relay_body_answered(&c->body); /* what still comes of it is thrown away */
    http_answer_err(c->req, err);
}

static ssize_t on_pull(void *ctx, char *out, size_t max)
{
    _Static_assert((int)RUNNER_ASK_READ_END == (int)HTTP_PULL_END, "the same ends");
    _Static_assert((int)RUNNER_ASK_READ_CUT == (int)HTTP_PULL_ABORT, "the same ends");
    struct relay_call *c = ctx;
    return c->ask ? runner_ask_read(c->ask, out, max) : HTTP_PULL_ABORT;
}

static void put_headers(struct relay_call *c)
{
    struct slice name, value;
    for (size_t at = 0; runner_ask_header(c->ask, &at, &name, &value);) {
        _cleanup_(freep) char *text = NULL;
        if (!relay_passes_to_client(name))
            continue;
        if (slice_eq_str(name, "Location")) {
            struct buf location;
            buf_init(&location, TARGET_MAX);
            relay_location(&location, c->id, http_path(c->req), value);
            text = buf_take(&location);
        }
        http_set_header(c->req, name.ptr, text ? text : value.ptr);
    }
}

/* As soon as it is known and the client's own body was read. */
static void try_answer(struct relay_call *c)
{
    if (c->answer != RELAY_ANSWER_KNOWN || !relay_body_is_over(&c->body))
        return;
    int status = runner_ask_status(c->ask);
    bool flows = strcmp(c->method, "HEAD") == 0 || runner_ask_format(c->ask) != STREAM_RAW ||
                 !runner_ask_is_whole(c->ask);
    step(c, flows ? RELAY_ANSWER_EV_FLOWS : RELAY_ANSWER_EV_WHOLE);
    put_headers(c);
    if (flows) {
        c->stream = http_answer_stream(c->req, status, runner_ask_type(c->ask),
                                       runner_ask_length(c->ask), on_pull, c);
    } else if (status == 204 || status == 304) {
        http_answer_empty(c->req, status);
    } else {
        size_t len = 0;
        char *bytes = runner_ask_take(c->ask, &len);
        http_answer_take(c->req, status, runner_ask_type(c->ask), bytes, len);
    }
}

static void on_head(void *ctx)
{
    struct relay_call *c = ctx;
    if (!step(c, RELAY_ANSWER_EV_HEAD))
        return;
    relay_body_answered(&c->body);
    try_answer(c);
}

static void on_ready(void *ctx)
{
    struct relay_call *c = ctx;
    if (c->stream)
        http_stream_wake(c->stream);
}

static void on_over(void *ctx, enum runner_ask_end end, const struct err *err)
{
    struct relay_call *c = ctx;
    bool streamed = end == RUNNER_ASK_LOST && runner_ask_format(c->ask) != STREAM_RAW;
    if (streamed)
        c->relay->stats.lost++;
    else if (err)
        answer_err(c, err); /* without effect where something was given */
}

/* ---- the question ---- */

static ssize_t send_body(void *ctx, char *out, size_t max)
{
    struct relay_call *c = ctx;
    return relay_body_send(&c->body, out, max);
}

static enum runner_ask_again again(const struct relay_call *c)
{
    bool reads = strcmp(c->method, "GET") == 0;
    if (c->kind == RELAY_EXECUTE || (c->kind == RELAY_EVENTS && reads))
        return RUNNER_ASK_ATTACH;
    return reads || strcmp(c->method, "HEAD") == 0 || strcmp(c->method, "PUT") == 0
               ? RUNNER_ASK_TWICE
               : RUNNER_ASK_ONCE;
}

/*
 * seq of the last event that a reader of …/events already has: the later of the two, as a browser
 * that reconnects repeats its query. What is no number the runner refuses.
 */
static uint64_t seq_before(const struct relay_call *c)
{
    const char *texts[] = {http_query(c->req, "after"), http_header(c->req, "Last-Event-ID")};
    uint64_t seq = 0;
    for (size_t i = 0; c->kind == RELAY_EVENTS && i < ARRAY_LEN(texts); i++) {
        uint64_t n = 0;
        if (texts[i] && parse_u64(texts[i], 0, INT64_MAX, &n, NULL) == 0)
            seq = MAX(seq, n);
    }
    return seq;
}

static void ask(void *ctx)
{
    static const struct runner_ask_consumer consumer = {
        .on_head = on_head, .on_ready = on_ready, .on_over = on_over};
    struct relay_call *c = ctx;
    struct err err = {0};
    if (!c->watch.sandbox) {
        runner_lost_err(&c->gone, &err);
        answer_err(c, &err);
        return;
    }
    bool bounded = c->kind == RELAY_PLAIN || c->kind == RELAY_EVENTS;
    struct runner_ask_cfg cfg = {.loop = c->relay->loop,
                                 .http = c->relay->http,
                                 .sandbox = c->watch.sandbox,
                                 .method = c->method,
                                 .target = c->target,
                                 .headers = (const char *const *)c->headers,
                                 .again = again(c),
                                 .execution_id = c->eid,
                                 .after = seq_before(c),
                                 .deadline_ms = bounded ? c->relay->deadline_ms : 0,
                                 .patience_ms = c->relay->patience_ms};
    if (c->body.flows) {
        cfg.send = send_body;
        cfg.send_length = http_content_length(c->req);
    } else if (c->body.bytes.len > 0) {
        cfg.body = c->body.bytes.ptr;
        cfg.body_len = c->body.bytes.len;
    }
    if (runner_ask_start(&c->ask, &cfg, &consumer, c, &err) < 0)
        answer_err(c, &err);
}

static void more_of_body(void *ctx)
{
    struct relay_call *c = ctx;
    if (c->ask)
        runner_ask_send_more(c->ask);
}

static void body_over(void *ctx)
{
    try_answer(ctx);
}

static void add_header(struct relay_call *c, const char *name, const char *value)
{
    if (c->n_headers < HEADERS_MAX)
        c->headers[c->n_headers++] = mem_printf("%s: %s", name, value);
}

static void pass_header(void *ctx, const char *name, const char *value)
{
    if (relay_passes_to_runner(name))
        add_header(ctx, name, value);
}

/* Head and address of the question. */
static int prepare(struct relay_call *c, struct err *err)
{
    struct buf target;
    const char *key = http_header(c->req, "Idempotency-Key");
    if (c->kind == RELAY_EXECUTE && key && idempotency_key_check(key, err) < 0)
        return -ERR_INVALID;
    buf_init(&target, TARGET_MAX);
    int r = relay_target(&target, http_path(c->req), http_query_raw(c->req), err);
    c->target = buf_take(&target);
    if (r < 0)
        return r;
    add_header(c, "X-Request-Id", http_request_id(c->req));
    if (relay_is_for_all(http_path(c->req)))
        add_header(c, JUPYTER_SCOPE_HEADER, JUPYTER_SCOPE_ALL);
    if (c->kind == RELAY_EXECUTE) {
        if (key)
            relay_execution_id(c->id, key, c->eid);
        else
            crypto_new_uuid(c->eid);
        add_header(c, "X-Execution-Id", c->eid);
    } else if (c->kind == RELAY_EVENTS && id_is_exec(http_param(c->req, "eid"))) {
        snprintf(c->eid, sizeof(c->eid), "%s", http_param(c->req, "eid"));
    }
    http_headers_each(c->req, pass_header, c);
    return 0;
}

/* ---- the end ---- */

static void on_sandbox_gone(void *ctx, const struct err *err)
{
    struct relay_call *c = ctx;
    c->gone = *err;
}

static void cancel_answered(void *ctx, json_t *json, const struct err *err)
{
    struct relay *r = ctx;
    if (err)
        log_event(LOG_DEBUG, "cancel_on_disconnect_failed", "error", err->text, NULL);
    else
        r->stats.client_gone++;
}

static void forget_ask(struct relay_call *c)
{
    if (c->ask)
        c->relay->stats.retried += runner_ask_times(c->ask) - 1;
    c->ask = runner_ask_free(c->ask);
}

/* The runner knows whether this execution wants to be interrupted when its client leaves. */
static void on_gone(void *ctx)
{
    struct relay_call *c = ctx;
    struct err err = {0};
    bool runs = c->kind == RELAY_EXECUTE && c->ask && runner_ask_is_open(c->ask);
    step(c, RELAY_ANSWER_EV_LEFT);
    if (runs && c->watch.sandbox &&
        runner_exec_cancel(c->relay->http, c->watch.sandbox, c->eid, RUNNER_EXEC_CLIENT_LEFT,
                           cancel_answered, c->relay, &err) < 0)
        log_event(LOG_WARN, "cancel_on_disconnect_failed", "sandbox", c->id, "execution", c->eid,
                  "error", err.text, NULL);
    forget_ask(c);
}

static void body_left(void *ctx)
{
    on_gone(ctx);
}

static void on_close(void *ctx)
{
    struct relay_call *c = ctx;
    struct relay *r = c->relay;
    forget_ask(c);
    sandbox_watch_stop(&c->watch);
    DL_DELETE(r->calls, c);
    r->stats.open--;
    for (size_t i = 0; i < c->n_headers; i++)
        free(c->headers[i]);
    free(c->target);
    relay_body_done(&c->body);
    free(c);
}

/* ---- the API ---- */

int relay_usable(const struct sandbox *sb, struct err *err)
{
    switch (sb->state) {
    case SANDBOX_READY:
        return 0;
    case SANDBOX_ASKING:
    case SANDBOX_CREATING:
    case SANDBOX_WARM:
    case SANDBOX_CLAIMING:
        return err_set(err, ERR_UNAVAILABLE, "the sandbox is being started; try again");
    case SANDBOX_TERMINATING:
        return err_set(err, ERR_NOT_FOUND, "the sandbox %s is being deleted", sb->id);
    case SANDBOX_FAILED:
    case SANDBOX_GONE:
    case SANDBOX_STATES:
        break;
    }
    return err_set(err, ERR_SANDBOX_LOST, "the sandbox has failed");
}

void relay_request(struct relay *r, struct http_request *req, struct sandbox *sb,
                   enum relay_kind kind)
{
    static const struct relay_body_consumer body = {
        .on_known = ask, .on_more = more_of_body, .on_over = body_over, .on_left = body_left};
    struct err err = {0};
    const struct http_route *route = http_route_of(req);
    if (relay_usable(sb, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct relay_call *c = MEM_NEW(struct relay_call);
    c->relay = r;
    c->req = req;
    c->kind = kind;
    c->method = http_method(req);
    memcpy(c->id, sb->id, sizeof(c->id));
    DL_APPEND(r->calls, c);
    r->stats.open++;
    http_on_close(req, on_close, c);
    if (prepare(c, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    sandbox_watch_start(&c->watch, sb, on_sandbox_gone, c);
    if (strcmp(c->method, "GET") != 0 && strcmp(c->method, "HEAD") != 0)
        sandbox_touch(sb);
    http_on_gone(req, on_gone, c);
    relay_body_start(&c->body, req, route && route->body == HTTP_BODY_STREAM, &body, c);
}

int relay_new(struct relay **ret, const struct relay_cfg *cfg, struct err *err)
{
    struct relay *r = MEM_NEW(struct relay);
    r->loop = cfg->loop;
    r->http = cfg->http;
    r->deadline_ms = cfg->deadline_ms ? cfg->deadline_ms : 120000;
    r->patience_ms = cfg->patience_ms;
    r->scratch = mem_alloc(RELAY_SCRATCH);
    *ret = r;
    return 0;
}

struct relay *relay_free(struct relay *r)
{
    if (r)
        free(r->scratch);
    free(r);
    return NULL;
}

void relay_stats(const struct relay *r, struct relay_stats *ret)
{
    *ret = r->stats;
}
