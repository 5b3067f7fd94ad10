#pragma once
#include "lib/base/macros.h"

#include <stdbool.h>

/*
 * One execution's way through the kernel (API: queued, running, done).
 *
 *   QUEUED ─SEND─► SENT ─BUSY─► STARTED ─SEEN─► RUNNING ◄─ASK/ANSWER─► AWAITING_INPUT
 *   QUEUED ─SEND_BEHIND─► BEHIND ─CLEAR─► SENT          BEHIND ─CANCEL─► WITHDRAWN
 *   SENT, STARTED  ─INTERRUPT─► INTERRUPT_HELD ─SEEN─► INTERRUPTED   (an interrupt that comes
 * before SENT, STARTED  ─CANCEL─► END_HELD ─SEEN─► ENDING                  the code is seen waits
 * for it) RUNNING, AWAITING_INPUT ─INTERRUPT─► INTERRUPTED, ─CANCEL, LATE─► ENDING ─LATE─► KILLING
 *   BEHIND, SENT, STARTED, RUNNING ─AGAIN─► SENT, ─AGAIN_BEHIND─► BEHIND   (aborted unrun)
 *   any at the kernel ─RESTART─► KILLING        any but DONE ─FINISH─► DONE
 *
 * What is the kernel's word (BUSY, SEEN) may come in any state at the kernel and at any time: user
 * code can forge it.
 */
enum exec_state {
    EXEC_QUEUED,         /* waits for its turn */
    EXEC_BEHIND,         /* sent; what came later is ahead of it in the kernel's shell */
    EXEC_SENT,           /* sent, nothing is ahead; the kernel has not said busy for it */
    EXEC_STARTED,        /* its clock runs; its code is not yet seen to run */
    EXEC_RUNNING,        /* its code runs: execute_input came (a silent one's busy) */
    EXEC_AWAITING_INPUT, /* the code called input() */
    EXEC_INTERRUPT_HELD, /* to be interrupted as soon as it is seen; its deadline stands */
    EXEC_INTERRUPTED,    /* interrupted by order; its deadline stands */
    EXEC_END_HELD, /* the same for a cancel or the deadline: in the end the kernel is killed */
    EXEC_ENDING,
    EXEC_KILLING,   /* its kernel's process was killed, or told to end */
    EXEC_WITHDRAWN, /* its verdict is given; the kernel was told to pass it over, and has it yet */
    EXEC_DONE,
    EXEC_STATE_MAX
};

enum exec_event {
    EXEC_EV_SEND,
    EXEC_EV_SEND_BEHIND,
    EXEC_EV_CLEAR, /* what was ahead of it is over */
    EXEC_EV_BUSY,  /* the kernel speaks for it */
    EXEC_EV_SEEN,  /* its code is seen to run */
    EXEC_EV_ASK,
    EXEC_EV_ANSWER,
    EXEC_EV_INTERRUPT, /* /interrupt: never kills */
    EXEC_EV_CANCEL,    /* /cancel: kills in the end */
    EXEC_EV_LATE,      /* its clock ran out */
    EXEC_EV_RESTART,   /* its kernel's process is to end */
    EXEC_EV_AGAIN,     /* another's failure aborted it before it ran, and it was sent again */
    EXEC_EV_AGAIN_BEHIND,
    EXEC_EV_FINISH,
    EXEC_EV_MAX
};

/* What becomes of the clock (exec_clock.h), and what the kernel is sent, on an edge. */
enum exec_clock_set {
    EXEC_CLOCK_KEEP,
    EXEC_CLOCK_STOP,
    EXEC_CLOCK_GRACE,    /* EXEC_START_GRACE_MS */
    EXEC_CLOCK_DEADLINE, /* its time begins */
    EXEC_CLOCK_KILL      /* EXEC_KILL_GRACE_MS */
};
enum exec_act { EXEC_ACT_NONE, EXEC_ACT_INTERRUPT, EXEC_ACT_KILL, EXEC_ACT_WITHDRAW };

struct exec_edge {
    enum exec_state from;
    enum exec_event ev;
    enum exec_state to;
    enum exec_clock_set clock;
    enum exec_act act;
};

/* NULL: `ev` is not allowed in `from`. */
const struct exec_edge *exec_state_edge(enum exec_state from, enum exec_event ev);
/* The state after `ev`, or -1 when it is not allowed. */
int exec_state_next(enum exec_state from, enum exec_event ev);
const char *exec_state_name(enum exec_state s);   /* "queued", "running", "done" */
const char *exec_state_detail(enum exec_state s); /* for the log */
const char *exec_event_name(enum exec_event ev);

/* What the kernel owes for a request: reply and idle, which come by two sockets in either order. */
enum exec_rest { EXEC_REST_NONE, EXEC_REST_REPLIED, EXEC_REST_IDLE, EXEC_AT_REST };
enum exec_rest exec_rest_replied(enum exec_rest r);
enum exec_rest exec_rest_idle(enum exec_rest r);
static inline bool exec_rest_has_reply(enum exec_rest r)
{
    return r == EXEC_REST_REPLIED || r == EXEC_AT_REST;
}
static inline bool exec_rest_has_idle(enum exec_rest r)
{
    return r == EXEC_REST_IDLE || r == EXEC_AT_REST;
}
