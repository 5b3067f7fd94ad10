#pragma once
#include <stdbool.h>

/*
 * A kernel's life. STARTING is the first process only; every later one is RESTARTING until it
 * answers. STOPPING: killed on purpose, its end not yet seen.
 *
 *   STARTING ──READY──► IDLE ◄──IDLE/BUSY──► BUSY
 *   any live ──STOP──► STOPPING ──EXIT──► RESTARTING ──READY──► IDLE
 *   any live ──EXIT──► RESTARTING        any ──GIVE_UP──► DEAD ──REVIVE──► RESTARTING
 */
enum kernel_state {
    KERNEL_STARTING,
    KERNEL_IDLE,
    KERNEL_BUSY,
    KERNEL_STOPPING,
    KERNEL_RESTARTING,
    KERNEL_DEAD,
    KERNEL_STATE_MAX
};

enum kernel_event {
    KERNEL_EV_READY,   /* answered kernel_info, and IOPub is connected */
    KERNEL_EV_BUSY,    /* status busy */
    KERNEL_EV_IDLE,    /* status idle */
    KERNEL_EV_STOP,    /* we kill it: restart, timeout, cancel, memory */
    KERNEL_EV_EXIT,    /* its process ended and a new one is started */
    KERNEL_EV_GIVE_UP, /* its process ended for good */
    KERNEL_EV_REVIVE,  /* /restart of a dead kernel */
    KERNEL_EV_MAX
};

/* The state after `ev`, or -1 when `ev` is not expected in `from`. */
int kernel_state_next(enum kernel_state from, enum kernel_event ev);
/* As the API says it: "starting", "idle", "busy", "restarting", "dead". */
const char *kernel_state_name(enum kernel_state s);
const char *kernel_event_name(enum kernel_event ev);
/* Does a request of this type make it busy? Introspection does not. */
bool kernel_state_follows(const char *request_type);
/* Can it take a request now? */
static inline bool kernel_state_live(enum kernel_state s)
{
    return s == KERNEL_IDLE || s == KERNEL_BUSY;
}
