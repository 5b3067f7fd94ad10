/*
 * Two lists, as only the main shell's is in order. `bytes` counts what is waited for without a
 * bound of its own: the main shell's, and what we hold. A request to a subshell that does not exist
 * is never answered and must not count for ever.
 */
#include "kernel-runner/attach/hub_requests.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <utlist.h>

struct hub_request *hub_request_new(const char *msg_id, const char *msg_type, struct slice header)
{
    static const char suffix[] = "_request";
    struct hub_request *r = MEM_NEW(struct hub_request);
    r->msg_id = mem_dup_str(msg_id);
    r->msg_type = mem_dup_str(msg_type);
    r->header = mem_dup_n(header.ptr, header.len);
    size_t len = strlen(msg_type), n = sizeof(suffix) - 1;
    r->wants_reply = len > n && strcmp(msg_type + len - n, suffix) == 0;
    return r;
}

void hub_requests_add(struct hub_requests *t, struct hub_request *r_take)
{
    struct hub_request *r = r_take;
    r->order = ++t->last_order;
    HASH_ADD_KEYPTR(hh, t->by_id, r->msg_id, strlen(r->msg_id), r);
    if (r->main_shell) {
        DL_APPEND(t->main, r);
        t->n_main++;
        t->bytes += r->bytes;
    } else {
        DL_APPEND(t->others, r);
        t->n_others++;
    }
}

struct hub_request *hub_requests_find(const struct hub_requests *t, const char *msg_id)
{
    struct hub_request *r = NULL;
    HASH_FIND_STR(t->by_id, msg_id, r);
    return r;
}

void hub_requests_hold(struct hub_requests *t, struct hub_request *r, char *v1_take, size_t len)
{
    free(hub_requests_unhold(t, r, &(size_t){0}));
    r->held = v1_take;
    r->held_len = len;
    if (r->main_shell)
        t->n_held_main++;
    else
        t->bytes += r->bytes;
}

char *hub_requests_unhold(struct hub_requests *t, struct hub_request *r, size_t *ret_len)
{
    if (!r->held)
        return NULL;
    *ret_len = r->held_len;
    if (r->main_shell)
        t->n_held_main--;
    else
        t->bytes -= r->bytes;
    return TAKE_PTR(r->held);
}

void hub_requests_remove(struct hub_requests *t, struct hub_request *r)
{
    free(hub_requests_unhold(t, r, &(size_t){0}));
    HASH_DEL(t->by_id, r);
    if (r->main_shell) {
        DL_DELETE(t->main, r);
        t->n_main--;
        t->bytes -= r->bytes;
    } else {
        DL_DELETE(t->others, r);
        t->n_others--;
    }
    free(r->msg_id);
    free(r->msg_type);
    free(r->header);
    free(r->content);
    free(r);
}

bool hub_request_is_over(const struct hub_request *r)
{
    return r->idle && (r->replied || !r->wants_reply);
}

bool hub_requests_are_full(const struct hub_requests *t, uint32_t from)
{
    const struct hub_request *const lists[] = {t->main, t->others};
    size_t n = 0, bytes = 0;
    if (t->n_main < HUB_REQUESTS_MAX && t->bytes < HUB_REQUEST_BYTES)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const struct hub_request *r;
        DL_FOREACH (lists[i], r) {
            bool counts = r->from == from && (r->main_shell || r->held);
            n += counts;
            bytes += counts ? r->bytes : 0;
        }
    }
    return n > HUB_SHARE || bytes > HUB_SHARE_BYTES;
}

bool hub_requests_have_room(const struct hub_requests *t)
{
    return t->n_main <= HUB_REQUESTS_MAX / 2 && t->bytes <= HUB_REQUEST_BYTES / 2;
}

struct hub_request *hub_requests_surplus(const struct hub_requests *t)
{
    return t->n_others >= HUB_OTHERS_MAX ? t->others : NULL;
}

struct hub_request *hub_requests_overtaken(const struct hub_requests *t, uint64_t order,
                                           bool replied)
{
    struct hub_request *r;
    DL_FOREACH (t->main, r) {
        /* What is held has not gone to the kernel, nor has what came behind it. */
        if (r->order >= order || r->held)
            return NULL;
        if (replied ? r->idle && !r->replied : !r->idle)
            return r;
    }
    return NULL;
}
