#pragma once
#include "lib/base/slice.h"
#include "lib/jupyter/jp_msg.h"

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

/*
 * The requests of clients that a kernel has not answered. Pure.
 *
 * A request is over when the kernel said `idle` for it and, where one is due, its reply came, in
 * either order. A kernel drops some silently (a repeated signature, a malformed header); its main
 * shell works in order, so what a later request of it has overtaken gets nothing any more.
 * Requests to subshells and on control have no such order: of those without an answer only the last
 * HUB_OTHERS_MAX are remembered.
 *
 * Above the ceilings, those whose share is more than HUB_SHARE are not read until it is half.
 */
#define HUB_REQUESTS_MAX  10000   /* of the main shell's */
#define HUB_SENT_MAX      1000    /* of those, sent at a time: ipykernel 7.4 stalls at 10,000 */
#define HUB_REQUEST_BYTES MIB(32) /* of those, and of others that are held */
#define HUB_SHARE         64
#define HUB_SHARE_BYTES   MIB(1)
#define HUB_OTHERS_MAX    1000
#define HUB_CONTENT_MAX   KIB(64)

struct hub_request {
    uint64_t order;
    uint64_t ticket; /* of the main shell's: its place among all requests to the kernel */
    uint32_t from;   /* the session that asked */
    enum jp_channel channel;
    bool main_shell;
    bool wants_reply; /* its type ends in _request */
    bool busy, idle, replied;
    char *msg_id;
    char *msg_type;
    char *header;  /* JSON: the parent header of what answers it */
    char *content; /* of a short execute_request that may end the kernel unannounced; or NULL */
    size_t bytes;  /* of the whole message */
    char *held;    /* the whole message as v1 has it, until it may go to the kernel; or NULL */
    size_t held_len;
    struct hub_request *prev, *next;
    UT_hash_handle hh;
};

/* Oldest first. */
struct hub_requests {
    struct hub_request *main; /* to the main shell */
    struct hub_request *others;
    struct hub_request *by_id;
    uint64_t last_order;
    size_t n_main, n_others, n_held_main;
    size_t bytes;
};

/* `r` needs from, channel, main_shell, ticket and bytes set, and is taken over. */
void hub_requests_add(struct hub_requests *t, struct hub_request *r_take);
struct hub_request *hub_request_new(const char *msg_id, const char *msg_type, struct slice header);
struct hub_request *hub_requests_find(const struct hub_requests *t, const char *msg_id);
void hub_requests_remove(struct hub_requests *t, struct hub_request *r); /* frees it */
/* Keeps the message for later, or gives it back; the caller frees it. */
void hub_requests_hold(struct hub_requests *t, struct hub_request *r, char *v1_take, size_t len);
char *hub_requests_unhold(struct hub_requests *t, struct hub_request *r, size_t *ret_len);
bool hub_request_is_over(const struct hub_request *r);
/* The ceilings are reached, and it is this session that has more than its share. */
bool hub_requests_are_full(const struct hub_requests *t, uint32_t from);
bool hub_requests_have_room(const struct hub_requests *t); /* half of the ceilings */
/* One that has to go before another of its kind is added; NULL: none. */
struct hub_request *hub_requests_surplus(const struct hub_requests *t);

/*
 * The oldest request of the main shell before `order` that gets nothing any more, given that a
 * later one was begun (`replied` false: it has no idle) or replied to (`replied` true: it has no
 * reply). NULL: none.
 */
struct hub_request *hub_requests_overtaken(const struct hub_requests *t, uint64_t order,
                                           bool replied);
