#pragma once
#include "kernel-runner/exec/exec.h"

/*
 * Every execution this sandbox knows, by id, and the retention: finished ones are kept until there
 * are LIMIT_EXECS_KEPT newer (of notebooks LIMIT_NOTEBOOK_EXECS_KEPT, so that neither pushes out
 * the other), or 15 minutes, or their logs need the room; then their ids answer ERR_EXPIRED for a
 * while.
 */
struct exec_store;

struct exec_store_cfg {
    struct loop *loop;
    int spill_dir_fd; /* stays the caller's; -1: memfd */
    struct exec_limits limits;
    uint64_t total_output_bytes; /* all logs together */
};

struct exec_store *exec_store_new(const struct exec_store_cfg *cfg);
struct exec_store *exec_store_free(struct exec_store *s); /* no readers may be left; NULL ok */

const struct spill_store *exec_store_logs(const struct exec_store *s); /* what all take */

/* Makes an execution, not yet queued. The id must be unused (exec_store_lookup() first). */
struct exec *exec_store_add(struct exec_store *s, const char *id, const char *body_hash,
                            struct exec_request *request_take);
/* Takes back one that could not be queued. */
void exec_store_forget(struct exec_store *s, struct exec *e);

/* 0: found. EXEC_UNKNOWN: never seen. < 0: ERR_EXPIRED. */
enum { EXEC_UNKNOWN = 1 };
int exec_store_lookup(struct exec_store *s, const char *id, struct exec **ret, struct err *err);
/* The queue tells that it is done; it moves to the finished list. */
void exec_store_finished(struct exec_store *s, struct exec *e);
/* Logs grew: spill or expire as the ceilings need. Cheap when nothing is to do. */
void exec_store_trim(struct exec_store *s);

/*
 * Drops what ended LIMIT_EXEC_KEPT_MS before `now_us` (monotonic); returns the ms until the next is
 * due, 0 when none is left. The store's own timer calls it.
 */
int64_t exec_store_expire(struct exec_store *s, int64_t now_us);

/* Something large was freed, here or elsewhere: the heap gives it back to the system in a second.
 */
void exec_store_trim_heap(struct exec_store *s);

/* A holder keeps an expired execution's memory alive (streams, waiting answers). */
void exec_store_hold(struct exec_store *s, struct exec *e);
void exec_store_release(struct exec_store *s, struct exec *e);

/* Is there room for one more holder, of e where it is given? -ERR_LIMIT. */
int exec_store_room(const struct exec_store *s, const struct exec *e, struct err *err);

/*
 * The newest, or with `after` the next older one; in this state, if it is given. NULL at the end.
 * `after` must be held, and may have expired meanwhile.
 */
struct exec *exec_store_next(const struct exec_store *s, const struct exec *after,
                             const char *state);
