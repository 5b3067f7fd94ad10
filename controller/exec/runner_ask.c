/*
 * Why: a connection is not a sandbox. Between a reader and a runner connections break, on one host
 * seldom, over a network daily, while the execution goes on and its log is kept. So what a reader
 * asked for is one object, and connections are its means.
 *
 *   broken   the backend has a moment to say that the sandbox is gone; without that word the
 *            question is sent again where that is safe: an execution by its id, a stream by its seq
 *   held     an answer of up to HOLD_MAX bytes is passed on when it is whole, so that one that
 *            breaks can be asked for again; of a longer one what came is passed on at once
 *   told     the reader hears of everything by `tell`, a turn later, whoever completed it
 *
 * The watch, the connection and the timer end with the state OVER; the bytes stay to be read.
 */
#include "controller/exec/runner_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "controller/exec/runner_ask_internal.h"
#include "controller/sandbox/runner_client.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/httpc/httpc.h"

#define HOLD_MAX    KIB(64)
#define HEAD_MAX    KIB(32) /* of an answer's other headers; the client's own ceiling is lower */
#define WORD_MS     200 /* for the backend's word, before a question is sent again or given up */
#define AGAIN_MS    10  /* the same for an execution, doubled with every break, up to … */
#define AGAIN_MAX   2000
#define PATIENCE_MS 15000
#define ATTACH_MS   5000  /* for the head of a stream that is attached to again */
#define SILENCE_MS  60000 /* of a stream; its runner says something every 15 s */
#define DRAIN_MS    2000  /* a runner that is gone, but whose connection stays silent */

/* ---- heads ---- */

static void answer_init(struct answer *an)
{
    *an = (struct answer){.length = -1};
    buf_init(&an->headers, HEAD_MAX);
}

static void answer_done(struct answer *an)
{
    free(an->type);
    buf_done(&an->headers);
}

static void answer_add(struct answer *an, struct slice name, struct slice value)
{
    if (name.len == 14 && strncasecmp(name.ptr, "Content-Length", 14) == 0) {
        _cleanup_(freep) char *text = mem_dup_n(value.ptr, value.len);
        uint64_t n = 0;
        if (parse_u64(text, 0, INT64_MAX, &n, NULL) == 0)
            an->length = (int64_t)n;
    } else if (name.len == 12 && strncasecmp(name.ptr, "Content-Type", 12) == 0) {
        free(an->type);
        an->type = mem_dup_n(value.ptr, value.len);
    } else if (name.len + value.len + 2 <= an->headers.max - an->headers.len) {
        buf_append_slice(&an->headers, name);
        buf_append_char(&an->headers, '\0');
        buf_append_slice(&an->headers, value);
        buf_append_char(&an->headers, '\0');
    }
}

static bool is_type(const char *type, const char *want)
{
    size_t n = strlen(want);
    return type && strncasecmp(type, want, n) == 0 && (!type[n] || strchr("; \t", type[n]));
}

static enum stream_format format_of(const struct runner_ask *a, const struct answer *an)
{
    if (an->status != 200 || a->again != RUNNER_ASK_ATTACH)
        return STREAM_RAW;
    if (is_type(an->type, "text/event-stream"))
        return STREAM_SSE;
    return is_type(an->type, "application/x-ndjson") ? STREAM_NDJSON : STREAM_RAW;
}

/* ---- the machine ---- */

void runner_lost_err(const struct err *gone, struct err *err)
{
    if (gone->code == ERR_NOT_FOUND)
        err_set(err, ERR_SANDBOX_LOST, "the sandbox was deleted");
    else
        err_set(err, ERR_SANDBOX_LOST, "%s", gone->text);
}

/* a->why becomes the sentence for the reader. */
static void explain(struct runner_ask *a)
{
    struct err was = a->why;
    if (a->gone.code)
        runner_lost_err(&a->gone, &a->why);
    else
        runner_failure(&was, &a->why);
}

