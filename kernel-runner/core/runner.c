/*
 * The sandbox's own state. The idle clock is one timer: when it fires, it looks whether the time
 * is really over and arms itself again otherwise, so that activity costs a store and no timer work.
 */
#include "kernel-runner/core/runner.h"

#include "kernel-runner/core/identity.h"
#include "kernel-runner/core/lifetime.h"
#include "kernel-runner/kernel/kernel_dir.h"
#include "lib/api/limits.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

#include <string.h>

struct runner {
    struct loop *loop;
    struct runner_cfg cfg;
    struct jp_context *jupyter;
    struct kernel_table *kernels;
    struct kernel_room room;
    struct exec_queue *queues[LIMIT_KERNELS];
    size_t n_queues;
    struct exec_store *execs;
    struct file_root *files;
    struct mem_budget budget;
    struct metrics *metrics;
    struct loop_timer *idle;
    bool draining;
    void *door;
    void *attach;
    unsigned n_clients, n_sessions;

    struct identity identity;
    struct lifetime lifetime;
    int64_t created_at, last_activity_at; /* wall: what is shown, never reckoned with */
    int64_t exec_timeout_ms, idle_timeout_ms;
};

static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300};
static const char *const verdicts[] = {"ok",        "error",   "timeout",     "interrupted",
                                       "cancelled", "aborted", "kernel_died", NULL};

static const char *const held_names[] = {HELD_NAMES, NULL};

static const struct metric_desc metric_table[RUNNER_M_COUNT] = {
    [RUNNER_M_EXECUTIONS] = {"caesarion_runner_executions_total", METRIC_COUNTER,
                             "Executions that ended, by verdict", "status", verdicts},
    [RUNNER_M_EXECUTION_SECONDS] = {"caesarion_runner_execution_seconds", METRIC_HISTOGRAM,
                                    "Time from start to end of executions", .buckets = seconds,
                                    .n_buckets = ARRAY_LEN(seconds)},
    [RUNNER_M_KERNEL_DEATHS] = {"caesarion_runner_kernel_died_total", METRIC_COUNTER,
                                "Executions whose kernel died"},
    [RUNNER_M_QUEUED] = {"caesarion_runner_executions_outstanding", METRIC_GAUGE,
                         "Executions running or waiting"},
    [RUNNER_M_READERS] = {"caesarion_runner_event_readers", METRIC_GAUGE, "Open streams of events"},
    [RUNNER_M_CLIENTS] = {"caesarion_runner_jupyter_clients", METRIC_GAUGE,
                          "Jupyter clients attached to kernels"},
    [RUNNER_M_HELD] = {"caesarion_runner_held_bytes", METRIC_GAUGE,
                       "Memory that callers make the runner hold", "account", held_names},
    [RUNNER_M_HELD_REFUSED] = {"caesarion_runner_held_refused_total", METRIC_COUNTER,
                               "What had no room in it", "account", held_names},
    [RUNNER_M_LOGS_MEMORY] = {"caesarion_runner_logs_memory_bytes", METRIC_GAUGE,
                              "Event logs and kept code in memory"},
    [RUNNER_M_LOGS_FILES] = {"caesarion_runner_logs_file_bytes", METRIC_GAUGE,
                             "Event logs and kept code in files"},
    [RUNNER_M_CLIENT_DROPPED] = {"caesarion_runner_jupyter_messages_dropped_total", METRIC_COUNTER,
                                 "Messages of or for Jupyter clients that could not be passed on"},
};

/* ---- clocks ---- */

void runner_touch(struct runner *r)
{
    r->lifetime.active_us = clk_mono_us();
    r->last_activity_at = clk_wall_us();
}

static size_t outstanding(const struct runner *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_queues; i++)
        n += exec_queue_outstanding(r->queues[i]);
    return r->cfg.idle_counts_connections ? n + r->n_clients : n;
}

