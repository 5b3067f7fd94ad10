/*
 * Why: who sends a body and who takes it have paces of their own, and an answer may come before the
 * body's end. What is to be done with the next bytes depends on the state alone; every change of it
 * is here.
 */
#include "controller/relay/relay_body.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/base/macros.h"
#include "lib/http/http.h"
#include "lib/httpc/httpc.h"

#define BUFFER_MAX KIB(256)
#define BUFFER_LOW KIB(64)

static const struct {
    enum relay_body_state from;
    enum relay_body_event event;
    enum relay_body_state to;
} edges[] = {
    {RELAY_BODY_KEEPING, RELAY_BODY_EV_LONG, RELAY_BODY_FLOWING},
    {RELAY_BODY_KEEPING, RELAY_BODY_EV_END, RELAY_BODY_WHOLE},
    {RELAY_BODY_KEEPING, RELAY_BODY_EV_ANSWERED, RELAY_BODY_DISCARDING},
    {RELAY_BODY_KEEPING, RELAY_BODY_EV_LEFT, RELAY_BODY_CUT},
    {RELAY_BODY_FLOWING, RELAY_BODY_EV_FILLED, RELAY_BODY_STOPPED},
    {RELAY_BODY_FLOWING, RELAY_BODY_EV_END, RELAY_BODY_WHOLE},
    {RELAY_BODY_FLOWING, RELAY_BODY_EV_ANSWERED, RELAY_BODY_DISCARDING},
    {RELAY_BODY_FLOWING, RELAY_BODY_EV_LEFT, RELAY_BODY_CUT},
    {RELAY_BODY_STOPPED, RELAY_BODY_EV_DRAINED, RELAY_BODY_FLOWING},
    {RELAY_BODY_STOPPED, RELAY_BODY_EV_ANSWERED, RELAY_BODY_DISCARDING},
    {RELAY_BODY_STOPPED, RELAY_BODY_EV_LEFT, RELAY_BODY_CUT},
    {RELAY_BODY_WHOLE, RELAY_BODY_EV_ANSWERED, RELAY_BODY_WHOLE},
    {RELAY_BODY_DISCARDING, RELAY_BODY_EV_END, RELAY_BODY_DISCARDED},
    {RELAY_BODY_DISCARDING, RELAY_BODY_EV_ANSWERED, RELAY_BODY_DISCARDING},
    {RELAY_BODY_DISCARDING, RELAY_BODY_EV_LEFT, RELAY_BODY_CUT},
    {RELAY_BODY_DISCARDED, RELAY_BODY_EV_ANSWERED, RELAY_BODY_DISCARDED},
    {RELAY_BODY_CUT, RELAY_BODY_EV_ANSWERED, RELAY_BODY_CUT},
};

bool relay_body_next_state(enum relay_body_state from, enum relay_body_event ev,
                           enum relay_body_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        if (edges[i].from == from && edges[i].event == ev) {
            *ret = edges[i].to;
            return true;
        }
    }
    return false;
}

const char *relay_body_state_name(enum relay_body_state s)
{
    static const char *const names[RELAY_BODY_STATES] = {
        [RELAY_BODY_KEEPING] = "keeping",
        [RELAY_BODY_FLOWING] = "flowing",
        [RELAY_BODY_STOPPED] = "stopped",
        [RELAY_BODY_WHOLE] = "whole",
        [RELAY_BODY_DISCARDING] = "discarding",
        [RELAY_BODY_DISCARDED] = "discarded",
        [RELAY_BODY_CUT] = "cut",
    };
    return names[s];
}

const char *relay_body_event_name(enum relay_body_event e)
{
    static const char *const names[RELAY_BODY_EVENTS] = {
        [RELAY_BODY_EV_LONG] = "long",         [RELAY_BODY_EV_FILLED] = "filled",
        [RELAY_BODY_EV_DRAINED] = "drained",   [RELAY_BODY_EV_END] = "end",
        [RELAY_BODY_EV_ANSWERED] = "answered", [RELAY_BODY_EV_LEFT] = "left",
    };
    return names[e];
}

