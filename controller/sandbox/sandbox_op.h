#pragma once
#include <stdbool.h>

/*
 * What is under way between a sandbox and its runner: at most one at a time. Pure.
 *
 *   start:  MAKING ─made→ WAITING ─answered→ OVER         WAITING ─broken→ LISTENING ─time→ OVER
 *   claim:  CLAIMING ─answered→ OVER                      CLAIMING ─broken→ REPEATING
 *   ask:    ASKING ─answered→ OVER                        ASKING ─broken, failed→ PAUSING ─time→
 * ASKING any but OVER ─ended→ OVER; all but those of ask ─failed→ OVER
 */
enum sandbox_op_state {
    SANDBOX_OP_MAKING,    /* the backend makes it */
    SANDBOX_OP_WAITING,   /* the runner was asked to tell when its kernel is ready */
    SANDBOX_OP_LISTENING, /* that connection broke: the backend may have the reason in a moment */
    SANDBOX_OP_CLAIMING,  /* the runner is told whose it is */
    SANDBOX_OP_REPEATING, /* that connection broke, and the same claim is made once more */
    SANDBOX_OP_ASKING,    /* the runner is asked whose it is */
    SANDBOX_OP_PAUSING,   /* it did not say; it is asked again later */
    SANDBOX_OP_OVER,      /* whoever asked for it is told in a turn of the loop */
    SANDBOX_OP_STATES
};
enum sandbox_op_event {
    SANDBOX_OP_EV_MADE,     /* the runner accepts connections */
    SANDBOX_OP_EV_ANSWERED, /* as was hoped for */
    SANDBOX_OP_EV_BROKEN,   /* no connection, or it broke before an answer */
    SANDBOX_OP_EV_FAILED,   /* another answer, or none in time */
    SANDBOX_OP_EV_TIME,     /* the wait of this state is over */
    SANDBOX_OP_EV_ENDED,    /* the sandbox ends */
    SANDBOX_OP_EVENTS
};
const char *sandbox_op_state_name(enum sandbox_op_state s);
const char *sandbox_op_event_name(enum sandbox_op_event e);
/* True and *ret set when the change is allowed. */
bool sandbox_op_next(enum sandbox_op_state from, enum sandbox_op_event ev,
                     enum sandbox_op_state *ret);
