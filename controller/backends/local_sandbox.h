#pragma once
#include "controller/backends/local_backend.h"
#include "controller/backends/local_dir.h"
#include "controller/backends/local_peer.h"

#include <uthash.h>

/*
 * One sandbox as processes and files, from fork to the last file gone.
 *
 *   STARTING ─ready→ RUNNING ─runner ended, or removed→ ENDING ─all processes gone→ CLEARING →
 * freed STARTING ─failed, late, or removed→ ENDING
 */
enum local_state {
    LOCAL_STARTING, /* forked; the runner does not listen yet, or its bounds are being set */
    LOCAL_RUNNING,
    LOCAL_ENDING,   /* told to end, or seen to; waits for every process */
    LOCAL_CLEARING, /* its files are being removed */
};

struct local_clearing;
struct local_waiter;

struct local_sandbox {
    char id[ID_SANDBOX_SIZE];
    struct local_backend *backend;
    struct local_dir dir;
    struct local_meta meta;
    enum local_state state;
    /* What is watched: bubblewrap's monitor, and the runner (known from the start without
     * isolation, otherwise once it listens). NULL: not known, or not there. */
    struct loop_child *monitor;
    struct loop_child *runner;
    struct loop_child *bounding; /* what sets the bounds of its file systems, at the start */
    bool is_ours; /* forked by this controller: the runner's process group is ours to kill */
    struct loop_exit exit; /* how it ended, as far as known */
    /* While it starts. */
    struct local_launch *launch;
    int failure_fd;
    int ready_fd;
    struct loop_poll *ready;
    sandbox_backend_created_fn created;
    void *created_ctx;
    struct err fail; /* why it is ended before it ran; code 0: by itself */
    /* While it ends. */
    bool is_lost;
    int64_t kill_at_ms, give_up_at_ms; /* 0: never */
    struct loop_timer *timer;
    struct local_waiter *waiters;
    struct local_clearing *clearing;
    UT_hash_handle hh;
};

struct local_sandbox *local_sandbox_find(const struct local_backend *b, const char *id);

/* Makes everything of a sandbox and starts it; see sandbox_backend_ops.create. */
int local_sandbox_create(struct local_backend *b, const struct sandbox_backend_spec *spec,
                         sandbox_backend_created_fn created, void *ctx, struct err *err);
/* Takes in a running one that an earlier controller made; takes over the pidfd. */
int local_sandbox_adopt(struct local_backend *b, const char *id, const struct local_meta *meta,
                        struct local_peer *peer_take, struct err *err);
/* Removes what a dead one left, or asks for the end of a living one. */
void local_sandbox_remove(struct local_sandbox *sb, int64_t deadline_ms,
                          sandbox_backend_done_fn done, void *ctx);
/* Removes the files of one that has no process; done may be NULL. */
void local_sandbox_clear(struct local_backend *b, const char *id, sandbox_backend_done_fn done,
                         void *ctx);
/* Stops watching; the processes go on. */
void local_sandbox_forget(struct local_sandbox *sb);
void local_sandbox_endpoint(const struct local_sandbox *sb, struct sandbox_endpoint *ret);

/* local_start.c: the steps before and at the fork; fills launch, descriptors and *ret_pid. */
int local_sandbox_start(struct local_sandbox *sb, const struct sandbox_backend_spec *spec,
                        pid_t *ret_pid, struct err *err);
