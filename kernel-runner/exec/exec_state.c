/* The execution's state machine as a table. */
#include "kernel-runner/exec/exec_state.h"

#include "lib/base/macros.h"

static const struct {
    enum exec_state from;
    enum exec_event ev;
    enum exec_state to;
} edges[] = {
    {EXEC_QUEUED, EXEC_EV_SEND, EXEC_SENT},
    {EXEC_QUEUED, EXEC_EV_FINISH, EXEC_DONE},
    {EXEC_SENT, EXEC_EV_START, EXEC_RUNNING},
    {EXEC_SENT, EXEC_EV_STOP, EXEC_STOPPING},
    {EXEC_SENT, EXEC_EV_FINISH, EXEC_DONE},
    {EXEC_RUNNING, EXEC_EV_ASK, EXEC_AWAITING_INPUT},
    {EXEC_RUNNING, EXEC_EV_STOP, EXEC_STOPPING},
    {EXEC_RUNNING, EXEC_EV_FINISH, EXEC_DONE},
    {EXEC_AWAITING_INPUT, EXEC_EV_ASK, EXEC_AWAITING_INPUT},
    {EXEC_AWAITING_INPUT, EXEC_EV_ANSWER, EXEC_RUNNING},
    {EXEC_AWAITING_INPUT, EXEC_EV_STOP, EXEC_STOPPING},
    {EXEC_AWAITING_INPUT, EXEC_EV_FINISH, EXEC_DONE},
    {EXEC_STOPPING, EXEC_EV_STOP, EXEC_STOPPING},
    {EXEC_STOPPING, EXEC_EV_FINISH, EXEC_DONE},
};

int exec_state_next(enum exec_state from, enum exec_event ev)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++)
        if (edges[i].from == from && edges[i].ev == ev)
            return (int)edges[i].to;
    return -1;
}

const char *exec_state_name(enum exec_state s)
{
    static const char *const names[EXEC_STATE_MAX] = {
        [EXEC_QUEUED] = "queued",          [EXEC_SENT] = "running",     [EXEC_RUNNING] = "running",
        [EXEC_AWAITING_INPUT] = "running", [EXEC_STOPPING] = "running", [EXEC_DONE] = "done",
    };
    return names[s];
}
