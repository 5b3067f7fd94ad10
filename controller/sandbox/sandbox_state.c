/* The machine of one sandbox as a table. What entering a state does stands in sandbox_table.c. */
#include "controller/sandbox/sandbox.h"
#include "lib/base/macros.h"

struct sandbox_edge {
    enum sandbox_state from;
    enum sandbox_event event;
    enum sandbox_state to;
};

static const struct sandbox_edge edges[] = {
    {SANDBOX_ASKING, SANDBOX_EV_ADOPTED, SANDBOX_READY},
    {SANDBOX_ASKING, SANDBOX_EV_NOBODYS, SANDBOX_CREATING},
    {SANDBOX_ASKING, SANDBOX_EV_REMOVE, SANDBOX_TERMINATING},
    {SANDBOX_ASKING, SANDBOX_EV_LOST, SANDBOX_GONE},
    {SANDBOX_CREATING, SANDBOX_EV_STARTED, SANDBOX_WARM},
    {SANDBOX_CREATING, SANDBOX_EV_FAILED, SANDBOX_FAILED},
    {SANDBOX_CREATING, SANDBOX_EV_REMOVE, SANDBOX_TERMINATING},
    {SANDBOX_CREATING, SANDBOX_EV_LOST, SANDBOX_GONE},
    {SANDBOX_WARM, SANDBOX_EV_CLAIM, SANDBOX_CLAIMING},
    {SANDBOX_WARM, SANDBOX_EV_REMOVE, SANDBOX_TERMINATING},
    {SANDBOX_WARM, SANDBOX_EV_LOST, SANDBOX_GONE},
    {SANDBOX_CLAIMING, SANDBOX_EV_CLAIMED, SANDBOX_READY},
    {SANDBOX_CLAIMING, SANDBOX_EV_REFUSED, SANDBOX_WARM},
    {SANDBOX_CLAIMING, SANDBOX_EV_TAKEN, SANDBOX_ASKING},
    {SANDBOX_CLAIMING, SANDBOX_EV_FAILED, SANDBOX_FAILED},
    {SANDBOX_CLAIMING, SANDBOX_EV_REMOVE, SANDBOX_TERMINATING},
    {SANDBOX_CLAIMING, SANDBOX_EV_LOST, SANDBOX_GONE},
    {SANDBOX_READY, SANDBOX_EV_REMOVE, SANDBOX_TERMINATING},
    {SANDBOX_READY, SANDBOX_EV_LOST, SANDBOX_GONE},
    {SANDBOX_TERMINATING, SANDBOX_EV_REMOVED, SANDBOX_GONE},
    {SANDBOX_TERMINATING, SANDBOX_EV_LOST, SANDBOX_GONE},
    {SANDBOX_FAILED, SANDBOX_EV_REMOVED, SANDBOX_GONE},
    {SANDBOX_FAILED, SANDBOX_EV_LOST, SANDBOX_GONE},
};

bool sandbox_next_state(enum sandbox_state from, enum sandbox_event ev, enum sandbox_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        if (edges[i].from == from && edges[i].event == ev) {
            *ret = edges[i].to;
            return true;
        }
    }
    return false;
}

const char *sandbox_state_name(enum sandbox_state s)
{
    static const char *const names[SANDBOX_STATES] = {
        [SANDBOX_ASKING] = "asking", [SANDBOX_CREATING] = "creating",
        [SANDBOX_WARM] = "warm",     [SANDBOX_CLAIMING] = "claiming",
        [SANDBOX_READY] = "ready",   [SANDBOX_TERMINATING] = "terminating",
        [SANDBOX_FAILED] = "failed", [SANDBOX_GONE] = "gone",
    };
    return names[s];
}

const char *sandbox_event_name(enum sandbox_event e)
{
    static const char *const names[SANDBOX_EVENTS] = {
        [SANDBOX_EV_STARTED] = "started", [SANDBOX_EV_ADOPTED] = "adopted",
        [SANDBOX_EV_NOBODYS] = "nobodys", [SANDBOX_EV_CLAIM] = "claim",
        [SANDBOX_EV_CLAIMED] = "claimed", [SANDBOX_EV_REFUSED] = "refused",
        [SANDBOX_EV_TAKEN] = "taken",     [SANDBOX_EV_FAILED] = "failed",
        [SANDBOX_EV_REMOVE] = "remove",   [SANDBOX_EV_REMOVED] = "removed",
        [SANDBOX_EV_LOST] = "lost",
    };
    return names[e];
}

const char *sandbox_status_name(enum sandbox_state s)
{
    static const char *const names[SANDBOX_STATES] = {
        [SANDBOX_ASKING] = "creating", [SANDBOX_CREATING] = "creating",
        [SANDBOX_WARM] = "creating",   [SANDBOX_CLAIMING] = "creating",
        [SANDBOX_READY] = "ready",     [SANDBOX_TERMINATING] = "terminating",
        [SANDBOX_FAILED] = "failed",   [SANDBOX_GONE] = "failed",
    };
    return names[s];
}
