/*
 * Why: the controller's main road. One relay_call lives from the handler to the request's on_close;
 * within it at most one call to the runner is open at a time.
 *
 *   body   a body of up to SMALL bytes is read whole first, so that it can be sent again on
 *          another connection; a longer one streams through `in`.
 *   answer up to SMALL bytes are kept until the runner's answer is whole, so that one that breaks
 *          is still a proper error; a longer one, and every event stream, goes through `tail`.
 *   death  the sandbox's watch says why a connection broke. When it breaks before an answer the
 *          relay waits GRACE_MS for that word; without it the request is sent again, once, where
 *          that is safe (an execution's id makes it safe).
 *
 * Whatever may end in on_close (an answer, a wake) is the last thing a callback does.
 */
#include "controller/relay/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#include "controller/relay/relay_head.h"
#include "controller/relay/relay_internal.h"
#include "controller/relay/stream_tail.h"
#include "controller/sandbox/sandbox.h"
#include "controller/sandbox/sandbox_spec.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/crypto/crypto.h"
#include "lib/http/http.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"

#define SMALL       KIB(64)
#define IN_MAX      KIB(256)
#define IN_LOW      KIB(64)
#define TARGET_MAX  KIB(32) /* of the URL at the runner; the server's own ceiling is lower */
#define HEADERS_MAX 24
#define GRACE_MS    200
#define CANCEL_MS   5000

struct header {
    char *name, *value;
};

struct relay_call {
    struct relay *relay;
    struct relay_call *prev, *next;
    struct http_request *req;
    enum relay_kind kind;
    char id[ID_SANDBOX_SIZE];
    char eid[ID_EXEC_MAX + 1]; /* RELAY_EXECUTE */
    bool head;                 /* the method */
    bool idempotent;

    /* the sandbox; watch.sandbox is NULL once it is gone, then `gone` says why */
    struct sandbox_watch watch;
    struct err gone;
    struct err broke; /* the connection, before an answer */
    struct loop_timer
        *timer; /* until an answer; GRACE_MS; RELAY_DRAIN_MS after the sandbox has gone */

    /* to the runner */
    char *url;
    char *unix_path;
    char *headers[HEADERS_MAX + 1];
    size_t n_headers;
    struct httpc_call *up;
    struct buf in;
    bool has_body;
    bool in_whole;   /* the client's body has come to its end */
    bool in_discard; /* the runner answered early: the rest is read and thrown away */
    bool in_stopped; /* on_data took less than it was given */
    bool streams_up; /* the body streams: the request cannot be sent again once it has begun */
    bool sent_any;   /* of a streaming body */
    unsigned attempts;

    /* from the runner */
    int status; /* 0 until its headers are complete */
    struct header got[HEADERS_MAX];
    size_t n_got;
    char *type;
    int64_t length;
    struct stream_tail tail;
    bool up_over; /* the runner's answer came to its end, or broke */
    bool cut;     /* … and cannot be mended */
    bool recv_paused;
    bool answered;
    bool client_gone;
    struct http_stream *stream;
};

static void send_up(struct relay_call *c);

/* ---- the end of a call ---- */

static void free_headers(struct relay_call *c)
{
    for (size_t i = 0; i < c->n_got; i++) {
        free(c->got[i].name);
        free(c->got[i].value);
    }
    c->n_got = 0;
    free(c->type);
    c->type = NULL;
}

static void on_close(void *ctx)
{
    struct relay_call *c = ctx;
    httpc_cancel(c->up);
    sandbox_watch_stop(&c->watch);
    loop_timer_free(c->timer);
    DL_DELETE(c->relay->calls, c);
    c->relay->stats.open--;
    for (size_t i = 0; i < c->n_headers; i++)
        mem_free_secret(c->headers[i]);
    free_headers(c);
    free(c->url);
    free(c->unix_path);
    buf_done(&c->in);
    stream_tail_done(&c->tail);
    free(c);
}

static void answer_err(struct relay_call *c, const struct err *err)
{
    if (c->answered)
        return;
    c->answered = true;
    if (err->code == ERR_SANDBOX_LOST)
        c->relay->stats.lost++;
    if (c->in_stopped) {
        c->in_stopped = false;
        http_body_resume(c->req); /* body_data() throws the rest away now */
    }
    http_answer_err(c->req, err);
}

