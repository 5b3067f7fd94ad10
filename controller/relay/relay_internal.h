#pragma once
/* What the files of this folder share. */
#include "controller/relay/relay.h"
#include "lib/base/err.h"

#include <stdbool.h>

struct relay_call;
struct relay_tunnel;

#define RELAY_SCRATCH KIB(64)
#define RELAY_DRAIN_MS                                                                             \
    2000 /* a side of a tunnel that is gone, but whose connection stays silent                     \
          */

struct relay {
    struct loop *loop;
    struct httpc *http;
    int64_t deadline_ms;
    int64_t patience_ms;
    struct relay_call *calls;
    struct relay_tunnel *tunnels;
    struct relay_stats stats;
    char *scratch;   /* RELAY_SCRATCH bytes, for the time of one callback */
    bool no_tunnels; /* draining */
};

/*
 * What a client has got of its answer.
 *
 *   NONE ─head→ KNOWN ─flows→ FLOWING
 *   KNOWN ─whole→ GIVEN        NONE, KNOWN ─problem→ GIVEN
 *   any ─left→ LEFT
 */
enum relay_answer_state {
    RELAY_ANSWER_NONE,    /* the runner's is not known */
    RELAY_ANSWER_KNOWN,   /* it is; the client has not sent all of its own body yet */
    RELAY_ANSWER_FLOWING, /* given as it comes */
    RELAY_ANSWER_GIVEN,   /* all of it, or a problem */
    RELAY_ANSWER_LEFT,    /* nobody is there to get any */
    RELAY_ANSWER_STATES
};
enum relay_answer_event {
    RELAY_ANSWER_EV_HEAD,
    RELAY_ANSWER_EV_FLOWS,
    RELAY_ANSWER_EV_WHOLE,
    RELAY_ANSWER_EV_PROBLEM,
    RELAY_ANSWER_EV_LEFT,
    RELAY_ANSWER_EVENTS
};
const char *relay_answer_state_name(enum relay_answer_state s);
const char *relay_answer_event_name(enum relay_answer_event e);
bool relay_answer_next_state(enum relay_answer_state from, enum relay_answer_event ev,
                             enum relay_answer_state *ret);
