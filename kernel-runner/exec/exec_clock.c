/* Timers only: what their ends mean is exec_queue.c's. */
#include "kernel-runner/exec/exec_clock.h"

void exec_clock_init(struct exec_clock *c, struct loop *loop, loop_fn on_late, void *ctx)
{
    *c = (struct exec_clock){.timer = loop_timer_new(loop, on_late, ctx),
                             .on_late = on_late,
                             .ctx = ctx,
                             .now = EXEC_CLOCK_STOP};
}

void exec_clock_done(struct exec_clock *c)
{
    c->timer = loop_timer_free(c->timer);
}

void exec_clock_turn(struct exec_clock *c, enum exec_clock_set set)
{
    switch (set) {
    case EXEC_CLOCK_KEEP:
        return;
    case EXEC_CLOCK_STOP:
        loop_timer_stop(c->timer);
        break;
    case EXEC_CLOCK_GRACE:
        loop_timer_start(c->timer, EXEC_START_GRACE_MS, 0);
        break;
    case EXEC_CLOCK_DEADLINE:
        loop_timer_start(c->timer, c->deadline_ms, 0);
        break;
    case EXEC_CLOCK_KILL:
        loop_timer_start(c->timer, EXEC_KILL_GRACE_MS, 0);
        break;
    }
    c->now = set;
}

void exec_held_init(struct exec_held *h, struct loop *loop, loop_fn on_late, void *ctx)
{
    *h = (struct exec_held){
        .timer = loop_timer_new(loop, on_late, ctx), .on_late = on_late, .ctx = ctx};
}

void exec_held_done(struct exec_held *h)
{
    h->timer = loop_timer_free(h->timer);
}

void exec_held_keep(struct exec_held *h, uint64_t ticket)
{
    h->ticket = ticket;
    loop_timer_start(h->timer, EXEC_HOLD_MS, 0);
}

bool exec_held_release(struct exec_held *h, uint64_t at)
{
    bool goes = h->ticket && h->ticket == at;
    h->ticket = 0;
    loop_timer_stop(h->timer);
    return goes;
}

void exec_held_drop_unless(struct exec_held *h, uint64_t at)
{
    if (h->ticket && h->ticket != at)
        exec_held_release(h, UINT64_MAX);
}
