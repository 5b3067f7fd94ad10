/* The text is well-formed UTF-8 (contents_read.c looks), and no piece of it cuts a character. */
#include "kernel-runner/attach/contents_escape.h"

#include "lib/base/utf8.h"
#include "lib/json/jsonx.h"

#include <string.h>

#define PIECE_BYTES KIB(8) /* of the text */
#define PIECE_MAX   (6 * PIECE_BYTES + 16)

static struct buf take(struct buf *b)
{
    struct buf taken = *b;
    *b = (struct buf){.max = b->max};
    return taken;
}

void contents_escape_init(struct contents_escape *e, struct buf *head_take, struct buf *text_take)
{
    *e = (struct contents_escape){.head = take(head_take), .text = take(text_take)};
    buf_init(&e->piece, PIECE_MAX);
    buf_append_char(&e->piece, '"');
}

void contents_escape_done(struct contents_escape *e)
{
    buf_done(&e->head);
    buf_done(&e->text);
    buf_done(&e->piece);
}

static void next_piece(struct contents_escape *e)
{
    struct slice rest = slice_make(e->text.ptr + e->text_at, e->text.len - e->text_at);
    buf_clear(&e->piece);
    if (rest.len == 0) {
        e->closed = true;
        buf_append_str(&e->piece, "\"}");
        return;
    }
    rest.len = utf8_cut(rest, PIECE_BYTES);
    e->text_at += rest.len;
    jsonx_append_string(&e->piece, rest);
    e->piece.len--; /* the quotes: one here, one before it */
    buf_consume(&e->piece, 1);
}

size_t contents_escape_pull(struct contents_escape *e, char *out, size_t max)
{
    size_t n = MIN(e->head.len - e->head_at, max);
    if (n)
        memcpy(out, e->head.ptr + e->head_at, n);
    e->head_at += n;
    while (n < max) {
        if (e->piece.len == 0) {
            if (e->closed)
                break;
            next_piece(e);
        }
        size_t part = MIN(e->piece.len, max - n);
        memcpy(out + n, e->piece.ptr, part);
        buf_consume(&e->piece, part);
        n += part;
    }
    return n;
}
