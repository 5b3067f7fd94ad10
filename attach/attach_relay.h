#pragma once
#include "attach/attach_routes.h"
#include "lib/jupyter/jp_ws.h"

/*
 * Between local clients and the WebSocket, message by message, without sockets: requests become v1
 * messages, and what the runner sends finds the client it is for.
 */
struct attach_relay;

#define ATTACH_TOPIC_SIZE 128

/* A message of the runner; slices borrow from its data, the route until the next request. */
struct attach_answer {
    struct jp_ws_msg ws;
    struct jp_msg msg; /* its ids, types and kind */
    enum jp_channel channel;
    struct attach_route route;     /* unless channel is JP_IOPUB */
    char topic[ATTACH_TOPIC_SIZE]; /* when it is */
};

struct attach_relay *attach_relay_new(void);
struct attach_relay *attach_relay_free(struct attach_relay *r);
/* Whose outputs come from now on: it stands in their topics. */
void attach_relay_kernel(struct attach_relay *r, const char *kernel_id);
/* Appends the v1 message and remembers who asked. -ERR_TOO_LARGE: `out` is full. */
int attach_relay_request(struct attach_relay *r, const struct jp_request *req, struct buf *out);
/* -ERR_INVALID: no message; -ERR_NOT_FOUND: a reply to nobody; -ERR_CONFLICT: a greeting, ours. */
int attach_relay_answer(struct attach_relay *r, struct slice data, struct attach_answer *ret);
/*
 * False: it came before, because a connection broke before the runner knew that it had arrived.
 * jupyter_client fails on a message that it had already. Ask once for each that comes.
 */
bool attach_relay_is_new(struct attach_relay *r, const struct attach_answer *answer);