static void arm_idle(struct runner *r)
{
    int64_t now = clk_mono_us();
    int64_t ends = lifetime_ends_us(&r->lifetime, now, outstanding(r) > 0);
    loop_timer_start(r->idle, MAX(ends - now, 0) / 1000 + 1, 0);
}

static void on_idle(void *ctx)
{
    struct runner *r = ctx;
    switch (lifetime_end(&r->lifetime, clk_mono_us(), outstanding(r) > 0)) {
    case LIFETIME_LASTS:
        arm_idle(r);
        return;
    case LIFETIME_IDLE:
        r->cfg.on_expired(r->cfg.ctx, "idle_timeout");
        return;
    case LIFETIME_MAX:
        r->cfg.on_expired(r->cfg.ctx, "max_lifetime");
        return;
    }
}

/* ---- executions ---- */

static void on_started(void *ctx, const struct exec *e)
{
    struct runner *r = ctx;
    kernel_table_hurry(r->kernels);
}

static void on_done(void *ctx, const struct exec *e)
{
    struct runner *r = ctx;
    runner_touch(r);
    int series = metrics_series(r->metrics, RUNNER_M_EXECUTIONS, e->status);
    if (series >= 0)
        metrics_count(r->metrics, RUNNER_M_EXECUTIONS, (unsigned)series, 1);
    if (exec_duration_ms(e) >= 0)
        metrics_observe(r->metrics, RUNNER_M_EXECUTION_SECONDS, 0, exec_duration_ms(e) / 1000);
    if (strcmp(e->status, "kernel_died") == 0)
        metrics_count(r->metrics, RUNNER_M_KERNEL_DEATHS, 0, 1);
}

static void on_rest(void *ctx)
{
    runner_touch(ctx);
}

static int queue_index(const struct runner *r, const char *id)
{
    for (size_t i = 0; i < r->n_queues; i++)
        if (!id || strcmp(kernel_id(exec_queue_kernel(r->queues[i])), id) == 0)
            return (int)i;
    return -1;
}

int runner_queue(struct runner *r, const char *id, struct exec_queue **ret, struct err *err)
{
    int i = queue_index(r, id);
    if (i < 0)
        return err_set(err, ERR_NOT_FOUND, "there is no kernel \"%.40s\" in this sandbox",
                       id ? id : "");
    *ret = r->queues[i];
    return 0;
}

static int find_repeated(struct runner *r, const char *id, const char *body_hash, struct exec **ret,
                         struct err *err)
{
    int e = exec_store_lookup(r->execs, id, ret, err);
    if (e != 0)
        return e;
    if (strcmp((*ret)->body_hash, body_hash) == 0)
        return RUNNER_REPEATED;
    return err_set(err, ERR_CONFLICT,
                   "execution %s was asked for before with another body; use a new key for a new "
                   "request",
                   id);
}

int runner_execute(struct runner *r, const char *id, const char *body_hash,
                   struct exec_request *request_take, struct exec **ret, struct err *err)
{
    _cleanup_(exec_request_freep) struct exec_request *request = request_take;
    int e = find_repeated(r, id, body_hash, ret, err);
    if (e != EXEC_UNKNOWN)
        return e;
    if (r->draining)
        return err_set(err, ERR_UNAVAILABLE, "the sandbox is ending");
    struct exec_queue *q = NULL;
    e = runner_queue(r, request->kernel_id, &q, err);
    if (e < 0)
        return e;
    if ((e = exec_request_hold(request, &r->budget, err)) < 0)
        return e;
    struct exec *exec = exec_store_add(r->execs, id, body_hash, TAKE_PTR(request));
    e = exec_queue_push(q, exec, r->exec_timeout_ms, err);
    if (e < 0) {
        exec_store_forget(r->execs, exec);
        return e;
    }
    *ret = exec;
    return 0;
}

/* ---- kernels ---- */

