#pragma once
#include "kernel-runner/exec/spill.h"
#include "lib/loop/loop.h"

/*
 * The append-only log of one execution's events: whole lines, each ending with a newline. In memory
 * up to LIMIT_LOG_MEMORY_BYTES, then in an unlinked temporary file. Readers hold an offset of their
 * own; a slow reader slows nobody. Each line is one event, so a line's number is its `seq`.
 */
struct event_log;

struct event_log *event_log_new(struct loop *loop, struct spill_store *store);
struct event_log *event_log_free(struct event_log *log); /* no reader may be left; NULL ok */

/* Appends one line (with its newline). -ERR_NO_SPACE when there is no room for it. */
int event_log_append(struct event_log *log, struct slice line, struct err *err);
/* A line that the log cannot do without: there is always room. Their sum is the caller's to bound.
 */
void event_log_append_always(struct event_log *log, struct slice line);
void event_log_end(struct event_log *log); /* no more lines come; wakes readers */
bool event_log_ended(const struct event_log *log);
uint64_t event_log_lines(const struct event_log *log); /* = the last seq */
uint64_t event_log_bytes(const struct event_log *log);
/* Moves what is in memory to the file, to save memory. < 0: it stays, the log is whole anyway. */
int event_log_spill(struct event_log *log);
size_t event_log_memory(const struct event_log *log);

/* Copies up to `max` bytes from `offset`; returns how many (0 at the end), or < 0. */
ssize_t event_log_read(const struct event_log *log, uint64_t offset, char *out, size_t max);
/* All bytes of this moment; a line lies in one part whole. */
int event_log_view(const struct event_log *log, struct spill_view *ret, struct err *err);
/* The offset just behind line number `seq` (0: the beginning), at most the end. */
uint64_t event_log_seek(const struct event_log *log, uint64_t seq);

/* A reader that wants to know when something was appended or the log ended; may come often. */
struct event_log_waiter;
struct event_log_waiter *event_log_wait(struct event_log *log, loop_fn fn, void *ctx);
struct event_log_waiter *event_log_wait_free(struct event_log_waiter *w);