static void end_stream(struct runner_ask *a)
{
    if (a->gone.code) {
        a->end = RUNNER_ASK_LOST;
        stream_tail_lose(&a->tail, a->why.text);
        return;
    }
    a->end = RUNNER_ASK_CUT;
    stream_tail_resume(&a->tail); /* half an event is not for the reader */
    log_event(LOG_WARN, "event_stream_cut", "execution", a->execution_id, "error", a->why.text,
              NULL);
}

static void enter_over(struct runner_ask *a, enum runner_ask_event ev)
{
    a->call = httpc_cancel(a->call);
    sandbox_watch_stop(&a->watch);
    loop_timer_stop(a->timer);
    if (ev == RUNNER_ASK_EV_END || (a->has_head && a->tail.done)) {
        a->has_head = true;
        a->end = RUNNER_ASK_ENDED;
        stream_tail_end(&a->tail);
        return;
    }
    explain(a);
    if (!a->has_head)
        a->end = RUNNER_ASK_FAILED;
    else if (a->tail.format != STREAM_RAW)
        end_stream(a);
    else
        a->end = a->gone.code ? RUNNER_ASK_LOST : RUNNER_ASK_CUT;
}

static void enter_broken(struct runner_ask *a)
{
    int64_t now = loop_now_ms(a->loop);
    a->call = httpc_cancel(a->call);
    a->recv_paused = false;
    a->reached = a->reached || a->has_head || a->why.code != ERR_UNAVAILABLE;
    if (!a->broke_ms || now - a->sent_ms >= a->patience_ms) {
        a->broke_ms = now;
        a->wait_ms = a->again == RUNNER_ASK_ATTACH ? AGAIN_MS : WORD_MS;
    } else {
        a->wait_ms = MIN(a->wait_ms * 2, AGAIN_MAX);
    }
    if (a->has_head) {
        stream_tail_resume(&a->tail);
    } else {
        answer_done(&a->first);
        answer_init(&a->first);
        buf_clear(&a->tail.buf);
        stream_tail_end(&a->tail);
    }
    loop_timer_start(a->timer, a->wait_ms, 0);
}

static void on_tell(void *ctx);

static void tell(struct runner_ask *a)
{
    loop_post(&a->tell, a->loop, on_tell, a);
}

/* The one place where the state changes. */
static void step(struct runner_ask *a, enum runner_ask_event ev)
{
    enum runner_ask_state from = a->state;
    if (!runner_ask_next_state(from, ev, &a->state)) {
        log_event(LOG_WARN, "runner_ask_unexpected", "state", runner_ask_state_name(from), "event",
                  runner_ask_event_name(ev), NULL);
        return;
    }
    switch (a->state) {
    case RUNNER_ASK_STARTING:
    case RUNNER_ASK_ATTACHING:
        break;
    case RUNNER_ASK_HOLDING:
        loop_timer_stop(a->timer);
        break;
    case RUNNER_ASK_STREAMING:
        a->has_head = true;
        a->heard_ms = loop_now_ms(a->loop);
        loop_timer_start(a->timer, SILENCE_MS, 0);
        break;
    case RUNNER_ASK_PASSING:
        a->has_head = true;
        break;
    case RUNNER_ASK_BROKEN:
        enter_broken(a);
        break;
    case RUNNER_ASK_ENDING:
        a->has_head = a->has_head || ev == RUNNER_ASK_EV_STREAM || ev == RUNNER_ASK_EV_LONG;
        if (ev == RUNNER_ASK_EV_GONE)
            loop_timer_start(a->timer, DRAIN_MS, 0);
        break;
    case RUNNER_ASK_OVER:
        enter_over(a, ev);
        break;
    case RUNNER_ASK_STATES:
        break;
    }
    if (a->has_head || a->state == RUNNER_ASK_OVER)
        tell(a);
}

/* ---- what the runner says ---- */

static void on_header(void *ctx, struct slice name, struct slice value)
{
    struct runner_ask *a = ctx;
    answer_add(a->has_head ? &a->later : &a->first, name, value);
}