int runner_add_kernel(struct runner *r, const char *cwd, json_t *env, struct kernel **ret,
                      struct err *err)
{
    int e = kernel_table_add(r->kernels, cwd, env, ret, err);
    if (e < 0)
        return e;
    struct exec_queue_cfg cfg = {.loop = r->loop,
                                 .store = r->execs,
                                 .kernel = exec_kernel_of(*ret),
                                 .on_started = on_started,
                                 .on_done = on_done,
                                 .on_rest = on_rest,
                                 .ctx = r};
    r->queues[r->n_queues++] = exec_queue_new(&cfg);
    return 0;
}

int runner_remove_kernel(struct runner *r, const char *id, struct err *err)
{
    int i = queue_index(r, id);
    if (i < 0)
        return err_set(err, ERR_NOT_FOUND, "there is no kernel \"%.40s\" in this sandbox", id);
    if (i == 0)
        return err_set(err, ERR_CONFLICT,
                       "the main kernel cannot be deleted: delete the sandbox, or restart the "
                       "kernel");
    struct kernel *k = exec_queue_kernel(r->queues[i]);
    exec_queue_free(r->queues[i]);
    memmove(&r->queues[i], &r->queues[i + 1], (r->n_queues - (size_t)i - 1) * sizeof(*r->queues));
    r->n_queues--;
    kernel_table_remove(r->kernels, k);
    return 0;
}

/* ---- identity ---- */

static int get_timeouts(const json_t *body, int64_t *exec_ms, int64_t *idle_ms, int64_t *max_ms,
                        struct err *err)
{
    int e = jsonx_get_seconds(body, "exec_timeout_s", LIMIT_TIMEOUT_S, exec_ms, err);
    if (e < 0 ||
        (e = jsonx_get_seconds(body, "idle_timeout_s", LIMIT_LIFETIME_S, idle_ms, err)) < 0)
        return e;
    return jsonx_get_seconds(body, "max_lifetime_s", LIMIT_LIFETIME_S, max_ms, err);
}

int runner_claim(struct runner *r, const json_t *body, struct err *err)
{
    int e = identity_check(&r->identity, body, err);
    if (e != 0)
        return MIN(e, 0);
    json_t *env = NULL;
    int64_t exec_ms = r->exec_timeout_ms, idle_ms = r->idle_timeout_ms, max_ms = 0;
    e = jsonx_get_string_map(body, "env", LIMIT_ENV_ENTRIES, LIMIT_ENV_VALUE_BYTES, &env, err);
    if (e < 0 || (e = get_timeouts(body, &exec_ms, &idle_ms, &max_ms, err)) < 0)
        return e;
    identity_take(&r->identity, body);
    r->exec_timeout_ms = exec_ms;
    r->idle_timeout_ms = idle_ms;
    r->lifetime =
        (struct lifetime){.idle_ms = idle_ms, .max_ms = max_ms, .begun_us = clk_mono_us()};
    r->created_at = clk_wall_us();
    runner_touch(r);
    arm_idle(r);
    if (env)
        kernel_table_set_env(r->kernels, env);
    return 0;
}

json_t *runner_claim_json(const struct runner *r)
{
    static const char *const told[] = {"claim_id", "owner", "name", "idempotency_key",
                                       "session_id"};
    json_t *j = json_object();
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        json_object_set_new(j, told[i], identity_member(&r->identity, told[i]));
    return j;
}

static json_t *time_json(int64_t at)
{
    char text[CLK_RFC3339_SIZE];
    return json_string(clk_rfc3339(at, text));
}

/* Whole seconds as an integer: what people wrote is what they read. */
static json_t *seconds_json(int64_t ms)
{
    return ms % 1000 ? json_real((double)ms / 1000) : json_integer(ms / 1000);
}

/* When it ends if nothing more happens. */
static json_t *expiry_json(struct runner *r)
{
    int64_t now = clk_mono_us();
    int64_t ends = lifetime_ends_us(&r->lifetime, now, outstanding(r) > 0);
    return time_json(lifetime_shown(&r->lifetime, ends, now, clk_wall_us()));
}

