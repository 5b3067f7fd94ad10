/* The kernel's state machine as a table; what happens on a change is kernel.c's business. */
#include "kernel-runner/kernel/kernel_state.h"

#include "lib/base/macros.h"

#include <string.h>

static const struct {
    enum kernel_state from;
    enum kernel_event ev;
    enum kernel_state to;
} edges[] = {
    {KERNEL_STARTING, KERNEL_EV_READY, KERNEL_IDLE},
    {KERNEL_STARTING, KERNEL_EV_STOP, KERNEL_STOPPING},
    {KERNEL_STARTING, KERNEL_EV_EXIT, KERNEL_RESTARTING},
    {KERNEL_STARTING, KERNEL_EV_GIVE_UP, KERNEL_DEAD},
    {KERNEL_IDLE, KERNEL_EV_BUSY, KERNEL_BUSY},
    {KERNEL_IDLE, KERNEL_EV_IDLE, KERNEL_IDLE},
    {KERNEL_IDLE, KERNEL_EV_STOP, KERNEL_STOPPING},
    {KERNEL_IDLE, KERNEL_EV_EXIT, KERNEL_RESTARTING},
    {KERNEL_IDLE, KERNEL_EV_GIVE_UP, KERNEL_DEAD},
    {KERNEL_BUSY, KERNEL_EV_BUSY, KERNEL_BUSY},
    {KERNEL_BUSY, KERNEL_EV_IDLE, KERNEL_IDLE},
    {KERNEL_BUSY, KERNEL_EV_STOP, KERNEL_STOPPING},
    {KERNEL_BUSY, KERNEL_EV_EXIT, KERNEL_RESTARTING},
    {KERNEL_BUSY, KERNEL_EV_GIVE_UP, KERNEL_DEAD},
    {KERNEL_STOPPING, KERNEL_EV_EXIT, KERNEL_RESTARTING},
    {KERNEL_STOPPING, KERNEL_EV_GIVE_UP, KERNEL_DEAD},
    {KERNEL_RESTARTING, KERNEL_EV_READY, KERNEL_IDLE},
    {KERNEL_RESTARTING, KERNEL_EV_STOP, KERNEL_STOPPING},
    {KERNEL_RESTARTING, KERNEL_EV_EXIT, KERNEL_RESTARTING},
    {KERNEL_RESTARTING, KERNEL_EV_GIVE_UP, KERNEL_DEAD},
    {KERNEL_DEAD, KERNEL_EV_REVIVE, KERNEL_RESTARTING},
};

int kernel_state_next(enum kernel_state from, enum kernel_event ev)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++)
        if (edges[i].from == from && edges[i].ev == ev)
            return (int)edges[i].to;
    return -1;
}

const char *kernel_state_name(enum kernel_state s)
{
    static const char *const names[KERNEL_STATE_MAX] = {
        [KERNEL_STARTING] = "starting",
        [KERNEL_IDLE] = "idle",
        [KERNEL_BUSY] = "busy",
        [KERNEL_STOPPING] = "restarting",
        [KERNEL_RESTARTING] = "restarting",
        [KERNEL_DEAD] = "dead",
    };
    return names[s];
}

const char *kernel_event_name(enum kernel_event ev)
{
    static const char *const names[KERNEL_EV_MAX] = {
        [KERNEL_EV_READY] = "ready",   [KERNEL_EV_BUSY] = "busy", [KERNEL_EV_IDLE] = "idle",
        [KERNEL_EV_STOP] = "stop",     [KERNEL_EV_EXIT] = "exit", [KERNEL_EV_GIVE_UP] = "give_up",
        [KERNEL_EV_REVIVE] = "revive",
    };
    return names[ev];
}

/* Jupyter Server's list of what it does not track. */
bool kernel_state_follows(const char *request_type)
{
    static const char *const untracked[] = {
        "kernel_info_request", "comm_info_request", "shutdown_request",
        "interrupt_request",   "debug_request",     "input_request",
    };
    for (size_t i = 0; i < ARRAY_LEN(untracked); i++)
        if (strcmp(request_type, untracked[i]) == 0)
            return false;
    return request_type[0] != '\0';
}
