#pragma once
#include "lib/base/cleanup.h"
#include "lib/loop/loop.h"

/*
 * Room in the buffers of connections for large messages, shared by all of a sandbox: a message is
 * copied for each connection that it is sent on, and a thousand of them could ask for it at once.
 * Who finds no room waits; the message stays in the hub's ring. When somebody has waited for
 * SEND_ROOM_MS, the connection that holds most gives way: its client does not read.
 */
struct send_room;

#define SEND_ROOM_BYTES MIB(64)
#define SEND_ROOM_SMALL KIB(64) /* messages up to this need no room */
#define SEND_ROOM_MS    5000

/* Embedded in a connection. */
struct send_room_user {
    void (*on_room)(void *ctx);  /* try again */
    void (*give_way)(void *ctx); /* close: others wait */
    void *ctx;
    struct send_room *room; /* NULL: not joined */
    size_t bytes;
    bool waits;
    struct send_room_user *prev, *next;
};

struct send_room *send_room_new(struct loop *loop);
struct send_room *send_room_free(struct send_room *r); /* every user has left; NULL ok */
void send_room_join(struct send_room *r, struct send_room_user *u);
void send_room_leave(struct send_room_user *u); /* gives back what it took; also when not joined */
/* False: not now, on_room follows. A message above all room goes when nobody else has any. */
bool send_room_take(struct send_room_user *u, size_t len);
void send_room_give(struct send_room_user *u); /* its buffers are empty */
