#pragma once
#include <stdbool.h>

/*
 * What becomes of one who asks for a sandbox (POST /api/sandboxes); begins as WAITING.
 *
 *   WAITING ─claim→ CLAIMING ─retry→ WAITING
 *   WAITING ─describe→ DESCRIBING ─key_free→ WAITING
 *   WAITING ─join→ JOINED             it ends with its leader
 *   any but OVER ─end→ OVER
 */
enum create_state {
    CREATE_WAITING,    /* for a sandbox to become ready */
    CREATE_CLAIMING,   /* it has one, whose runner is being told */
    CREATE_DESCRIBING, /* its key names a sandbox that is there */
    CREATE_JOINED,     /* an earlier one with the same key is under way */
    CREATE_OVER,       /* the asker is told in a turn of the loop */
    CREATE_STATES
};
enum create_event {
    CREATE_EV_CLAIM,    /* a ready sandbox is its */
    CREATE_EV_RETRY,    /* that one did not take its owner */
    CREATE_EV_DESCRIBE, /* the key's sandbox is there */
    CREATE_EV_KEY_FREE, /* it ended while it was asked */
    CREATE_EV_JOIN,     /* the key's sandbox is being made */
    CREATE_EV_END,
    CREATE_EVENTS
};

const char *create_state_name(enum create_state s); /* "waiting" */
const char *create_event_name(enum create_event e);
/* The table of the machine: true and *ret set when the change is allowed. Pure. */
bool create_next_state(enum create_state from, enum create_event ev, enum create_state *ret);
