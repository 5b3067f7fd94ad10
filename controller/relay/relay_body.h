#pragma once
#include "lib/base/buf.h"

#include <stdbool.h>
#include <sys/types.h>
struct http_request;

/*
 * The body of a client's request on its way to a runner. Up to RELAY_BODY_KEPT bytes it is read
 * whole first, so that it can be sent again; a longer one flows through a bounded buffer.
 *
 *   KEEPING ─long→ FLOWING ⇄ STOPPED (filled, drained)
 *   KEEPING, FLOWING ─end→ WHOLE
 *   KEEPING, FLOWING, STOPPED ─answered→ DISCARDING ─end→ DISCARDED
 *   WHOLE, DISCARDING, DISCARDED ─answered→ the same
 *   any that is not over ─left→ CUT
 */
enum relay_body_state {
    RELAY_BODY_KEEPING,    /* kept as it comes; the runner knows nothing of it yet */
    RELAY_BODY_FLOWING,    /* goes on as it comes */
    RELAY_BODY_STOPPED,    /* … and its client waits until the runner has taken some */
    RELAY_BODY_WHOLE,      /* came to its end, or there is none */
    RELAY_BODY_DISCARDING, /* the answer is known early: the rest is read and thrown away */
    RELAY_BODY_DISCARDED,  /* … to its end */
    RELAY_BODY_CUT,        /* its client left in the middle */
    RELAY_BODY_STATES
};
enum relay_body_event {
    RELAY_BODY_EV_LONG,     /* more than is kept */
    RELAY_BODY_EV_FILLED,   /* the buffer is full */
    RELAY_BODY_EV_DRAINED,  /* … and has room again */
    RELAY_BODY_EV_END,      /* its end came */
    RELAY_BODY_EV_ANSWERED, /* the runner's answer is known, or there will be none */
    RELAY_BODY_EV_LEFT,     /* the client left */
    RELAY_BODY_EVENTS
};
const char *relay_body_state_name(enum relay_body_state s);
const char *relay_body_event_name(enum relay_body_event e);
bool relay_body_next_state(enum relay_body_state from, enum relay_body_event ev,
                           enum relay_body_state *ret);

#define RELAY_BODY_KEPT KIB(64)

struct relay_body_consumer {
    void (*on_known)(void *ctx); /* once: it is whole, or flows: it can be sent on */
    void (*on_more)(void *ctx);  /* of one that flows: bytes came, or its end */
    void (*on_over)(void *ctx);  /* the rest of a discarded one was read */
    void (*on_left)(void *ctx);
};

struct relay_body {
    enum relay_body_state state;
    struct http_request *req;
    struct buf bytes;
    bool flows; /* it was long */
    const struct relay_body_consumer *consumer;
    void *ctx;
};

/* Reads req's body when there may be one. on_known may come before this returns. */
void relay_body_start(struct relay_body *b, struct http_request *req, bool may_have_one,
                      const struct relay_body_consumer *consumer, void *ctx);
void relay_body_done(struct relay_body *b);
/* As httpc's on_send, of one that flows. */
ssize_t relay_body_send(struct relay_body *b, char *out, size_t max);
void relay_body_answered(struct relay_body *b);
/* The client has sent all of it: it can be answered. */
bool relay_body_is_over(const struct relay_body *b);