/* The one place where the state changes. What calls back does so last. */
static void step(struct relay_body *b, enum relay_body_event ev)
{
    enum relay_body_state from = b->state;
    if (!relay_body_next_state(from, ev, &b->state)) {
        log_event(LOG_WARN, "relay_body_unexpected", "state", relay_body_state_name(from), "event",
                  relay_body_event_name(ev), NULL);
        return;
    }
    switch (b->state) {
    case RELAY_BODY_FLOWING:
        b->flows = true;
        if (from == RELAY_BODY_STOPPED)
            http_body_resume(b->req);
        else
            b->consumer->on_known(b->ctx);
        break;
    case RELAY_BODY_WHOLE:
        if (ev == RELAY_BODY_EV_ANSWERED)
            break;
        if (b->flows)
            b->consumer->on_more(b->ctx);
        else
            b->consumer->on_known(b->ctx);
        break;
    case RELAY_BODY_DISCARDING:
        buf_clear(&b->bytes);
        if (from == RELAY_BODY_STOPPED)
            http_body_resume(b->req);
        break;
    case RELAY_BODY_DISCARDED:
        if (ev == RELAY_BODY_EV_END)
            b->consumer->on_over(b->ctx);
        break;
    case RELAY_BODY_CUT:
        if (ev == RELAY_BODY_EV_LEFT)
            b->consumer->on_left(b->ctx);
        break;
    case RELAY_BODY_KEEPING:
    case RELAY_BODY_STOPPED:
    case RELAY_BODY_STATES:
        break;
    }
}

static size_t on_data(void *ctx, const char *p, size_t len)
{
    struct relay_body *b = ctx;
    if (b->state == RELAY_BODY_DISCARDING)
        return len;
    size_t n = MIN(len, BUFFER_MAX - b->bytes.len);
    buf_append(&b->bytes, p, n);
    if (b->state == RELAY_BODY_KEEPING && b->bytes.len > RELAY_BODY_KEPT)
        step(b, RELAY_BODY_EV_LONG);
    else if (b->state == RELAY_BODY_FLOWING)
        b->consumer->on_more(b->ctx);
    if (n < len && b->state == RELAY_BODY_FLOWING)
        step(b, RELAY_BODY_EV_FILLED);
    return b->state == RELAY_BODY_DISCARDING ? len : n;
}

static void on_end(void *ctx, bool ok)
{
    step(ctx, ok ? RELAY_BODY_EV_END : RELAY_BODY_EV_LEFT);
}

ssize_t relay_body_send(struct relay_body *b, char *out, size_t max)
{
    size_t n = MIN(max, b->bytes.len);
    if (n == 0)
        return b->state == RELAY_BODY_WHOLE || b->state == RELAY_BODY_DISCARDED ? HTTPC_SEND_END
                                                                                : 0;
    memcpy(out, b->bytes.ptr, n);
    buf_consume(&b->bytes, n);
    if (b->state == RELAY_BODY_STOPPED && b->bytes.len <= BUFFER_LOW)
        step(b, RELAY_BODY_EV_DRAINED);
    return (ssize_t)n;
}

void relay_body_answered(struct relay_body *b)
{
    step(b, RELAY_BODY_EV_ANSWERED);
}

bool relay_body_is_over(const struct relay_body *b)
{
    return b->state == RELAY_BODY_WHOLE || b->state == RELAY_BODY_DISCARDED;
}

void relay_body_start(struct relay_body *b, struct http_request *req, bool may_have_one,
                      const struct relay_body_consumer *consumer, void *ctx)
{
    *b = (struct relay_body){.req = req, .consumer = consumer, .ctx = ctx};
    buf_init(&b->bytes, BUFFER_MAX);
    if (may_have_one)
        http_body_read(req, on_data, on_end, b);
    else
        step(b, RELAY_BODY_EV_END);
}

void relay_body_done(struct relay_body *b)
{
    buf_done(&b->bytes);
}
