#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/base/slice.h"

/*
 * Growing bytes with a ceiling. Exceeding `max` returns -ERR_TOO_LARGE and changes nothing: never
 * a silent cut. The byte behind `len` is always NUL, for debuggers; do not rely on it.
 */
struct buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;
    size_t head; /* bytes consumed at the front of the allocation */
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b); /* frees; b may be reused after buf_init() */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_str(struct buf *b, const char *s);
int buf_append_slice(struct buf *b, struct slice s);
int buf_append_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
/* Room for `len` more bytes at b->ptr + b->len; the caller fills it and adds to b->len. */
int buf_reserve(struct buf *b, size_t len);
/* Drops `len` bytes at the front; amortised O(1). */
void buf_consume(struct buf *b, size_t len);
void buf_clear(struct buf *b); /* len = 0, keeps the memory */
/* Hands over the bytes, NUL-terminated, and leaves b empty. Never NULL. */
char *buf_take(struct buf *b);

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->ptr, b->len);
}
