#include "kernel-runner/attach/hub_requests.h"

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

static struct hub_request *oldest_other(const struct hub_requests *t)
{
    struct hub_request *r = t->list;
    while (r->main_shell)
        r = r->next;
    return r;
}

void hub_requests_add(struct hub_requests *t, struct hub_request *r_take)
{
    struct hub_request *r = r_take;
    r->order = ++t->last_order;
    DL_APPEND(t->list, r);
    HASH_ADD_KEYPTR(hh, t->by_id, r->msg_id, strlen(r->msg_id), r);
    t->bytes += r->bytes;
    *(r->main_shell ? &t->n_main : &t->n_others) += 1;
    if (t->n_others > HUB_OTHERS_MAX)
        hub_requests_remove(t, oldest_other(t));
}

struct hub_request *hub_requests_find(const struct hub_requests *t, const char *msg_id)
{
    struct hub_request *r = NULL;
    HASH_FIND_STR(t->by_id, msg_id, r);
    return r;
}

void hub_requests_remove(struct hub_requests *t, struct hub_request *r)
{
    DL_DELETE(t->list, r);
    HASH_DEL(t->by_id, r);
    t->bytes -= r->bytes;
    *(r->main_shell ? &t->n_main : &t->n_others) -= 1;
    free(r->msg_id);
    free(r->msg_type);
    free(r->header);
    free(r->content);
    free(r->held);
    free(r);
}

bool hub_request_is_over(const struct hub_request *r)
{
    return r->idle && (r->replied || !r->wants_reply);
}

bool hub_requests_are_full(const struct hub_requests *t)
{
    return t->n_main >= HUB_REQUESTS_MAX || t->bytes >= HUB_REQUEST_BYTES;
}

bool hub_requests_have_room(const struct hub_requests *t)
{
    return t->n_main <= HUB_REQUESTS_MAX / 2 && t->bytes <= HUB_REQUEST_BYTES / 2;
}

struct hub_request *hub_requests_overtaken(const struct hub_requests *t, uint64_t order,
                                           bool replied)
{
    struct hub_request *r;
    DL_FOREACH (t->list, r) {
        if (r->order >= order)
            return NULL;
        if (!r->main_shell || r->held)
            continue;
        if (replied ? r->idle && !r->replied : !r->idle)
            return r;
    }
    return NULL;
}
