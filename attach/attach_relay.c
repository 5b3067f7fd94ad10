/*
 * Over one WebSocket there are no identity frames: a reply is matched by its parent's msg_id, an
 * input request by the execution that asks. What the runner sends is as hostile as the code in the
 * sandbox; contents are passed without being looked at.
 */
#include "attach/attach_relay.h"

#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/jupyter/jp_seen.h"

#include <stdio.h>

struct attach_relay {
    struct attach_routes *routes;
    struct jp_seen *seen; /* headers of answers */
    char kernel_id[ID_UUID_SIZE];
};

struct attach_relay *attach_relay_new(void)
{
    struct attach_relay *r = MEM_NEW(struct attach_relay);
    r->routes = attach_routes_new();
    r->seen = jp_seen_new();
    return r;
}

void attach_relay_kernel(struct attach_relay *r, const char *kernel_id)
{
    snprintf(r->kernel_id, sizeof(r->kernel_id), "%s", kernel_id);
}

struct attach_relay *attach_relay_free(struct attach_relay *r)
{
    if (!r)
        return NULL;
    attach_routes_free(r->routes);
    jp_seen_free(r->seen);
    free(r);
    return NULL;
}

int attach_relay_request(struct attach_relay *r, const struct jp_request *req, struct buf *out)
{
    const struct jp_msg *m = &req->msg;
    struct jp_ws_msg ws = {
        .channel = m->channel,
        .frames = {[JP_HEADER] = m->header,
                   [JP_PARENT] = m->parent,
                   [JP_METADATA] = m->metadata,
                   [JP_CONTENT] = m->content},
        .n_buffers = m->n_buffers,
    };
    memcpy(ws.buffers, m->buffers, m->n_buffers * sizeof(*m->buffers));
    int n = jp_ws_v1_encode(out, &ws);
    if (n == 0 && m->channel != JP_STDIN)
        attach_routes_put(r->routes, req);
    return n;
}

int attach_relay_answer(struct attach_relay *r, struct slice data, struct attach_answer *ret)
{
    struct jp_msg *m = &ret->msg;
    if (jp_ws_v1_decode(&ret->ws, data, NULL) != 0)
        return -ERR_INVALID;
    m->header = ret->ws.frames[JP_HEADER];
    m->parent = ret->ws.frames[JP_PARENT];
    if (jp_wire_read_ids(m) < 0)
        return -ERR_INVALID;
    ret->channel = ret->ws.channel;
    if (ret->channel == JP_IOPUB) {
        snprintf(ret->topic, sizeof(ret->topic), "kernel.%s.%s", r->kernel_id, m->msg_type);
        return m->kind == JP_IOPUB_WELCOME ? -ERR_CONFLICT : 0;
    }
    if (!attach_routes_find(r->routes, m->parent_id, &ret->route))
        return -ERR_NOT_FOUND;
    if (ret->channel != JP_STDIN)
        ret->channel = ret->route.channel;
    return 0;
}

bool attach_relay_is_new(struct attach_relay *r, const struct attach_answer *answer)
{
    char digest[CRYPTO_HEX_SIZE];
    crypto_sha256_hex(answer->msg.header.ptr, answer->msg.header.len, digest);
    return jp_seen_add(r->seen, slice_str(digest));
}
