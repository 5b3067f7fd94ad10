/*
 * The log is a byte string that only grows. `mem` holds all of it or, once spilled, none of it. A
 * sparse index (one mark every MARK_LINES lines) makes seeking by seq cheap without an entry a
 * line.
 *
 * The file is a spill_file: written on the loop, into the page cache.
 */
#include "kernel-runner/exec/event_log.h"

#include "kernel-runner/exec/spill_file.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <utlist.h>

#define MARK_LINES 256

struct event_log_waiter {
    struct event_log *log;
    loop_fn fn;
    void *ctx;
    struct event_log_waiter *prev, *next;
};

struct event_log {
    struct event_log_store *store;
    struct buf mem;
    int fd; /* -1: in memory */
    uint64_t bytes;
    uint64_t lines;
    uint64_t *marks; /* marks[i]: offset behind line (i + 1) * MARK_LINES */
    size_t marks_cap;
    bool ended;
    struct event_log_waiter *waiters;
    struct loop_defer *wake;
};

static void wake_all(void *ctx)
{
    struct event_log *log = ctx;
    struct event_log_waiter *w, *next;
    DL_FOREACH_SAFE (log->waiters, w, next) {
        w->fn(w->ctx);
    }
}

struct event_log *event_log_new(struct loop *loop, struct event_log_store *store)
{
    struct event_log *log = MEM_NEW(struct event_log);
    log->store = store;
    log->fd = -1;
    buf_init(&log->mem, LIMIT_LOG_MEMORY_BYTES);
    log->wake = loop_defer_new(loop, wake_all, log);
    return log;
}

struct event_log *event_log_free(struct event_log *log)
{
    if (!log)
        return NULL;
    log->store->memory_bytes -= log->mem.len;
    if (log->fd >= 0) {
        log->store->spilled_bytes -= log->bytes;
        close(log->fd);
    }
    buf_done(&log->mem);
    loop_defer_free(log->wake);
    free(log->marks);
    free(log);
    return NULL;
}

static int spill(struct event_log *log, struct err *err)
{
    if (log->fd >= 0)
        return 0;
    _cleanup_(closep) int fd = spill_file_open(log->store->spill_dir_fd);
    if (fd < 0)
        return err_errno(err, "temporary file for an event log");
    if (spill_file_write(fd, log->mem.ptr, log->mem.len, 0) < 0)
        return err_errno(err, "writing an event log");
    log->store->memory_bytes -= log->mem.len;
    log->store->spilled_bytes += log->mem.len;
    buf_done(&log->mem);
    log->fd = TAKE_FD(fd);
    return 0;
}

void event_log_spill(struct event_log *log)
{
    /* Where it cannot be moved it stays: the log is whole either way. */
    (void)spill(log, NULL);
}

static void note_line(struct event_log *log)
{
    log->lines++;
    if (log->lines % MARK_LINES)
        return;
    size_t i = log->lines / MARK_LINES - 1;
    if (i >= log->marks_cap) {
        log->marks_cap = log->marks_cap ? log->marks_cap * 2 : 16;
        log->marks = mem_resize(log->marks, log->marks_cap * sizeof(*log->marks));
    }
    log->marks[i] = log->bytes;
}

int event_log_append(struct event_log *log, struct slice line, struct err *err)
{
    if (log->fd < 0 && buf_append_slice(&log->mem, line) == 0) {
        log->store->memory_bytes += line.len;
    } else {
        int r = spill(log, err);
        if (r < 0)
            return r;
        if (spill_file_write(log->fd, line.ptr, line.len, log->bytes) < 0)
            return err_errno(err, "writing an event log");
        log->store->spilled_bytes += line.len;
    }
    log->bytes += line.len;
    note_line(log);
    if (log->waiters)
        loop_defer_post(log->wake);
    return 0;
}

void event_log_end(struct event_log *log)
{
    log->ended = true;
    if (log->waiters)
        loop_defer_post(log->wake);
}

bool event_log_ended(const struct event_log *log)
{
    return log->ended;
}

uint64_t event_log_lines(const struct event_log *log)
{
    return log->lines;
}

uint64_t event_log_bytes(const struct event_log *log)
{
    return log->bytes;
}

size_t event_log_memory(const struct event_log *log)
{
    return log->mem.len;
}

ssize_t event_log_read(const struct event_log *log, uint64_t offset, char *out, size_t max)
{
    if (offset >= log->bytes)
        return 0;
    size_t want = (size_t)MIN((uint64_t)max, log->bytes - offset);
    if (log->fd < 0) {
        memcpy(out, log->mem.ptr + offset, want);
        return (ssize_t)want;
    }
    ssize_t n;
    do
        n = pread(log->fd, out, want, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

struct slice event_log_view(const struct event_log *log)
{
    return log->fd < 0 ? buf_slice(&log->mem) : slice_make(NULL, 0);
}

int event_log_map(struct event_log *log, struct slice *ret, struct err *err)
{
    int r = spill(log, err);
    if (r < 0)
        return r;
    *ret = slice_make(NULL, 0);
    if (log->bytes == 0)
        return 0;
    void *p = mmap(NULL, log->bytes, PROT_READ, MAP_SHARED, log->fd, 0);
    if (p == MAP_FAILED)
        return err_errno(err, "mapping an event log");
    *ret = slice_make(p, log->bytes);
    return 0;
}

uint64_t event_log_seek(const struct event_log *log, uint64_t seq)
{
    if (seq >= log->lines)
        return log->bytes;
    uint64_t line = seq / MARK_LINES * MARK_LINES;
    uint64_t offset = line ? log->marks[line / MARK_LINES - 1] : 0;
    char chunk[8192];
    while (line < seq) {
        ssize_t n = event_log_read(log, offset, chunk, sizeof(chunk));
        if (n <= 0)
            return log->bytes;
        size_t i = 0;
        while (line < seq && i < (size_t)n) {
            const char *nl = memchr(chunk + i, '\n', (size_t)n - i);
            if (!nl) {
                i = (size_t)n;
                break;
            }
            i = (size_t)(nl - chunk) + 1;
            line++;
        }
        offset += i;
    }
    return offset;
}

struct event_log_waiter *event_log_wait(struct event_log *log, loop_fn fn, void *ctx)
{
    struct event_log_waiter *w = MEM_NEW(struct event_log_waiter);
    *w = (struct event_log_waiter){.log = log, .fn = fn, .ctx = ctx};
    DL_APPEND(log->waiters, w);
    return w;
}

struct event_log_waiter *event_log_wait_free(struct event_log_waiter *w)
{
    if (!w)
        return NULL;
    DL_DELETE(w->log->waiters, w);
    free(w);
    return NULL;
}
