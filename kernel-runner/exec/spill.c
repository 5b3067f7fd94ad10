/*
 * The file is a spill_file: written on the loop, into the page cache. A block of memory is shared
 * with the views on it: behind what they see it may be filled on, but it is never moved under them.
 */
#include "kernel-runner/exec/spill.h"

#include "kernel-runner/exec/spill_file.h"
#include "lib/api/limits.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_MIN 512

struct spill_block {
    unsigned refs;
    size_t cap;
    char data[];
};

static struct spill_block *block_unref(struct spill_block *b)
{
    if (b && --b->refs == 0)
        free(b);
    return NULL;
}

void spill_init(struct spill *s, struct spill_store *store)
{
    *s = (struct spill){.store = store, .fd = -1};
}

static void drop_memory(struct spill *s)
{
    s->store->memory_bytes -= s->mem_len;
    s->mem_len = 0;
    s->block = block_unref(s->block);
}

void spill_done(struct spill *s)
{
    if (!s->store)
        return;
    drop_memory(s);
    s->store->file_bytes -= s->file_len;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->file_len = 0;
}

static void to_memory(struct spill *s, struct slice bytes)
{
    size_t need = s->mem_len + bytes.len;
    if (!s->block || need > s->block->cap) {
        size_t cap = MAX((size_t)BLOCK_MIN, s->block ? 2 * s->block->cap : 0);
        cap = MAX(cap, need);
        bool shared = s->block && s->block->refs > 1;
        struct spill_block *b = mem_resize(shared ? NULL : s->block, sizeof(*b) + cap);
        if (shared) {
            memcpy(b->data, s->block->data, s->mem_len);
            block_unref(s->block);
        }
        b->refs = 1;
        b->cap = cap;
        s->block = b;
    }
    if (bytes.len)
        memcpy(s->block->data + s->mem_len, bytes.ptr, bytes.len);
    s->mem_len = need;
    s->store->memory_bytes += bytes.len;
}

static int to_file(struct spill *s, struct slice bytes, struct err *err)
{
    if (spill_file_write(s->fd, bytes.ptr, bytes.len, s->file_len) < 0) {
        int r = err_errno(err, "writing a temporary file");
        /* A part of it may stand there and take what little room is left. */
        (void)!ftruncate(s->fd, (off_t)s->file_len);
        return r;
    }
    s->file_len += bytes.len;
    s->store->file_bytes += bytes.len;
    return 0;
}

int spill_to_file(struct spill *s, struct err *err)
{
    if (s->fd < 0) {
        s->fd = spill_file_open(s->store->dir_fd);
        if (s->fd < 0)
            return err_errno(err, "making a temporary file");
    }
    if (s->mem_len == 0)
        return 0;
    int r = to_file(s, slice_make(s->block->data, s->mem_len), err);
    if (r == 0)
        drop_memory(s);
    return r;
}

int spill_append(struct spill *s, struct slice bytes, struct err *err)
{
    if (s->fd < 0 && s->mem_len + bytes.len <= LIMIT_LOG_MEMORY_BYTES &&
        s->store->memory_bytes + bytes.len <= LIMIT_SPILL_MEMORY_BYTES) {
        to_memory(s, bytes);
        return 0;
    }
    int r = spill_to_file(s, err);
    return r < 0 ? r : to_file(s, bytes, err);
}

void spill_append_always(struct spill *s, struct slice bytes)
{
    if (spill_append(s, bytes, NULL) < 0)
        to_memory(s, bytes);
}

ssize_t spill_read(const struct spill *s, uint64_t offset, char *out, size_t max)
{
    if (offset >= spill_len(s))
        return 0;
    if (offset >= s->file_len) {
        size_t want = (size_t)MIN((uint64_t)max, spill_len(s) - offset);
        memcpy(out, s->block->data + (offset - s->file_len), want);
        return (ssize_t)want;
    }
    size_t want = (size_t)MIN((uint64_t)max, s->file_len - offset);
    ssize_t n;
    do
        n = pread(s->fd, out, want, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

int spill_view_open(const struct spill *s, struct spill_view *ret, struct err *err)
{
    *ret = (struct spill_view){0};
    if (s->file_len) {
        void *p = mmap(NULL, s->file_len, PROT_READ, MAP_SHARED, s->fd, 0);
        if (p == MAP_FAILED)
            return err_errno(err, "mapping a temporary file");
        ret->file = slice_make(p, s->file_len);
    }
    if (s->mem_len) {
        s->block->refs++;
        ret->block = s->block;
        ret->mem = slice_make(s->block->data, s->mem_len);
    }
    return 0;
}

void spill_view_close(struct spill_view *v)
{
    if (v->file.len)
        munmap((void *)(uintptr_t)v->file.ptr, v->file.len);
    block_unref(v->block);
    *v = (struct spill_view){0};
}

struct slice spill_view_from(const struct spill_view *v, uint64_t offset)
{
    if (offset < v->file.len)
        return slice_make(v->file.ptr + offset, v->file.len - offset);
    offset -= v->file.len;
    if (offset < v->mem.len)
        return slice_make(v->mem.ptr + offset, v->mem.len - offset);
    return slice_make(NULL, 0);
}
