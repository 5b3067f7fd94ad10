#pragma once
#include "lib/base/err.h"
#include "lib/base/slice.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * Bytes that only grow: in memory up to LIMIT_LOG_MEMORY_BYTES, then in an unlinked temporary file.
 * Where the file cannot grow, an append fails and changes nothing; what must be kept all the same
 * (the few lines that end a log) goes to memory behind the file. What one append brought lies
 * in one piece.
 */
struct spill_block;

/* Where spilled bytes go, and how much there is together. One per runner. */
struct spill_store {
    int dir_fd; /* directory for O_TMPFILE files, or -1: memfd */
    uint64_t memory_bytes;
    uint64_t file_bytes;
};

struct spill {
    struct spill_store *store;
    int fd;                    /* -1: all is in memory */
    uint64_t file_len;         /* what follows is in memory */
    struct spill_block *block; /* shared with views */
    size_t mem_len;
};

void spill_init(struct spill *s, struct spill_store *store);
void spill_done(struct spill *s); /* also one that is zero */
/* -ERR_NO_SPACE when there is room neither in memory nor in the file. */
int spill_append(struct spill *s, struct slice bytes, struct err *err);
void spill_append_always(struct spill *s, struct slice bytes);
/* Moves what is in memory to the file. On failure all is as before. */
int spill_to_file(struct spill *s, struct err *err);
static inline uint64_t spill_len(const struct spill *s)
{
    return s->file_len + s->mem_len;
}
/* Copies up to `max` bytes from `offset`; returns how many (0 at the end), perhaps fewer. */
ssize_t spill_read(const struct spill *s, uint64_t offset, char *out, size_t max);

/*
 * All bytes of this moment, without a copy: what is in the file (mapped), then what is in memory.
 * They stay as they are whatever is appended, spilled or freed meanwhile.
 */
struct spill_view {
    struct slice file, mem;
    struct spill_block *block;
};
int spill_view_open(const struct spill *s, struct spill_view *ret, struct err *err);
void spill_view_close(struct spill_view *v);
static inline uint64_t spill_view_len(const struct spill_view *v)
{
    return v->file.len + v->mem.len;
}
/* From `offset` to the end of the part it lies in. */
struct slice spill_view_from(const struct spill_view *v, uint64_t offset);