json_t *runner_sandbox_json(struct runner *r, bool with_kernel)
{
    json_t *j = json_object();
    json_object_set_new(j, "id", json_string(r->cfg.id));
    json_object_set_new(j, "name", identity_member(&r->identity, "name"));
    json_object_set_new(j, "owner", identity_member(&r->identity, "owner"));
    json_object_set_new(j, "status", json_string("ready"));
    json_object_set_new(j, "ready", json_true());
    json_object_set_new(j, "created_at", time_json(r->created_at));
    json_object_set_new(j, "last_activity_at", time_json(r->last_activity_at));
    json_object_set_new(j, "expires_at", expiry_json(r));
    json_object_set_new(j, "session_id", identity_member(&r->identity, "session_id"));
    json_object_set(j, "labels", runner_labels(r));
    json_object_set_new(j, "exec_timeout_s", seconds_json(r->exec_timeout_ms));
    json_object_set_new(j, "idle_timeout_s", seconds_json(r->idle_timeout_ms));
    json_object_set_new(j, "max_lifetime_s",
                        r->lifetime.max_ms ? seconds_json(r->lifetime.max_ms) : json_null());
    json_object_set_new(j, "claimed", json_boolean(identity_claimed(&r->identity)));
    json_object_set_new(j, "claim_id", identity_member(&r->identity, "claim_id"));
    json_object_set_new(j, "idempotency_key", identity_member(&r->identity, "idempotency_key"));
    if (with_kernel)
        json_object_set_new(j, "kernel", kernel_json(kernel_table_main(r->kernels)));
    return j;
}

/* ---- construction ---- */

/* Budget and logs, each below its ceiling. */
static uint64_t held_bytes(void *ctx)
{
    const struct runner *r = ctx;
    return r->budget.used_bytes + (r->execs ? exec_store_logs(r->execs)->memory_bytes : 0);
}

static int start(struct runner *r, struct err *err)
{
    const struct runner_cfg *cfg = &r->cfg;
    int e = file_root_new(&r->files, r->loop, cfg->files_dir, cfg->files_max_bytes, err);
    if (e < 0 || (e = jp_context_new(&r->jupyter, r->loop, err)) < 0)
        return e;
    r->cfg.kernel.room = &r->room;
    struct kernel_table_cfg table = {.loop = r->loop,
                                     .jupyter = r->jupyter,
                                     .kernel = &r->cfg.kernel,
                                     .memory_bytes = cfg->memory_bytes,
                                     .cgroup = cfg->cgroup,
                                     .held = held_bytes,
                                     .held_ctx = r};
    memcpy(table.sandbox_id, cfg->id, sizeof(table.sandbox_id));
    e = kernel_table_new(&r->kernels, &table, err);
    if (e < 0)
        return e;
    struct exec_store_cfg execs = {
        .loop = r->loop,
        .spill_dir_fd = cfg->spill_dir_fd,
        .limits = {.output_bytes = cfg->output_bytes, .budget = &r->budget},
        .total_output_bytes = cfg->total_output_bytes};
    r->execs = exec_store_new(&execs);
    struct kernel *k;
    return runner_add_kernel(r, NULL, NULL, &k, err);
}

int runner_new(struct runner **ret, struct loop *loop, const struct runner_cfg *cfg,
               struct err *err)
{
    struct runner *r = MEM_NEW(struct runner);
    r->loop = loop;
    r->cfg = *cfg;
    identity_init(&r->identity);
    r->budget.max_bytes = cfg->held_bytes;
    r->metrics = metrics_new(metric_table, RUNNER_M_COUNT);
    r->exec_timeout_ms = cfg->exec_timeout_ms;
    r->idle_timeout_ms = cfg->idle_timeout_ms;
    r->lifetime =
        (struct lifetime){.idle_ms = cfg->unclaimed_timeout_ms, .begun_us = clk_mono_us()};
    r->created_at = clk_wall_us();
    runner_touch(r);
    r->idle = loop_timer_new(loop, on_idle, r);
    int e = start(r, err);
    if (e < 0) {
        runner_free(r);
        return e;
    }
    arm_idle(r);
    *ret = r;
    return 0;
}

