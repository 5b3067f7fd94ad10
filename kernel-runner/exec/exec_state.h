#pragma once

/*
 * One execution's life (API: queued, running, done).
 *
 *   QUEUED ──SEND──► SENT ──START──► RUNNING ◄──ASK/ANSWER──► AWAITING_INPUT
 *   SENT, RUNNING, AWAITING_INPUT ──STOP──► STOPPING      (timeout, /interrupt, /cancel)
 *   any but DONE ──FINISH──► DONE
 */
enum exec_state {
    EXEC_QUEUED,         /* waits for its turn */
    EXEC_SENT,           /* sent to the kernel, which has not said busy for it */
    EXEC_RUNNING,        /* its clock runs */
    EXEC_AWAITING_INPUT, /* the code called input() */
    EXEC_STOPPING,       /* interrupted; waits for the kernel to come to rest */
    EXEC_DONE,
    EXEC_STATE_MAX
};

enum exec_event {
    EXEC_EV_SEND,
    EXEC_EV_START,
    EXEC_EV_ASK,
    EXEC_EV_ANSWER,
    EXEC_EV_STOP,
    EXEC_EV_FINISH,
    EXEC_EV_MAX
};

/* The state after `ev`, or -1 when it is not allowed. */
int exec_state_next(enum exec_state from, enum exec_event ev);
const char *exec_state_name(enum exec_state s); /* "queued", "running", "done" */