void relay_lost_err(const struct err *gone, struct err *err)
{
    if (gone->code == ERR_NOT_FOUND)
        err_set(err, ERR_SANDBOX_LOST, "the sandbox was deleted");
    else if (gone->code != ERR_OK)
        err_set(err, ERR_SANDBOX_LOST, "%s", gone->text);
    else
        err_set(err, ERR_SANDBOX_LOST,
                "the sandbox's runner broke off the connection; its state is lost");
}

/* ---- answers ---- */

static ssize_t on_pull(void *ctx, char *out, size_t max)
{
    struct relay_call *c = ctx;
    size_t n = stream_tail_pull(&c->tail, out, max);
    if (c->recv_paused && c->up && stream_tail_wants_more(&c->tail)) {
        c->recv_paused = false;
        httpc_resume_recv(c->up);
    }
    if (n > 0 || !c->up_over)
        return (ssize_t)n;
    return c->cut ? HTTP_PULL_ABORT : HTTP_PULL_END;
}

static void put_headers(struct relay_call *c)
{
    for (size_t i = 0; i < c->n_got; i++)
        http_set_header(c->req, c->got[i].name, c->got[i].value);
}

static void answer_stream(struct relay_call *c)
{
    c->answered = true;
    put_headers(c);
    c->stream = http_answer_stream(c->req, c->status, c->type, c->length, on_pull, c);
}

static void answer_whole(struct relay_call *c)
{
    c->answered = true;
    put_headers(c);
    if (c->status == 204 || c->status == 304) {
        http_answer_empty(c->req, c->status);
        return;
    }
    size_t len = c->tail.buf.len;
    http_answer_take(c->req, c->status, c->type, buf_take(&c->tail.buf), len);
}

static bool is_type(const char *type, const char *want)
{
    size_t n = strlen(want);
    return type && strncasecmp(type, want, n) == 0 && (!type[n] || strchr("; \t", type[n]));
}

/* seq of the last event a reader of …/events already has. */
static uint64_t seq_before(const struct relay_call *c)
{
    uint64_t seq = 0;
    const char *text = http_query(c->req, "after");
    if (c->kind != RELAY_EVENTS)
        return 0;
    if (!text)
        text = http_header(c->req, "Last-Event-ID");
    if (!text || parse_u64(text, 0, INT64_MAX, &seq, NULL) < 0)
        return 0;
    return seq;
}

static enum stream_format format_of(const struct relay_call *c)
{
    if (c->status != 200 || (c->kind != RELAY_EXECUTE && c->kind != RELAY_EVENTS))
        return STREAM_RAW;
    if (is_type(c->type, "text/event-stream"))
        return STREAM_SSE;
    return is_type(c->type, "application/x-ndjson") ? STREAM_NDJSON : STREAM_RAW;
}

/* Nothing can be answered before the request's own body was read. */
static bool may_answer(const struct relay_call *c)
{
    return !c->answered && !c->client_gone && c->status != 0 && (!c->has_body || c->in_whole);
}

/* Answers as soon as it is known how; called whenever something changed. */
static void try_answer(struct relay_call *c)
{
    if (!may_answer(c))
        return;
    if (c->head || c->tail.format != STREAM_RAW)
        answer_stream(c);
    else if (c->up_over && !c->cut)
        answer_whole(c);
    else if (c->length > (int64_t)SMALL || c->tail.buf.len > SMALL)
        answer_stream(c);
}

/* ---- what the runner says ---- */

static void up_header(void *ctx, struct slice name, struct slice value)
{
    struct relay_call *c = ctx;
    if (name.len == 14 && strncasecmp(name.ptr, "Content-Length", 14) == 0) {
        _cleanup_(freep) char *text = mem_dup_n(value.ptr, value.len);
        uint64_t n = 0;
        if (parse_u64(text, 0, INT64_MAX, &n, NULL) == 0)
            c->length = (int64_t)n;
        return;
    }
    if (name.len == 12 && strncasecmp(name.ptr, "Content-Type", 12) == 0) {
        free(c->type);
        c->type = mem_dup_n(value.ptr, value.len);
        return;
    }
    if (!relay_passes_to_client(name) || c->n_got == HEADERS_MAX)
        return;
    struct header *h = &c->got[c->n_got++];
    h->name = mem_dup_n(name.ptr, name.len);
    if (name.len == 8 && strncasecmp(name.ptr, "Location", 8) == 0) {
        struct buf location;
        buf_init(&location, TARGET_MAX);
        relay_location(&location, c->id, http_path(c->req), value);
        h->value = buf_take(&location);
    } else {
        h->value = mem_dup_n(value.ptr, value.len);
    }
}

