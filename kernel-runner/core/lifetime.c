/* Idleness and the longest life, by the monotonic clock; the wall clock only for what is shown. */
#include "kernel-runner/core/lifetime.h"

#include "lib/base/macros.h"

#define SET_US 1000000 /* the two clocks drift by less between two looks */

static int64_t idle_at(const struct lifetime *l, int64_t now_us, bool busy)
{
    return (busy ? now_us : l->active_us) + l->idle_ms * 1000;
}

static int64_t max_at(const struct lifetime *l)
{
    return l->max_ms ? l->begun_us + l->max_ms * 1000 : INT64_MAX;
}

int64_t lifetime_ends_us(const struct lifetime *l, int64_t now_us, bool busy)
{
    return MIN(idle_at(l, now_us, busy), max_at(l));
}

enum lifetime_end lifetime_end(const struct lifetime *l, int64_t now_us, bool busy)
{
    if (now_us >= max_at(l))
        return LIFETIME_MAX;
    return now_us >= idle_at(l, now_us, busy) ? LIFETIME_IDLE : LIFETIME_LASTS;
}

int64_t lifetime_shown(struct lifetime *l, int64_t us, int64_t now_us, int64_t wall_us)
{
    int64_t offset = wall_us - now_us;
    if (offset > l->offset_us + SET_US || offset < l->offset_us - SET_US)
        l->offset_us = offset;
    return us + l->offset_us;
}
