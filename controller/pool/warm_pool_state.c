/* The machine of one asker as a table. What its changes do stands in warm_pool.c. */
#include "controller/pool/warm_pool_state.h"

#include <stddef.h>

#include "lib/base/macros.h"

struct create_edge {
    enum create_state from;
    enum create_event event;
    enum create_state to;
};

static const struct create_edge edges[] = {
    {CREATE_WAITING, CREATE_EV_CLAIM, CREATE_CLAIMING},
    {CREATE_WAITING, CREATE_EV_DESCRIBE, CREATE_DESCRIBING},
    {CREATE_WAITING, CREATE_EV_JOIN, CREATE_JOINED},
    {CREATE_WAITING, CREATE_EV_END, CREATE_OVER},
    {CREATE_CLAIMING, CREATE_EV_RETRY, CREATE_WAITING},
    {CREATE_CLAIMING, CREATE_EV_END, CREATE_OVER},
    {CREATE_DESCRIBING, CREATE_EV_KEY_FREE, CREATE_WAITING},
    {CREATE_DESCRIBING, CREATE_EV_END, CREATE_OVER},
    {CREATE_JOINED, CREATE_EV_END, CREATE_OVER},
};

bool create_next_state(enum create_state from, enum create_event ev, enum create_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        if (edges[i].from == from && edges[i].event == ev) {
            *ret = edges[i].to;
            return true;
        }
    }
    return false;
}

const char *create_state_name(enum create_state s)
{
    static const char *const names[CREATE_STATES] = {
        [CREATE_WAITING] = "waiting",
        [CREATE_CLAIMING] = "claiming",
        [CREATE_DESCRIBING] = "describing",
        [CREATE_JOINED] = "joined",
        [CREATE_OVER] = "over",
    };
    return names[s];
}

const char *create_event_name(enum create_event e)
{
    static const char *const names[CREATE_EVENTS] = {
        [CREATE_EV_CLAIM] = "claim",       [CREATE_EV_RETRY] = "retry",
        [CREATE_EV_DESCRIBE] = "describe", [CREATE_EV_KEY_FREE] = "key_free",
        [CREATE_EV_JOIN] = "join",         [CREATE_EV_END] = "end",
    };
    return names[e];
}
