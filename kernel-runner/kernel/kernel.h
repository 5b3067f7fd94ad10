#pragma once
#include "kernel-runner/kernel/kernel_cfg.h"
#include "kernel-runner/kernel/kernel_state.h"
#include "lib/base/err.h"
#include "lib/base/ids.h"
#include "lib/json/jsonx.h"
#include "lib/jupyter/jp_client.h"
#include "lib/loop/loop.h"

/*
 * One kernel as the API sees it: an id that stays, a process that may be replaced (`generation`
 * counts them from 1), a state. It restarts itself after a death; five deaths within a minute, or
 * a first process that never answered, leave it dead until kernel_restart().
 */
struct kernel;

#define KERNEL_DEATHS_MAX       5
#define KERNEL_DEATHS_WINDOW_MS 60000

/* Why a process ended; for the error of the execution that ran on it. */
struct kernel_death {
    bool wanted; /* we stopped it (restart, timeout, cancel): not a death of the API's five */
    bool oom;    /* the memory watchdog killed it */
    int signal;  /* 0 when it exited */
    int exit_code;
    unsigned generation; /* of the process that ended */
};

/* A sentence: how the process ended. */
#define KERNEL_DEATH_SIZE 120
void kernel_death_describe(const struct kernel_death *d, char out[KERNEL_DEATH_SIZE]);

/* Each may be NULL. */
struct kernel_events {
    void (*on_msg)(void *ctx, const struct jp_msg *msg);
    /* It takes requests now (first, or again). */
    void (*on_ready)(void *ctx);
    /*
     * The process ended: whatever was sent to it gets no further answer. kernel_session() is still
     * that process's, kernel_state() what became of the kernel.
     */
    void (*on_down)(void *ctx, const struct kernel_death *death);
    /* What kernel_probe() asked was answered: all that its shell had before was looked at. */
    void (*on_probed)(void *ctx);
    /* The kernel is being freed: nothing comes any more, do not unlisten. */
    void (*on_gone)(void *ctx);
    void *ctx;
};

/* Who hears of a kernel; embedded in its owner. In the order in which they began to listen. */
struct kernel_listener {
    struct kernel_events events;
    struct kernel_listener *prev, *next;
};

struct kernel_start {
    struct loop *loop;
    struct jp_context *jupyter;
    const struct kernel_cfg *cfg;
    const char *id;  /* UUID */
    const char *cwd; /* NULL: the files root */
    json_t *env;     /* borrowed; object of strings, or NULL */
    /* The processes of other kernels, which a sweep after a death must spare; fills at most max. */
    size_t (*others)(void *ctx, const struct kernel *self, pid_t *out, size_t max);
    bool (*was_oom)(void *ctx); /* has the system just killed a process for want of memory? */
    void *others_ctx;
};

/* Starts its first process. A failure to start is not an error here: it is then dead, with words.
 */
struct kernel *kernel_new(const struct kernel_start *start);
struct kernel *kernel_free(struct kernel *k); /* kills; no event after; NULL ok */
/* The same where the sandbox goes on: what it left in memory is cleared, on the pool. */
struct kernel *kernel_delete(struct kernel *k);
void kernel_listen(struct kernel *k, struct kernel_listener *l);
void kernel_unlisten(struct kernel *k, struct kernel_listener *l); /* also from inside an event */

const char *kernel_id(const struct kernel *k);
enum kernel_state kernel_state(const struct kernel *k);
unsigned kernel_generation(const struct kernel *k);
int64_t kernel_execution_count(const struct kernel *k);
pid_t kernel_pid(const struct kernel *k);              /* 0: none now */
const char *kernel_last_words(const struct kernel *k); /* of a process that failed; "" if none */
json_t *kernel_json(const struct kernel *k);           /* the API's kernel object; caller owns */
/* The Jupyter session of the process that spoke last; "" before the first one did. */
const char *kernel_session(const struct kernel *k);
/* Dead, or dying, because a client wished so, not by its own deaths. */
bool kernel_is_ended(const struct kernel *k);
/* Wall µs of the last message of its process or of kernel_touch(). */
int64_t kernel_last_activity(const struct kernel *k);
void kernel_touch(struct kernel *k);

/* -ERR_UNAVAILABLE when not live. */
int kernel_send(struct kernel *k, const struct jp_send *send, struct err *err);
/* A client's frames, signed for this kernel; see jp_client_forward(). */
int kernel_forward(struct kernel *k, enum jp_channel channel, struct slice ident,
                   const struct slice frames[4], const struct slice *buffers, size_t n_buffers,
                   struct err *err);
/* Asks its main shell for a sign; on_probed follows when it comes to it. False: one is under way.
 */
bool kernel_probe(struct kernel *k);
/* The request with this id, which waits in its main shell, is not to be run; see launcher.py. It
 * is answered as aborted when its turn comes. */
void kernel_withdraw(struct kernel *k, const char *msg_id);
void kernel_interrupt(struct kernel *k);
/* Ends the process for good: it is dead until kernel_restart(). */
void kernel_end(struct kernel *k);
/*
 * A shutdown_request was passed on: the process ends by itself, or is killed KERNEL_SHUTDOWN_MS
 * later. Then it starts anew, or (restart false) is dead as after kernel_end().
 */
#define KERNEL_SHUTDOWN_MS 2000
void kernel_expect_exit(struct kernel *k, bool restart);
/* Ends the process and starts anew, also when dead; `generation` + 1. */
void kernel_restart(struct kernel *k);
/* The watchdog's: like a death, told as oom. */
void kernel_kill_oom(struct kernel *k);
/* Variables for the running process (silently) and every later one; merges. Before any execution.
 */
void kernel_set_env(struct kernel *k, json_t *env_borrowed);

/*
 * Calls fn once: when the kernel takes requests (and its env is set), is dead, or is freed. Not
 * before this returns. kernel_wait_cancel() takes it back.
 */
struct kernel_wait;
struct kernel_wait *kernel_wait_settled(struct kernel *k, void (*fn)(void *ctx), void *ctx);
void kernel_wait_cancel(struct kernel_wait *w);
