#pragma once
#include "kernel-runner/exec/exec_queue.h"
#include "kernel-runner/files/file_root.h"
#include "kernel-runner/kernel/kernel_table.h"
#include "lib/metrics/metrics.h"

/*
 * One sandbox from the inside: who it belongs to, its kernels with their queues, its files, its
 * clocks. Everything that outlives a controller is here.
 */
struct runner;

struct runner_cfg {
    char id[ID_SANDBOX_SIZE];
    struct kernel_cfg kernel;
    const char *files_dir;
    uint64_t files_max_bytes;
    uint64_t memory_bytes;
    const struct mem_cgroup *cgroup; /* borrowed; NULL: memory is counted by the watchdog */
    uint64_t output_bytes;           /* per execution */
    uint64_t total_output_bytes;     /* per sandbox */
    uint64_t held_bytes;             /* of what callers make it hold, beside the logs */
    int spill_dir_fd;                /* taken over; -1: none */
    int64_t exec_timeout_ms, idle_timeout_ms, unclaimed_timeout_ms;
    bool idle_counts_connections;                   /* attached clients keep it from idling out */
    void (*on_expired)(void *ctx, const char *why); /* the sandbox's time is over */
    void *ctx;
};

enum runner_metric {
    RUNNER_M_EXECUTIONS,
    RUNNER_M_EXECUTION_SECONDS,
    RUNNER_M_KERNEL_DEATHS,
    RUNNER_M_QUEUED,
    RUNNER_M_READERS,
    RUNNER_M_CLIENTS,
    RUNNER_M_CLIENT_DROPPED,
    RUNNER_M_HELD,
    RUNNER_M_HELD_REFUSED,
    RUNNER_M_LOGS_MEMORY,
    RUNNER_M_LOGS_FILES,
    RUNNER_M_COUNT
};

int runner_new(struct runner **ret, struct loop *loop, const struct runner_cfg *cfg,
               struct err *err);
/* Every execution has ended (`cancelled`) and every kernel is killed when this returns. */
struct runner *runner_free(struct runner *r);
/* The first half of it: ends executions, so that their readers get `done`; takes no new ones. */
void runner_drain(struct runner *r);

/* The front door's own object, for its callbacks, whose ctx is the runner; borrowed. */
void runner_set_door(struct runner *r, void *door);
void *runner_door(struct runner *r);
struct loop *runner_loop(struct runner *r);
struct exec_store *runner_execs(struct runner *r);
struct kernel_table *runner_kernels(struct runner *r);
struct metrics *runner_metrics(struct runner *r);
struct file_root *runner_file_root(struct runner *r);
struct mem_budget *runner_budget(struct runner *r); /* accounts: held.h */

/* The queue of a kernel id; NULL id: the main one. -ERR_NOT_FOUND. */
int runner_queue(struct runner *r, const char *id, struct exec_queue **ret, struct err *err);
int runner_add_kernel(struct runner *r, const char *cwd, json_t *env, struct kernel **ret,
                      struct err *err);
/* Ends a further kernel and its executions; -ERR_CONFLICT for the main one. */
int runner_remove_kernel(struct runner *r, const char *id, struct err *err);

/*
 * Runs an id once. 0: queued; RUNNER_REPEATED: the same request came before, *ret is its execution.
 * ERR_CONFLICT: the id was used with another body. request_take is consumed in every case.
 */
enum { RUNNER_REPEATED = 2 }; /* not EXEC_UNKNOWN, which it stands beside */
int runner_execute(struct runner *r, const char *id, const char *body_hash,
                   struct exec_request *request_take, struct exec **ret, struct err *err);

/*
 * POST /claim gives a warm sandbox its identity, once, and starts its clocks. The body:
 *
 *   {"claim_id", "owner", "name"?, "labels"?{}, "env"?{}, "idempotency_key"?, "session_id"?,
 *    "exec_timeout_s"?, "idle_timeout_s"?, "max_lifetime_s"?}
 *
 * `claim_id` (1 to IDENTITY_CLAIM_ID_MAX bytes) is the controller's, new for each claim that it
 * makes and the same when it sends that claim again: the same body has the same answer, 200 with
 * the sandbox. Every other claim is ERR_CONFLICT, whose problem has one more member,
 *
 *   "claim": {"claim_id", "owner", "name", "idempotency_key", "session_id"}    (null: none)
 *
 * so that a controller learns whose the sandbox is; GET /sandbox has `claim_id`, too. A claim
 * without an id is told apart by the rest of its body.
 */
int runner_claim(struct runner *r, const json_t *body, struct err *err);
json_t *runner_claim_json(const struct runner *r);               /* that member; caller owns */
json_t *runner_sandbox_json(struct runner *r, bool with_kernel); /* caller owns */
/* The sandbox's time is over: ends the runner, as the clocks do. */
void runner_end(struct runner *r, const char *why);
int runner_spill_dir(const struct runner *r); /* borrowed; -1: none */
const char *runner_id(const struct runner *r);
int64_t runner_created_at(const struct runner *r);     /* wall µs */
int64_t runner_last_activity(const struct runner *r);  /* wall µs */
const json_t *runner_identity(const struct runner *r); /* what the claim said; borrowed */
json_t *runner_labels(struct runner *r);               /* borrowed; may be changed */
unsigned runner_next_session(struct runner *r);        /* 0…4095, round and round */
/* What serves Jupyter clients (attach.h); borrowed. */
void runner_set_attach(struct runner *r, void *attach);
void *runner_attach(struct runner *r);
void runner_client_came(struct runner *r); /* a Jupyter client's connection */
void runner_client_left(struct runner *r);
/* A request that is not a GET, or a notebook's message: the idle clock starts anew. */
void runner_touch(struct runner *r);