/* Something else than the rest of the stream. */
static void refused(struct runner_ask *a, int status)
{
    bool forgot = status == 404 || status == 410;
    if (forgot)
        err_set(&a->why, ERR_EXPIRED, "the events of execution %s are not kept any more",
                a->execution_id);
    else
        err_set(&a->why, ERR_UNAVAILABLE, "its runner answered %d", status);
    a->call = httpc_cancel(a->call);
    step(a, forgot || a->state == RUNNER_ASK_ENDING ? RUNNER_ASK_EV_FAILED : RUNNER_ASK_EV_BROKE);
}

static void on_headers(void *ctx, int status)
{
    struct runner_ask *a = ctx;
    struct answer *an = a->has_head ? &a->later : &a->first;
    an->status = status;
    a->reached = true;
    enum stream_format format = format_of(a, an);
    if (a->has_head) {
        if (format == a->tail.format)
            step(a, RUNNER_ASK_EV_STREAM);
        else
            refused(a, status);
        return;
    }
    if (status == 401) {
        err_set(&a->why, ERR_INTERNAL, "the runner does not accept this controller's key");
        a->call = httpc_cancel(a->call);
        step(a, RUNNER_ASK_EV_FAILED);
        return;
    }
    a->tail.format = format;
    step(a, format == STREAM_RAW ? RUNNER_ASK_EV_ANSWER : RUNNER_ASK_EV_STREAM);
    if (format == STREAM_RAW && an->length > (int64_t)HOLD_MAX)
        step(a, RUNNER_ASK_EV_LONG);
}

static bool on_data(void *ctx, const char *p, size_t len)
{
    struct runner_ask *a = ctx;
    uint64_t seq = a->tail.last_seq;
    if (!stream_tail_push(&a->tail, p, len)) {
        a->recv_paused = true;
        return false;
    }
    if (a->tail.format != STREAM_RAW) {
        a->heard_ms = loop_now_ms(a->loop);
        if (a->tail.last_seq != seq)
            a->broke_ms = 0;
    } else if (!a->has_head && a->tail.buf.len > HOLD_MAX) {
        step(a, RUNNER_ASK_EV_LONG);
    }
    if (a->has_head && a->tail.ready > 0)
        tell(a);
    return true;
}

static void on_done(void *ctx, const struct err *err)
{
    struct runner_ask *a = ctx;
    a->call = NULL;
    if (!err || (a->has_head && a->tail.done)) {
        step(a, RUNNER_ASK_EV_END);
        return;
    }
    a->why = *err;
    bool final = a->state == RUNNER_ASK_PASSING || a->state == RUNNER_ASK_ENDING ||
                 err->code == ERR_TIMEOUT || err->code == ERR_INVALID;
    step(a, final ? RUNNER_ASK_EV_FAILED : RUNNER_ASK_EV_BROKE);
}

static ssize_t on_send(void *ctx, char *out, size_t max)
{
    struct runner_ask *a = ctx;
    ssize_t n = a->send(a->ctx, out, max);
    a->sent_some = a->sent_some || n > 0;
    return n;
}

/* ---- sending ---- */

static const char *given_header(const struct runner_ask *a, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 1; a->headers[i]; i++)
        if (strncasecmp(a->headers[i], name, n) == 0 && a->headers[i][n] == ':')
            return a->headers[i];
    return NULL;
}

