#pragma once
#include "kernel-runner/exec/exec_state.h"
#include "lib/loop/loop.h"

/*
 * The one clock of the execution at the kernel: its start grace, then its deadline, then the kill
 * grace; which of them, the edges of exec_state.h say. It calls when the time is over.
 */
#define EXEC_START_GRACE_MS 2000 /* sent, nothing ahead, no busy: its clock starts all the same */
#define EXEC_KILL_GRACE_MS  2000 /* interrupted, not at rest: the kernel is killed */

struct exec_clock {
    struct loop_timer *timer;
    loop_fn on_late;
    void *ctx;
    int64_t deadline_ms; /* how long it may run */
    enum exec_clock_set now;
};

void exec_clock_init(struct exec_clock *c, struct loop *loop, loop_fn on_late, void *ctx);
void exec_clock_done(struct exec_clock *c);
void exec_clock_turn(struct exec_clock *c, enum exec_clock_set set);

/*
 * An interrupt for a notebook's cell that is not seen to run yet: ipykernel would lose it. It is
 * bound to that one request, by its ticket, and goes when the cell is seen, at the latest after
 * EXEC_HOLD_MS, as silent ones and comm messages announce nothing. When that request is over it is
 * dropped: the next cell was not meant.
 */
#define EXEC_HOLD_MS 100

struct exec_held {
    struct loop_timer *timer;
    loop_fn on_late;
    void *ctx;
    uint64_t ticket; /* 0: none is held */
};

void exec_held_init(struct exec_held *h, struct loop *loop, loop_fn on_late, void *ctx);
void exec_held_done(struct exec_held *h);
void exec_held_keep(struct exec_held *h, uint64_t ticket);
/* The shell is at this request (UINT64_MAX: at none). True: the interrupt is to go now, and is not
 * held any more; it is not either when the shell is at another one. */
bool exec_held_release(struct exec_held *h, uint64_t at);
void exec_held_drop_unless(struct exec_held *h, uint64_t at);
