#pragma once
#include "kernel-runner/exec/exec_queue.h"

/*
 * What notebook clients run on one kernel, recorded as executions: from the kernel's own words, so
 * that a request that never ran leaves no record, and a silent one (which announces no code) none
 * either. They have no queue and no timeout; every one ends by reply and idle, or with the kernel.
 */
struct exec_notebook;

#define EXEC_NOTEBOOK_RUNNING_MAX 64 /* at a time (subshells); more are not recorded */

/* The callbacks of cfg are called as for the API's executions; cfg is copied; owner cancels. */
struct exec_notebook *exec_notebook_new(const struct exec_queue_cfg *cfg, struct exec_queue *owner);
struct exec_notebook *exec_notebook_free(struct exec_notebook *n); /* ends what runs; NULL ok */

/* A message that concerns no execution of the API. */
void exec_notebook_on_msg(struct exec_notebook *n, const struct jp_msg *msg);
/*
 * Its request has had all its answers: where its reply is not known here (a flood of requests that
 * are answered before their code is announced), it ends all the same.
 */
void exec_notebook_answered(struct exec_notebook *n, const char *msg_id);
/* The kernel process ended; `error` is the text of a kernel_died. */
void exec_notebook_on_down(struct exec_notebook *n, const struct kernel_death *death,
                           const char *error);
/* A request that the process ended with; recorded unless it announced itself or is silent. */
void exec_notebook_lost(struct exec_notebook *n, const char *msg_id, struct slice content,
                        const struct kernel_death *death, const char *error);
/* The kernel was interrupted; *any* that runs may be what stops. */
void exec_notebook_interrupted(struct exec_notebook *n);
/* Interrupts e and kills the kernel when it does not stop within EXEC_KILL_GRACE_MS. */
void exec_notebook_cancel(struct exec_notebook *n, struct exec *e);
void exec_notebook_restarted(struct exec_notebook *n); /* a restart is wanted */
void exec_notebook_cancel_all(struct exec_notebook *n);
/* One is seen to run, and has answered nothing: an interrupt of this moment is for it. */
bool exec_notebook_is_at_work(const struct exec_notebook *n);
size_t exec_notebook_running(const struct exec_notebook *n);
