/*
 * The log is a byte string that only grows, wherever its bytes lie (spill.h). A sparse index (one
 * mark every MARK_LINES lines) makes seeking by seq cheap without an entry a line.
 */
#include "kernel-runner/exec/event_log.h"

#include "lib/base/mem.h"

#include <string.h>
#include <utlist.h>

#define MARK_LINES 256

struct event_log_waiter {
    struct event_log *log;
    loop_fn fn;
    void *ctx;
    struct event_log_waiter *prev, *next;
};

struct event_log {
    struct spill bytes;
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

struct event_log *event_log_new(struct loop *loop, struct spill_store *store)
{
    struct event_log *log = MEM_NEW(struct event_log);
    spill_init(&log->bytes, store);
    log->wake = loop_defer_new(loop, wake_all, log);
    return log;
}

struct event_log *event_log_free(struct event_log *log)
{
    if (!log)
        return NULL;
    spill_done(&log->bytes);
    loop_defer_free(log->wake);
    free(log->marks);
    free(log);
    return NULL;
}

int event_log_spill(struct event_log *log)
{
    return spill_to_file(&log->bytes, NULL);
}

static void note_line(struct event_log *log)
{
    log->lines++;
    if (log->waiters)
        loop_defer_post(log->wake);
    if (log->lines % MARK_LINES)
        return;
    size_t i = log->lines / MARK_LINES - 1;
    if (i >= log->marks_cap) {
        log->marks_cap = log->marks_cap ? log->marks_cap * 2 : 16;
        log->marks = mem_resize(log->marks, log->marks_cap * sizeof(*log->marks));
    }
    log->marks[i] = spill_len(&log->bytes);
}

int event_log_append(struct event_log *log, struct slice line, struct err *err)
{
    int r = spill_append(&log->bytes, line, err);
    if (r == 0)
        note_line(log);
    return r;
}

void event_log_append_always(struct event_log *log, struct slice line)
{
    spill_append_always(&log->bytes, line);
    note_line(log);
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
    return spill_len(&log->bytes);
}

size_t event_log_memory(const struct event_log *log)
{
    return log->bytes.mem_len;
}

ssize_t event_log_read(const struct event_log *log, uint64_t offset, char *out, size_t max)
{
    return spill_read(&log->bytes, offset, out, max);
}

int event_log_view(const struct event_log *log, struct spill_view *ret, struct err *err)
{
    return spill_view_open(&log->bytes, ret, err);
}

uint64_t event_log_seek(const struct event_log *log, uint64_t seq)
{
    if (seq >= log->lines)
        return event_log_bytes(log);
    uint64_t line = seq / MARK_LINES * MARK_LINES;
    uint64_t offset = line ? log->marks[line / MARK_LINES - 1] : 0;
    char chunk[8192];
    while (line < seq) {
        ssize_t n = event_log_read(log, offset, chunk, sizeof(chunk));
        if (n <= 0)
            return event_log_bytes(log);
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
