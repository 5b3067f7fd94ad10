/* The machine of one operation as a table. What its states do stands in sandbox_ops.c. */
#include "controller/sandbox/sandbox_op.h"

#include <stddef.h>

#include "lib/base/macros.h"

static const struct {
    enum sandbox_op_state from;
    enum sandbox_op_event event;
    enum sandbox_op_state to;
} edges[] = {
    {SANDBOX_OP_MAKING, SANDBOX_OP_EV_MADE, SANDBOX_OP_WAITING},
    {SANDBOX_OP_MAKING, SANDBOX_OP_EV_FAILED, SANDBOX_OP_OVER},
    {SANDBOX_OP_MAKING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
    {SANDBOX_OP_WAITING, SANDBOX_OP_EV_ANSWERED, SANDBOX_OP_OVER},
    {SANDBOX_OP_WAITING, SANDBOX_OP_EV_BROKEN, SANDBOX_OP_LISTENING},
    {SANDBOX_OP_WAITING, SANDBOX_OP_EV_FAILED, SANDBOX_OP_OVER},
    {SANDBOX_OP_WAITING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
    {SANDBOX_OP_LISTENING, SANDBOX_OP_EV_TIME, SANDBOX_OP_OVER},
    {SANDBOX_OP_LISTENING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
    {SANDBOX_OP_CLAIMING, SANDBOX_OP_EV_ANSWERED, SANDBOX_OP_OVER},
    {SANDBOX_OP_CLAIMING, SANDBOX_OP_EV_BROKEN, SANDBOX_OP_REPEATING},
    {SANDBOX_OP_CLAIMING, SANDBOX_OP_EV_FAILED, SANDBOX_OP_OVER},
    {SANDBOX_OP_CLAIMING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
    {SANDBOX_OP_REPEATING, SANDBOX_OP_EV_ANSWERED, SANDBOX_OP_OVER},
    {SANDBOX_OP_REPEATING, SANDBOX_OP_EV_BROKEN, SANDBOX_OP_OVER},
    {SANDBOX_OP_REPEATING, SANDBOX_OP_EV_FAILED, SANDBOX_OP_OVER},
    {SANDBOX_OP_REPEATING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
    {SANDBOX_OP_ASKING, SANDBOX_OP_EV_ANSWERED, SANDBOX_OP_OVER},
    {SANDBOX_OP_ASKING, SANDBOX_OP_EV_BROKEN, SANDBOX_OP_PAUSING},
    {SANDBOX_OP_ASKING, SANDBOX_OP_EV_FAILED, SANDBOX_OP_PAUSING},
    {SANDBOX_OP_ASKING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
    {SANDBOX_OP_PAUSING, SANDBOX_OP_EV_TIME, SANDBOX_OP_ASKING},
    {SANDBOX_OP_PAUSING, SANDBOX_OP_EV_ENDED, SANDBOX_OP_OVER},
};

bool sandbox_op_next(enum sandbox_op_state from, enum sandbox_op_event ev,
                     enum sandbox_op_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        if (edges[i].from == from && edges[i].event == ev) {
            *ret = edges[i].to;
            return true;
        }
    }
    return false;
}

const char *sandbox_op_state_name(enum sandbox_op_state s)
{
    static const char *const names[SANDBOX_OP_STATES] = {
        [SANDBOX_OP_MAKING] = "making",       [SANDBOX_OP_WAITING] = "waiting",
        [SANDBOX_OP_LISTENING] = "listening", [SANDBOX_OP_CLAIMING] = "claiming",
        [SANDBOX_OP_REPEATING] = "repeating", [SANDBOX_OP_ASKING] = "asking",
        [SANDBOX_OP_PAUSING] = "pausing",     [SANDBOX_OP_OVER] = "over",
    };
    return names[s];
}

const char *sandbox_op_event_name(enum sandbox_op_event e)
{
    static const char *const names[SANDBOX_OP_EVENTS] = {
        [SANDBOX_OP_EV_MADE] = "made",     [SANDBOX_OP_EV_ANSWERED] = "answered",
        [SANDBOX_OP_EV_BROKEN] = "broken", [SANDBOX_OP_EV_FAILED] = "failed",
        [SANDBOX_OP_EV_TIME] = "time",     [SANDBOX_OP_EV_ENDED] = "ended",
    };
    return names[e];
}
