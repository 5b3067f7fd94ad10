#pragma once
#include "lib/base/slice.h"
#include "lib/jupyter/jp_msg.h"

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

/*
 * The requests of clients that a kernel has not answered, oldest first. Pure.
 *
 * A request is over when the kernel said `idle` for it and, where one is due, its reply came, in
 * either order. A kernel drops some silently (a repeated signature, a malformed header); its main
 * shell works in order, so what a later request of it has overtaken gets nothing any more.
 * Requests to subshells and on control have no such order: of those without an answer only the last
 * HUB_OTHERS_MAX are remembered.
 */
#define HUB_REQUESTS_MAX  10000 /* on the main shell; then clients are not read until it is half */
#define HUB_REQUEST_BYTES MIB(32) /* of all of them together, likewise */
#define HUB_OTHERS_MAX    1000
#define HUB_CONTENT_MAX   KIB(64)

struct hub_request {
    uint64_t order;
    uint32_t from; /* the session that asked */
    enum jp_channel channel;
    bool main_shell;
    bool wants_reply; /* its type ends in _request */
    bool busy, idle, replied;
    char *msg_id;
    char *msg_type;
    char *header;  /* JSON: the parent header of what answers it */
    char *content; /* of a short execute_request that may end the kernel unannounced; or NULL */
    size_t bytes;  /* of the whole message */
    char *held;    /* the whole message as v1 has it, while the kernel does not take any; or NULL */
    size_t held_len;
    struct hub_request *prev, *next;
    UT_hash_handle hh;
};

struct hub_requests {
    struct hub_request *list;
    struct hub_request *by_id;
    uint64_t last_order;
    size_t n_main, n_others, bytes;
};

/* `r` needs from, channel, main_shell, msg_id, msg_type, header and bytes set, and is taken over.
 */
void hub_requests_add(struct hub_requests *t, struct hub_request *r_take);
struct hub_request *hub_request_new(const char *msg_id, const char *msg_type, struct slice header);
struct hub_request *hub_requests_find(const struct hub_requests *t, const char *msg_id);
void hub_requests_remove(struct hub_requests *t, struct hub_request *r); /* frees it */
bool hub_request_is_over(const struct hub_request *r);
bool hub_requests_are_full(const struct hub_requests *t);
bool hub_requests_have_room(const struct hub_requests *t); /* half of the ceilings */

/*
 * The oldest request of the main shell before `order` that gets nothing any more, given that a
 * later one was begun (`replied` false: it has no idle) or replied to (`replied` true: it has no
 * reply). NULL: none.
 */
struct hub_request *hub_requests_overtaken(const struct hub_requests *t, uint64_t order,
                                           bool replied);
