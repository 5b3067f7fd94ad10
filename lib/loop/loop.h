#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/types.h>

/*
 * One single-threaded event loop per program, over libuv. Every watcher here is a heap object that
 * its owner frees with x_free(): no callback comes after that returns, and it is safe from inside
 * the watcher's own callback. Callbacks run on the loop's thread and never block.
 */
struct loop;

int loop_new(struct loop **ret, struct err *err);
/* Every watcher must have been freed before. NULL ok; returns NULL. */
struct loop *loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop() */
void loop_stop(struct loop *loop);
/* Cached monotonic time of this turn, milliseconds. */
int64_t loop_now_ms(struct loop *loop);

typedef void (*loop_fn)(void *ctx);

/* Timer: one-shot, or repeating when repeat_ms > 0. Starting a running timer re-arms it. */
struct loop_timer;
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *ctx);
void loop_timer_start(struct loop_timer *t, int64_t delay_ms, int64_t repeat_ms);
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_active(const struct loop_timer *t);
struct loop_timer *loop_timer_free(struct loop_timer *t);

/* Descriptor: the fd stays the caller's and must stay open until loop_poll_free(). */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };
typedef void (*loop_poll_fn)(void *ctx, int events);
struct loop_poll;
int loop_poll_new(struct loop_poll **ret, struct loop *loop, int fd, loop_poll_fn fn, void *ctx,
                  struct err *err);
void loop_poll_set(struct loop_poll *p, int events); /* 0 pauses */
struct loop_poll *loop_poll_free(struct loop_poll *p);

/* Deferred call: runs once in the next turn, which does not wait for I/O; posting twice is once. */
struct loop_defer;
struct loop_defer *loop_defer_new(struct loop *loop, loop_fn fn, void *ctx);
void loop_defer_post(struct loop_defer *d);
struct loop_defer *loop_defer_free(struct loop_defer *d);

/*
 * Posted call: how a waiter is told. Whoever completes posts the waiter's callback instead of
 * calling it, so that no callback runs inside the call that led to it and no chain of waiters grows
 * the stack. Embedded in its owner and zeroed before its first use. Calls run in the order they
 * were posted, each once, in the next turn, which does not wait for I/O.
 */
struct loop_post {
    struct loop *loop; /* NULL: not posted */
    loop_fn fn;
    void *ctx;
    struct loop_post *prev, *next;
};
/* Posting what is posted already keeps the first. */
void loop_post(struct loop_post *p, struct loop *loop, loop_fn fn, void *ctx);
/* It does not come any more; also when it is not posted. To be called before its owner is freed. */
void loop_post_cancel(struct loop_post *p);
bool loop_post_is_posted(const struct loop_post *p);

/* Hook: called each turn just before the loop waits for I/O (adapters of foreign libraries). */
struct loop_hook;
struct loop_hook *loop_hook_new(struct loop *loop, loop_fn fn, void *ctx);
struct loop_hook *loop_hook_free(struct loop_hook *h);

/*
 * Signals by signalfd. loop_signals_block() must run before any thread starts. `sigs` ends with 0.
 */
typedef void (*loop_signal_fn)(void *ctx, const struct signalfd_siginfo *info);
struct loop_signals;
void loop_signals_block(const int *sigs);
int loop_signals_new(struct loop_signals **ret, struct loop *loop, const int *sigs,
                     loop_signal_fn fn, void *ctx, struct err *err);
struct loop_signals *loop_signals_free(struct loop_signals *s);

/* How a process ended; for a process that is not our child only `known` = false. */
struct loop_exit {
    bool known;
    int exit_code; /* valid when signal == 0 */
    int signal;    /* 0 or the signal that killed it */
};
/*
 * Watches a process by pidfd; works for processes that are not our children. A child of ours is
 * reaped just before the callback, which comes once. loop_child_free() neither kills nor reaps.
 */
typedef void (*loop_child_fn)(void *ctx, const struct loop_exit *exit);
struct loop_child;
int loop_child_new(struct loop_child **ret, struct loop *loop, pid_t pid, loop_child_fn fn,
                   void *ctx, struct err *err);
/* Takes over an already open pidfd (e.g. SO_PEERPIDFD). */
int loop_child_new_pidfd(struct loop_child **ret, struct loop *loop, int pidfd_take, pid_t pid,
                         loop_child_fn fn, void *ctx, struct err *err);
pid_t loop_child_pid(const struct loop_child *c);
bool loop_child_exited(const struct loop_child *c);
int loop_child_kill(struct loop_child *c, int sig); /* by pidfd: never another process */
struct loop_child *loop_child_free(struct loop_child *c);
/* Reaps every dead child of this process that no loop_child watches (PID 1 duty). */
void loop_reap_orphans(struct loop *loop);

/*
 * Blocking work on the thread pool: `run` runs on another thread and touches only `ctx`; `done`
 * comes on the loop's thread. Not cancellable; at most 64 queued, then -ERR_UNAVAILABLE.
 */
int loop_work(struct loop *loop, loop_fn run, loop_fn done, void *ctx, struct err *err);

DEFINE_CLEANUP(struct loop *, loop_free)
DEFINE_CLEANUP(struct loop_timer *, loop_timer_free)
DEFINE_CLEANUP(struct loop_poll *, loop_poll_free)
DEFINE_CLEANUP(struct loop_child *, loop_child_free)