static void up_headers(void *ctx, int status)
{
    struct relay_call *c = ctx;
    c->status = status;
    if (c->watch.sandbox)
        loop_timer_stop(c->timer);
    if (c->has_body && !c->in_whole)
        c->in_discard = true; /* refused before it had the whole body */
    c->tail.format = format_of(c);
    c->tail.last_seq = seq_before(c);
    if (c->in_discard && c->in_stopped) {
        c->in_stopped = false;
        buf_clear(&c->in);
        http_body_resume(c->req);
        return;
    }
    try_answer(c);
}

static bool up_data(void *ctx, const char *p, size_t len)
{
    struct relay_call *c = ctx;
    if (!stream_tail_push(&c->tail, p, len)) {
        c->recv_paused = true;
        return false;
    }
    if (c->stream && c->tail.ready > 0)
        http_stream_wake(c->stream);
    else
        try_answer(c);
    return true;
}

static bool may_retry(const struct relay_call *c, const struct err *err)
{
    if (c->attempts > 1 || c->sent_any || !c->watch.sandbox || c->client_gone)
        return false;
    return c->idempotent || err->code == ERR_UNAVAILABLE;
}

/* No answer came, and this is why. */
static void fail_call(struct relay_call *c, const struct err *err)
{
    struct err said = {0};
    if (!c->watch.sandbox)
        relay_lost_err(&c->gone, &said);
    else if (err->code == ERR_TIMEOUT || err->code == ERR_INVALID)
        said = *err;
    else
        err_set(&said, ERR_UNAVAILABLE, "the sandbox does not answer (%s); try again", err->text);
    answer_err(c, &said);
}

/* A connection broke before the answer began. */
static void broken_early(struct relay_call *c, const struct err *err)
{
    if (c->client_gone)
        return;
    if (c->watch.sandbox && err->code != ERR_TIMEOUT && err->code != ERR_INVALID) {
        c->broke = *err;
        loop_timer_start(c->timer, GRACE_MS, 0);
        return;
    }
    fail_call(c, err);
}

/* The answer had begun and broke. */
static void broken_late(struct relay_call *c)
{
    struct err err = {0};
    relay_lost_err(&c->gone, &err);
    if (!c->answered && !c->client_gone && c->tail.format == STREAM_RAW) {
        c->status = 0;
        answer_err(c, &err);
        return;
    }
    bool had_end = c->tail.done;
    c->cut = !stream_tail_break(&c->tail, err.text);
    if (!c->cut && !had_end)
        c->relay->stats.lost++;
    if (c->stream)
        http_stream_wake(c->stream);
    else
        try_answer(c);
}

static void up_done(void *ctx, const struct err *err)
{
    struct relay_call *c = ctx;
    c->up = NULL;
    if (err && c->status == 0) {
        broken_early(c, err);
        return;
    }
    loop_timer_stop(c->timer);
    c->up_over = true;
    if (err) {
        broken_late(c);
        return;
    }
    if (c->status == 401) {
        struct err said = {0};
        err_set(&said, ERR_INTERNAL, "the runner does not accept this controller's key");
        answer_err(c, &said);
        return;
    }
    stream_tail_end(&c->tail);
    if (c->stream)
        http_stream_wake(c->stream);
    else
        try_answer(c);
}

/* ---- the sandbox's end ---- */

static void on_sandbox_gone(void *ctx, const struct err *err)
{
    struct relay_call *c = ctx;
    bool waiting = !c->up && c->status == 0 && c->attempts > 0;
    c->gone = *err;
    if (waiting) {
        loop_timer_stop(c->timer);
        fail_call(c, err);
        return;
    }
    /* What the runner still said is in the connection, and its end comes behind that. */
    if (c->up)
        loop_timer_start(c->timer, RELAY_DRAIN_MS, 0);
}

/* The runner says nothing for too long, or the sandbox is gone and its connection is silent. */
static void end_silent(struct relay_call *c)
{
    struct err err = {0};
    if (c->recv_paused) {
        loop_timer_start(c->timer, RELAY_DRAIN_MS, 0);
        return;
    }
    c->up = httpc_cancel(c->up);
    if (c->watch.sandbox)
        err_set(&err, ERR_TIMEOUT, "the sandbox did not answer within %lld s",
                (long long)c->relay->deadline_ms / 1000);
    else
        relay_lost_err(&c->gone, &err);
    up_done(c, &err);
}

