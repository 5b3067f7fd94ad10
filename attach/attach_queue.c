#include "attach/attach_queue.h"

#include "lib/base/mem.h"

struct item {
    struct item *next;
    char *data;
    size_t len;
    uint64_t number;
};

struct attach_queue {
    struct item *first, **last; /* last: where the next one is hung */
    struct item **cursor;
    size_t count, bytes, max_messages, max_bytes;
    uint64_t number;
};

struct attach_queue *attach_queue_new(size_t max_messages, size_t max_bytes)
{
    struct attach_queue *q = MEM_NEW(struct attach_queue);
    q->last = q->cursor = &q->first;
    q->max_messages = max_messages;
    q->max_bytes = max_bytes;
    return q;
}

static void drop_first(struct attach_queue *q)
{
    struct item *i = q->first;
    q->first = i->next;
    if (q->last == &i->next)
        q->last = &q->first;
    if (q->cursor == &i->next)
        q->cursor = &q->first;
    q->count--;
    q->bytes -= i->len;
    free(i->data);
    free(i);
}

struct attach_queue *attach_queue_free(struct attach_queue *q)
{
    if (!q)
        return NULL;
    while (q->first)
        drop_first(q);
    free(q);
    return NULL;
}

void attach_queue_push(struct attach_queue *q, struct buf *take)
{
    struct item *i = MEM_NEW(struct item);
    i->len = take->len;
    i->data = buf_take(take);
    i->number = ++q->number;
    *q->last = i;
    q->last = &i->next;
    q->count++;
    q->bytes += i->len;
}

bool attach_queue_full(const struct attach_queue *q)
{
    return q->count >= q->max_messages || q->bytes >= q->max_bytes;
}

size_t attach_queue_count(const struct attach_queue *q)
{
    return q->count;
}

bool attach_queue_next(const struct attach_queue *q, struct slice *ret)
{
    const struct item *i = *q->cursor;
    if (!i)
        return false;
    *ret = slice_make(i->data, i->len);
    return true;
}

uint64_t attach_queue_sent(struct attach_queue *q)
{
    struct item *i = *q->cursor;
    q->cursor = &i->next;
    return i->number;
}

void attach_queue_arrived(struct attach_queue *q, uint64_t number)
{
    while (q->first && q->cursor != &q->first && q->first->number <= number)
        drop_first(q);
}

void attach_queue_give_up(struct attach_queue *q)
{
    attach_queue_arrived(q, UINT64_MAX);
}

void attach_queue_rewind(struct attach_queue *q)
{
    q->cursor = &q->first;
}
