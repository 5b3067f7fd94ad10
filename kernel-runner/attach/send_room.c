#include "kernel-runner/attach/send_room.h"

#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <utlist.h>

struct send_room {
    size_t used;
    struct send_room_user *users;
    struct loop_defer *freed;
    struct loop_timer *patience;
};

static bool anybody_waits(const struct send_room *r)
{
    const struct send_room_user *u;
    DL_FOREACH (r->users, u)
        if (u->waits)
            return true;
    return false;
}

/* A user may leave in its callback, but no other does. */
static void on_freed(void *ctx)
{
    struct send_room *r = ctx;
    struct send_room_user *u, *next;
    DL_FOREACH_SAFE (r->users, u, next) {
        if (!u->waits)
            continue;
        u->waits = false;
        u->on_room(u->ctx);
    }
    if (!anybody_waits(r))
        loop_timer_stop(r->patience);
}

static void on_patience(void *ctx)
{
    struct send_room *r = ctx;
    struct send_room_user *u, *largest = NULL;
    if (!anybody_waits(r))
        return;
    DL_FOREACH (r->users, u)
        if (!largest || u->bytes > largest->bytes)
            largest = u;
    loop_timer_start(r->patience, SEND_ROOM_MS, 0);
    if (largest && largest->bytes)
        largest->give_way(largest->ctx);
}

struct send_room *send_room_new(struct loop *loop)
{
    struct send_room *r = MEM_NEW(struct send_room);
    r->freed = loop_defer_new(loop, on_freed, r);
    r->patience = loop_timer_new(loop, on_patience, r);
    return r;
}

struct send_room *send_room_free(struct send_room *r)
{
    if (!r)
        return NULL;
    loop_defer_free(r->freed);
    loop_timer_free(r->patience);
    free(r);
    return NULL;
}

void send_room_join(struct send_room *r, struct send_room_user *u)
{
    u->room = r;
    DL_APPEND(r->users, u);
}

void send_room_leave(struct send_room_user *u)
{
    if (!u->room)
        return;
    send_room_give(u);
    DL_DELETE(u->room->users, u);
    u->room = NULL;
}

bool send_room_take(struct send_room_user *u, size_t len)
{
    struct send_room *r = u->room;
    if (len <= SEND_ROOM_SMALL)
        return true;
    if (r->used && r->used + len > SEND_ROOM_BYTES) {
        u->waits = true;
        if (!loop_timer_active(r->patience))
            loop_timer_start(r->patience, SEND_ROOM_MS, 0);
        return false;
    }
    u->bytes += len;
    r->used += len;
    return true;
}

void send_room_give(struct send_room_user *u)
{
    if (u->bytes == 0)
        return;
    u->room->used -= u->bytes;
    u->bytes = 0;
    loop_defer_post(u->room->freed);
}
