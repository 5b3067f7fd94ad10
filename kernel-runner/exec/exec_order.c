/* Tickets and the waiting list. Nothing here sends, times or ends anything. */
#include "kernel-runner/exec/exec_order.h"

#include "lib/api/limits.h"

#include <utlist.h>

uint64_t exec_order_ticket(struct exec_order *o)
{
    return ++o->tickets;
}

bool exec_order_is_full(const struct exec_order *o)
{
    return o->n_waiting >= LIMIT_EXEC_QUEUE;
}

void exec_order_add(struct exec_order *o, struct exec *e)
{
    e->ticket = exec_order_ticket(o);
    DL_APPEND(o->waiting, e);
    o->n_waiting++;
}

void exec_order_remove(struct exec_order *o, struct exec *e)
{
    DL_DELETE(o->waiting, e);
    o->n_waiting--;
}

size_t exec_order_foreign(const struct exec_order *o)
{
    return o->foreign.count ? o->foreign.count(o->foreign.ctx) : 0;
}

static uint64_t oldest(const struct exec_order *o)
{
    return exec_order_foreign(o) ? o->foreign.oldest(o->foreign.ctx) : UINT64_MAX;
}

struct exec *exec_order_next(const struct exec_order *o)
{
    struct exec *e = o->waiting;
    return e && oldest(o) > e->ticket ? e : NULL;
}

void exec_order_sent(const struct exec_order *o, struct exec *e)
{
    e->behind = o->tickets;
}

bool exec_order_is_behind(const struct exec_order *o, const struct exec *e)
{
    return oldest(o) <= e->behind;
}

uint64_t exec_order_at(const struct exec_order *o)
{
    return o->foreign.at ? o->foreign.at(o->foreign.ctx) : UINT64_MAX;
}

uint64_t exec_order_ticket_of(const struct exec_order *o, const char *msg_id)
{
    return o->foreign.ticket_of ? o->foreign.ticket_of(o->foreign.ctx, msg_id) : 0;
}

bool exec_order_knows(const struct exec_order *o, const char *msg_id)
{
    return o->foreign.knows && o->foreign.knows(o->foreign.ctx, msg_id);
}
