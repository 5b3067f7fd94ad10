#pragma once
#include "lib/base/buf.h"

#include <sys/types.h>

/*
 * An answer whose text is much longer as JSON than it is (control characters take six bytes): its
 * beginning, the text as a JSON string, and a brace, made while they are pulled.
 */
struct contents_escape {
    struct buf head, text; /* owned */
    size_t head_at, text_at;
    struct buf piece; /* escaped, not yet given */
    bool closed;
};

void contents_escape_init(struct contents_escape *e, struct buf *head_take, struct buf *text_take);
void contents_escape_done(struct contents_escape *e); /* also of one that is zero */
/* Fills up to max bytes; 0 at the end. */
size_t contents_escape_pull(struct contents_escape *e, char *out, size_t max);
