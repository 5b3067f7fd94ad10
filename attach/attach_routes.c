/* Two hash tables, each in the order of its entries' coming: the first is the oldest. */
#include "attach/attach_routes.h"

#include "lib/base/mem.h"

#include <string.h>
#include <uthash.h>

struct entry {
    UT_hash_handle hh;
    enum jp_channel channel;
    size_t n_idents;
    unsigned char lens[JP_IDENTS_MAX];
    char *idents; /* behind the id */
    char msg_id[];
};

struct attach_routes {
    struct entry *requests, *comms;
};

struct attach_routes *attach_routes_new(void)
{
    return MEM_NEW(struct attach_routes);
}

static void clear(struct entry **table)
{
    struct entry *e, *next;
    HASH_ITER (hh, *table, e, next) {
        HASH_DEL(*table, e);
        free(e);
    }
}

struct attach_routes *attach_routes_free(struct attach_routes *r)
{
    if (!r)
        return NULL;
    clear(&r->requests);
    clear(&r->comms);
    free(r);
    return NULL;
}

static struct entry *find(struct entry *table, const char *msg_id)
{
    struct entry *e;
    HASH_FIND_STR(table, msg_id, e);
    return e;
}

static struct entry *entry_new(const struct jp_request *req)
{
    size_t id_size = strlen(req->msg.msg_id) + 1, size = 0;
    for (size_t i = 0; i < req->n_idents; i++)
        size += req->idents[i].len;
    struct entry *e = mem_zero(1, sizeof(*e) + id_size + size);
    memcpy(e->msg_id, req->msg.msg_id, id_size);
    e->idents = e->msg_id + id_size;
    e->channel = req->msg.channel;
    e->n_idents = req->n_idents;
    char *to = e->idents;
    for (size_t i = 0; i < req->n_idents; i++) {
        e->lens[i] = (unsigned char)req->idents[i].len;
        if (req->idents[i].len)
            memcpy(to, req->idents[i].ptr, req->idents[i].len);
        to += req->idents[i].len;
    }
    return e;
}

static void put(struct entry **table, struct entry *e, size_t max)
{
    struct entry *gone = find(*table, e->msg_id);
    if (!gone && HASH_COUNT(*table) >= max)
        gone = *table;
    if (gone) {
        HASH_DEL(*table, gone);
        free(gone);
    }
    HASH_ADD_KEYPTR(hh, *table, e->msg_id, strlen(e->msg_id), e);
}

void attach_routes_put(struct attach_routes *r, const struct jp_request *req)
{
    if (strncmp(req->msg.msg_type, "comm_", 5) == 0 &&
        strcmp(req->msg.msg_type, "comm_info_request") != 0)
        put(&r->comms, entry_new(req), ATTACH_COMMS_MAX);
    else
        put(&r->requests, entry_new(req), ATTACH_ROUTES_MAX);
}

bool attach_routes_find(const struct attach_routes *r, const char *msg_id, struct attach_route *ret)
{
    const struct entry *e = find(r->requests, msg_id);
    if (!e)
        e = find(r->comms, msg_id);
    if (!e)
        return false;
    ret->channel = e->channel;
    ret->n_idents = e->n_idents;
    const char *from = e->idents;
    for (size_t i = 0; i < e->n_idents; i++) {
        ret->idents[i] = slice_make(from, e->lens[i]);
        from += e->lens[i];
    }
    return true;
}

size_t attach_routes_count(const struct attach_routes *r)
{
    return HASH_COUNT(r->requests) + HASH_COUNT(r->comms);
}