static int send_now(struct runner_ask *a, struct err *err)
{
    static const struct httpc_callbacks callbacks = {.on_headers = on_headers,
                                                     .on_header = on_header,
                                                     .on_data = on_data,
                                                     .on_send = on_send,
                                                     .on_done = on_done};
    _cleanup_(freep) char *url = NULL;
    const char *accept =
        a->tail.format == STREAM_SSE ? "Accept: text/event-stream" : "Accept: application/x-ndjson";
    const char *attach[] = {a->auth, accept, given_header(a, "X-Request-Id"), NULL};
    struct httpc_request to = {.unix_path = a->unix_path,
                               .method = a->has_head ? "GET" : a->method,
                               .headers = a->has_head ? attach : a->headers,
                               .repeatable = a->again != RUNNER_ASK_ONCE};
    int64_t head_ms = a->has_head ? ATTACH_MS : a->deadline_ms;
    if (a->has_head) {
        url = mem_printf("%s/executions/%s/events?after=%llu", a->base, a->execution_id,
                         (unsigned long long)a->tail.last_seq);
    } else {
        url = mem_printf("%s%s", a->base, a->target);
        to.send_streams = a->send != NULL;
        to.send_length = a->send_length;
        to.body = a->body;
        to.body_len = a->body_len;
    }
    to.url = url;
    a->times++;
    a->sent_ms = loop_now_ms(a->loop);
    answer_done(&a->later);
    answer_init(&a->later);
    if (head_ms)
        loop_timer_start(a->timer, head_ms, 0);
    else
        loop_timer_stop(a->timer);
    return httpc_start(&a->call, a->http, &to, &callbacks, a, err);
}

static bool may_ask_again(const struct runner_ask *a)
{
    if (a->has_head)
        return id_is_exec(a->execution_id) && loop_now_ms(a->loop) - a->broke_ms < a->patience_ms;
    if (a->send && a->sent_some)
        return false;
    if (a->again == RUNNER_ASK_ATTACH && a->reached)
        return loop_now_ms(a->loop) - a->broke_ms < a->patience_ms;
    return a->times < 2 && (a->again != RUNNER_ASK_ONCE || a->why.code == ERR_UNAVAILABLE);
}

static void wait_is_over(struct runner_ask *a)
{
    if (!may_ask_again(a)) {
        step(a, RUNNER_ASK_EV_FAILED);
        return;
    }
    step(a, RUNNER_ASK_EV_AGAIN);
    if (send_now(a, &a->why) < 0)
        step(a, RUNNER_ASK_EV_BROKE);
}

static void no_head_in_time(struct runner_ask *a)
{
    a->call = httpc_cancel(a->call);
    if (a->has_head) {
        err_set(&a->why, ERR_SANDBOX_LOST, "it did not answer within %d s", ATTACH_MS / 1000);
        step(a, RUNNER_ASK_EV_BROKE);
        return;
    }
    err_set(&a->why, ERR_TIMEOUT, "the sandbox did not answer within %lld s",
            (long long)a->deadline_ms / 1000);
    step(a, RUNNER_ASK_EV_FAILED);
}

static void on_silence(struct runner_ask *a)
{
    int64_t left = SILENCE_MS - (loop_now_ms(a->loop) - a->heard_ms);
    if (a->recv_paused || left > 0) {
        loop_timer_start(a->timer, a->recv_paused ? SILENCE_MS : left, 0);
        return;
    }
    err_set(&a->why, ERR_SANDBOX_LOST, "it was silent for %d s", SILENCE_MS / 1000);
    step(a, RUNNER_ASK_EV_BROKE);
}

static void on_timer(void *ctx)
{
    struct runner_ask *a = ctx;
    switch (a->state) {
    case RUNNER_ASK_STARTING:
    case RUNNER_ASK_ATTACHING:
        no_head_in_time(a);
        break;
    case RUNNER_ASK_STREAMING:
        on_silence(a);
        break;
    case RUNNER_ASK_BROKEN:
        wait_is_over(a);
        break;
    case RUNNER_ASK_ENDING:
        if (a->recv_paused)
            loop_timer_start(a->timer, DRAIN_MS, 0);
        else
            step(a, RUNNER_ASK_EV_FAILED);
        break;
    case RUNNER_ASK_HOLDING:
    case RUNNER_ASK_PASSING:
    case RUNNER_ASK_OVER:
    case RUNNER_ASK_STATES:
        break;
    }
}

static void on_sandbox_gone(void *ctx, const struct err *err)
{
    struct runner_ask *a = ctx;
    a->gone = *err;
    step(a, RUNNER_ASK_EV_GONE);
}

