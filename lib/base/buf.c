/*
 * Invariants: `ptr` points at the first unconsumed byte, the allocation begins at `ptr - head` and
 * has `cap` bytes, of which the last is kept for the NUL; len <= max. Moving the bytes over a
 * consumed head is amortised: it frees half of the memory, or is followed by room for half as many
 * bytes again (so a buffer that is used as a queue may take half as much memory again as `max`).
 */
#include "lib/base/buf.h"

#include "lib/base/mem.h"

#include <stdarg.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
    if (b->ptr)
        free(b->ptr - b->head);
    *b = (struct buf){.max = b->max};
}

/* Moves the bytes back over the consumed head. */
static void compact(struct buf *b)
{
    char *base = b->ptr - b->head;
    memmove(base, b->ptr, b->len + 1);
    b->ptr = base;
    b->head = 0;
}

int buf_reserve(struct buf *b, size_t len)
{
    if (len > b->max || b->len > b->max - len)
        return -ERR_TOO_LARGE;
    size_t need = b->len + len + 1;
    if (b->ptr && b->head + need <= b->cap)
        return 0;
    if (b->ptr && b->head >= b->cap / 2 && need <= b->cap) {
        compact(b);
        return 0;
    }
    size_t spare = 0;
    if (b->ptr && b->head) {
        compact(b);
        spare = need / 2;
    }
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap = cap < MIB(64) ? cap * 2 : cap + cap / 4;
    cap = MAX(MIN(cap - 1, b->max) + 1, need + spare);
    b->ptr = mem_resize(b->ptr, cap);
    b->cap = cap;
    b->ptr[b->len] = '\0';
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
    int r = buf_reserve(b, len);
    if (r < 0)
        return r;
    if (len)
        memcpy(b->ptr + b->len, data, len);
    b->len += len;
    b->ptr[b->len] = '\0';
    return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

int buf_append_slice(struct buf *b, struct slice s)
{
    return buf_append(b, s.ptr, s.len);
}

int buf_append_char(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int r = n < 0 ? -ERR_INTERNAL : buf_reserve(b, (size_t)n);
    if (r == 0) {
        vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return r;
}

void buf_consume(struct buf *b, size_t len)
{
    len = MIN(len, b->len);
    if (len == 0)
        return;
    b->ptr += len;
    b->head += len;
    b->len -= len;
    if (b->len == 0)
        compact(b);
}

void buf_clear(struct buf *b)
{
    buf_consume(b, b->len);
}

char *buf_take(struct buf *b)
{
    if (!b->ptr)
        return mem_dup_str("");
    if (b->head)
        compact(b);
    char *p = b->ptr;
    b->ptr = NULL;
    *b = (struct buf){.max = b->max};
    return p;
}