static void on_timer(void *ctx)
{
    struct relay_call *c = ctx;
    if (c->up) {
        end_silent(c);
        return;
    }
    if (!may_retry(c, &c->broke)) {
        fail_call(c, &c->broke);
        return;
    }
    c->relay->stats.retried++;
    send_up(c);
}

/* ---- the client's body ---- */

static ssize_t up_send(void *ctx, char *out, size_t max)
{
    struct relay_call *c = ctx;
    size_t n = MIN(max, c->in.len);
    if (n == 0)
        return c->in_whole ? HTTPC_SEND_END : 0;
    memcpy(out, c->in.ptr, n);
    buf_consume(&c->in, n);
    c->sent_any = true;
    if (c->in_stopped && c->in.len <= IN_LOW) {
        c->in_stopped = false;
        http_body_resume(c->req);
    }
    return (ssize_t)n;
}

static size_t body_data(void *ctx, const char *p, size_t len)
{
    struct relay_call *c = ctx;
    if (c->in_discard || c->answered)
        return len;
    size_t n = MIN(len, IN_MAX - c->in.len);
    buf_append(&c->in, p, n);
    c->in_stopped = n < len;
    if (!c->streams_up && c->in.len > SMALL) {
        c->streams_up = true;
        send_up(c);
    } else if (c->up && c->streams_up) {
        httpc_resume_send(c->up);
    }
    return n;
}

static void body_end(void *ctx, bool ok)
{
    struct relay_call *c = ctx;
    c->in_whole = ok;
    if (!ok) {
        c->client_gone = true;
        c->up = httpc_cancel(c->up);
        return;
    }
    if (c->in_discard)
        try_answer(c);
    else if (c->streams_up && c->up)
        httpc_resume_send(c->up);
    else if (!c->streams_up && !c->answered)
        send_up(c);
}

/* ---- the request to the runner ---- */

static void send_up(struct relay_call *c)
{
    static const struct httpc_callbacks callbacks = {.on_headers = up_headers,
                                                     .on_header = up_header,
                                                     .on_data = up_data,
                                                     .on_send = up_send,
                                                     .on_done = up_done};
    struct httpc_request to = {
        .method = http_method(c->req),
        .url = c->url,
        .unix_path = c->unix_path,
        .headers = (const char *const *)c->headers,
        .repeatable = c->kind == RELAY_EXECUTE, /* its id makes it so */
    };
    struct err err = {0};
    if (!c->watch.sandbox) {
        fail_call(c, &c->gone);
        return;
    }
    if (c->streams_up) {
        to.send_streams = true;
        to.send_length = http_content_length(c->req);
    } else if (c->in.len > 0) {
        to.body = c->in.ptr;
        to.body_len = c->in.len;
    }
    c->attempts++;
    c->length = -1;
    free_headers(c);
    if (c->kind == RELAY_PLAIN)
        loop_timer_start(c->timer, c->relay->deadline_ms, 0);
    if (httpc_start(&c->up, c->relay->http, &to, &callbacks, c, &err) < 0)
        answer_err(c, &err);
}

static void add_up_header(struct relay_call *c, const char *name, const char *value)
{
    if (c->n_headers < HEADERS_MAX)
        c->headers[c->n_headers++] = mem_printf("%s: %s", name, value);
}

static void pass_header(void *ctx, const char *name, const char *value)
{
    if (relay_passes_to_runner(name))
        add_up_header(ctx, name, value);
}

/* Head and address of the request to the runner, made once for all attempts. */
static int prepare(struct relay_call *c, const struct sandbox *sb, struct err *err)
{
    struct buf url;
    _cleanup_(mem_free_secretp) char *bearer = mem_printf("Bearer %s", sb->token);
    bool is_unix = sb->endpoint.unix_path[0] != '\0';
    const char *key = http_header(c->req, "Idempotency-Key");
    if (c->kind == RELAY_EXECUTE && key && idempotency_key_check(key, err) < 0)
        return -ERR_INVALID;
    buf_init(&url, TARGET_MAX);
    /* The sandbox's id as host name: libcurl looks for an idle connection by host name first. */
    buf_printf(&url, "http://%s", is_unix ? sb->id : sb->endpoint.host_port);
    int r = relay_target(&url, http_path(c->req), http_query_raw(c->req), err);
    if (r < 0) {
        buf_done(&url);
        return r;
    }
    c->url = buf_take(&url);
    c->unix_path = is_unix ? mem_dup_str(sb->endpoint.unix_path) : NULL;
    add_up_header(c, "Authorization", bearer);
    add_up_header(c, "X-Request-Id", http_request_id(c->req));
    if (relay_is_for_all(http_path(c->req)))
        add_up_header(c, JUPYTER_SCOPE_HEADER, JUPYTER_SCOPE_ALL);
    if (c->kind == RELAY_EXECUTE) {
        if (key)
            relay_execution_id(sb->id, key, c->eid);
        else
            crypto_new_uuid(c->eid);
        add_up_header(c, "X-Execution-Id", c->eid);
    }
    http_headers_each(c->req, pass_header, c);
    return 0;
}