/* ---- the reader ---- */

static void on_tell(void *ctx)
{
    struct runner_ask *a = ctx;
    bool freed = false;
    a->freed = &freed;
    if (a->has_head && !a->told_head) {
        a->told_head = true;
        a->consumer->on_head(a->ctx);
    }
    if (!freed && a->told_head)
        a->consumer->on_ready(a->ctx);
    if (!freed && a->state == RUNNER_ASK_OVER && !a->told_over) {
        a->told_over = true;
        a->consumer->on_over(a->ctx, a->end, a->end == RUNNER_ASK_ENDED ? NULL : &a->why);
    }
    if (!freed)
        a->freed = NULL;
}

void runner_ask_send_more(struct runner_ask *a)
{
    if (a->call && a->send)
        httpc_resume_send(a->call);
}

/* ---- life ---- */

static void copy_headers(struct runner_ask *a, const char *const *given, const char *token)
{
    size_t n = 0;
    while (given && given[n])
        n++;
    a->auth = mem_printf("Authorization: Bearer %s", token);
    a->headers = MEM_NEW_N(const char *, n + 2);
    a->headers[0] = a->auth;
    for (size_t i = 0; i < n; i++)
        a->headers[i + 1] = mem_dup_str(given[i]);
}

static void free_headers(struct runner_ask *a)
{
    mem_free_secret(a->auth);
    for (size_t i = 1; a->headers[i]; i++)
        free((char *)(uintptr_t)a->headers[i]);
    free(a->headers);
}

int runner_ask_start(struct runner_ask **ret, const struct runner_ask_cfg *cfg,
                     const struct runner_ask_consumer *consumer, void *ctx, struct err *err)
{
    const struct sandbox *sb = cfg->sandbox;
    bool is_unix = sb->endpoint.unix_path[0] != '\0';
    struct runner_ask *a = MEM_NEW(struct runner_ask);
    a->loop = cfg->loop;
    a->http = cfg->http;
    a->consumer = consumer;
    a->ctx = ctx;
    a->method = mem_dup_str(cfg->method);
    /* The sandbox's id as host name: libcurl looks for an idle connection by host name first. */
    a->base = mem_printf("http://%s", is_unix ? sb->id : sb->endpoint.host_port);
    a->unix_path = is_unix ? mem_dup_str(sb->endpoint.unix_path) : NULL;
    a->target = mem_dup_str(cfg->target);
    copy_headers(a, cfg->headers, sb->token);
    a->body = cfg->body;
    a->body_len = cfg->body_len;
    a->send = cfg->send;
    a->send_length = cfg->send_length;
    a->again = cfg->again;
    snprintf(a->execution_id, sizeof(a->execution_id), "%s",
             cfg->execution_id ? cfg->execution_id : "");
    a->deadline_ms = cfg->deadline_ms;
    a->patience_ms = cfg->patience_ms ? cfg->patience_ms : PATIENCE_MS;
    answer_init(&a->first);
    answer_init(&a->later);
    stream_tail_init(&a->tail, STREAM_RAW, cfg->after);
    a->timer = loop_timer_new(a->loop, on_timer, a);
    int r = send_now(a, err);
    if (r < 0) {
        runner_ask_free(a);
        return r;
    }
    sandbox_watch_start(&a->watch, cfg->sandbox, on_sandbox_gone, a);
    *ret = a;
    return 0;
}

struct runner_ask *runner_ask_free(struct runner_ask *a)
{
    if (!a)
        return NULL;
    if (a->freed)
        *a->freed = true;
    httpc_cancel(a->call);
    sandbox_watch_stop(&a->watch);
    loop_timer_free(a->timer);
    loop_post_cancel(&a->tell);
    free_headers(a);
    free(a->method);
    free(a->base);
    free(a->target);
    free(a->unix_path);
    answer_done(&a->first);
    answer_done(&a->later);
    stream_tail_done(&a->tail);
    free(a);
    return NULL;
}