void runner_drain(struct runner *r)
{
    r->draining = true;
    for (size_t i = 0; i < r->n_queues; i++)
        exec_queue_cancel_all(r->queues[i]);
}

struct runner *runner_free(struct runner *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n_queues; i++)
        exec_queue_free(r->queues[i]);
    kernel_table_free(r->kernels);
    kernel_room_give(&r->room);
    exec_store_free(r->execs);
    jp_context_free(r->jupyter);
    file_root_free(r->files);
    metrics_free(r->metrics);
    loop_timer_free(r->idle);
    identity_done(&r->identity);
    if (r->cfg.spill_dir_fd >= 0)
        close(r->cfg.spill_dir_fd);
    free(r);
    return NULL;
}

struct loop *runner_loop(struct runner *r)
{
    return r->loop;
}

struct exec_store *runner_execs(struct runner *r)
{
    return r->execs;
}

struct kernel_table *runner_kernels(struct runner *r)
{
    return r->kernels;
}

static void show_held(struct runner *r)
{
    struct metrics *m = r->metrics;
    for (unsigned i = 0; i < HELD_MAX; i++) {
        const struct mem_account *a = &r->budget.accounts[i];
        metrics_set(m, RUNNER_M_HELD, i, (double)a->used_bytes);
        metrics_count(m, RUNNER_M_HELD_REFUSED, i,
                      a->refused - (uint64_t)metrics_value(m, RUNNER_M_HELD_REFUSED, i));
    }
    const struct spill_store *logs = exec_store_logs(r->execs);
    metrics_set(m, RUNNER_M_LOGS_MEMORY, 0, (double)logs->memory_bytes);
    metrics_set(m, RUNNER_M_LOGS_FILES, 0, (double)logs->file_bytes);
}

struct mem_budget *runner_budget(struct runner *r)
{
    return &r->budget;
}

struct metrics *runner_metrics(struct runner *r)
{
    metrics_set(r->metrics, RUNNER_M_QUEUED, 0, (double)outstanding(r));
    show_held(r);
    return r->metrics;
}

struct file_root *runner_file_root(struct runner *r)
{
    return r->files;
}

void runner_end(struct runner *r, const char *why)
{
    r->cfg.on_expired(r->cfg.ctx, why);
}

int runner_spill_dir(const struct runner *r)
{
    return r->cfg.spill_dir_fd;
}

const char *runner_id(const struct runner *r)
{
    return r->cfg.id;
}

int64_t runner_created_at(const struct runner *r)
{
    return r->created_at;
}

int64_t runner_last_activity(const struct runner *r)
{
    return r->last_activity_at;
}

const json_t *runner_identity(const struct runner *r)
{
    return r->identity.members;
}

json_t *runner_labels(struct runner *r)
{
    json_t *labels = json_object_get(r->identity.members, "labels");
    if (labels)
        return labels;
    labels = json_object();
    json_object_set_new(r->identity.members, "labels", labels);
    return labels;
}

unsigned runner_next_session(struct runner *r)
{
    return r->n_sessions++ & 0xFFFU;
}

void runner_set_attach(struct runner *r, void *attach)
{
    r->attach = attach;
}

void *runner_attach(struct runner *r)
{
    return r->attach;
}

void runner_client_came(struct runner *r)
{
    r->n_clients++;
    metrics_add(r->metrics, RUNNER_M_CLIENTS, 0, 1);
}

void runner_client_left(struct runner *r)
{
    r->n_clients--;
    metrics_add(r->metrics, RUNNER_M_CLIENTS, 0, -1);
    if (r->cfg.idle_counts_connections)
        runner_touch(r);
}

void runner_set_door(struct runner *r, void *door)
{
    r->door = door;
}

void *runner_door(struct runner *r)
{
    return r->door;
}