/* ---- the client leaves ---- */

static void cancel_answered(void *ctx, int status, struct slice body, const struct err *err)
{
    struct relay *r = ctx;
    if (err)
        log_event(LOG_DEBUG, "cancel_on_disconnect_failed", "error", err->text, NULL);
    else
        r->stats.client_gone++;
}

/* The runner knows whether this execution wants to be interrupted when its client leaves. */
static void cancel_execution(struct relay_call *c)
{
    char line[SANDBOX_TOKEN_SIZE + 32];
    const char *headers[] = {line, NULL};
    const struct sandbox *sb = c->watch.sandbox;
    bool is_unix = c->unix_path != NULL;
    _cleanup_(freep) char *url = mem_printf("http://%s/executions/%s/cancel?on=disconnect",
                                            is_unix ? sb->id : sb->endpoint.host_port, c->eid);
    struct httpc_request req = {.method = "POST",
                                .url = url,
                                .unix_path = c->unix_path,
                                .headers = headers,
                                .total_timeout_ms = CANCEL_MS};
    struct err err = {0};
    snprintf(line, sizeof(line), "Authorization: Bearer %s", sb->token);
    if (httpc_exchange(NULL, c->relay->http, &req, SMALL, cancel_answered, c->relay, &err) < 0)
        log_event(LOG_WARN, "cancel_on_disconnect_failed", "sandbox", c->id, "execution", c->eid,
                  "error", err.text, NULL);
    explicit_bzero(line, sizeof(line));
}

static void on_gone(void *ctx)
{
    struct relay_call *c = ctx;
    bool was_sent = c->attempts > 0;
    c->client_gone = true;
    loop_timer_stop(c->timer);
    c->up = httpc_cancel(c->up);
    if (c->kind == RELAY_EXECUTE && was_sent && !c->up_over && !c->tail.done && c->watch.sandbox)
        cancel_execution(c);
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
    struct err err = {0};
    const char *method = http_method(req);
    const struct http_route *route = http_route_of(req);
    if (relay_usable(sb, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct relay_call *c = MEM_NEW(struct relay_call);
    c->relay = r;
    c->req = req;
    c->kind = kind;
    memcpy(c->id, sb->id, sizeof(c->id));
    c->head = strcmp(method, "HEAD") == 0;
    c->idempotent = kind == RELAY_EXECUTE || c->head || strcmp(method, "GET") == 0 ||
                    strcmp(method, "PUT") == 0;
    c->has_body = route && route->body == HTTP_BODY_STREAM;
    c->length = -1;
    c->timer = loop_timer_new(r->loop, on_timer, c);
    buf_init(&c->in, IN_MAX);
    stream_tail_init(&c->tail, STREAM_RAW, 0);
    DL_APPEND(r->calls, c);
    r->stats.open++;
    http_on_close(req, on_close, c);
    if (prepare(c, sb, &err) < 0) {
        answer_err(c, &err);
        return;
    }
    sandbox_watch_start(&c->watch, sb, on_sandbox_gone, c);
    if (strcmp(method, "GET") != 0 && !c->head)
        sandbox_touch(sb);
    http_on_gone(req, on_gone, c);
    if (c->has_body)
        http_body_read(req, body_data, body_end, c);
    else
        send_up(c);
}

int relay_new(struct relay **ret, const struct relay_cfg *cfg, struct err *err)
{
    struct relay *r = MEM_NEW(struct relay);
    r->loop = cfg->loop;
    r->http = cfg->http;
    r->deadline_ms = cfg->deadline_ms ? cfg->deadline_ms : 120000;
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
