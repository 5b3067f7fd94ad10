/*
 * The kernel state machine and what happens on its edges. Messages of the process go to the
 * listeners, except the answers to our own silent requests, whose ids begin with `own_id`: random,
 * so that no client's request is taken for one.
 */
#include "kernel-runner/kernel/kernel.h"

#include "kernel-runner/kernel/kernel_clearing.h"
#include "kernel-runner/kernel/kernel_listeners.h"
#include "kernel-runner/kernel/kernel_process.h"
#include "kernel-runner/kernel/kernel_waits.h"
#include "kernel-runner/kernel/kernel_words.h"
#include "kernel-runner/kernel/proc_table.h"
#include "lib/api/limits.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

#define OWN_ID_SIZE 24
#define OWN_WAIT_MS 5000 /* for our own requests; what waits for them goes on all the same */

struct kernel {
    struct loop *loop;
    struct jp_context *jupyter;
    const struct kernel_cfg *cfg;
    char id[ID_UUID_SIZE];
    char *cwd;
    json_t *env;
    size_t (*others)(void *ctx, const struct kernel *self, pid_t *out, size_t max);
    bool (*was_oom)(void *ctx);
    void *others_ctx;
    struct kernel_listeners listeners;
    char own_id[OWN_ID_SIZE];

    enum kernel_state state;
    unsigned generation;
    int64_t execution_count;
    struct kernel_proc *proc;
    struct kernel_death death;        /* of the process that ended, while its remains are cleared */
    struct kernel_clearing *clearing; /* NULL: none is under way */
    bool oom;
    bool wanted_stop;
    bool final; /* no process follows the one that ends */
    bool ended;
    bool ever_ready;
    bool probing;
    char session[JP_ID_SIZE];
    int64_t last_activity_at;
    int64_t deaths_ms[KERNEL_DEATHS_MAX];
    unsigned n_deaths;
    char *words;

    unsigned own_pending; /* requests of ours that are under way: not settled before */
    struct loop_timer *own_timer;
    struct loop_timer *exit_timer; /* kernel_expect_exit() */
    struct loop_defer *settled;
    struct kernel_waits waits;
};

static void move(struct kernel *k, enum kernel_event ev)
{
    int next = kernel_state_next(k->state, ev);
    if (next < 0) {
        log_event(LOG_WARN, "kernel_event_unexpected", "kernel", k->id, "state",
                  kernel_state_name(k->state), "what", kernel_event_name(ev), NULL);
        assert(!"unexpected kernel event");
        return;
    }
    if ((enum kernel_state)next == k->state)
        return;
    bool chatty = ev == KERNEL_EV_BUSY || ev == KERNEL_EV_IDLE;
    log_event(chatty ? LOG_DEBUG : LOG_INFO, "kernel", "kernel", k->id, "from",
              kernel_state_name(k->state), "to", kernel_state_name((enum kernel_state)next), "by",
              kernel_event_name(ev), NULL);
    k->state = (enum kernel_state)next;
    loop_defer_post(k->settled);
}

static bool is_settled(const struct kernel *k)
{
    return k->state == KERNEL_DEAD || (kernel_state_live(k->state) && k->own_pending == 0);
}

static void tell_settled(void *ctx)
{
    struct kernel *k = ctx;
    if (is_settled(k))
        kernel_waits_end(&k->waits);
}

struct kernel_wait *kernel_wait_settled(struct kernel *k, void (*fn)(void *ctx), void *ctx)
{
    loop_defer_post(k->settled);
    return kernel_waits_add(&k->waits, k->loop, fn, ctx);
}

/* ---- messages ---- */

static void note_status(struct kernel *k, const struct jp_msg *msg)
{
    struct slice state = jsonx_find(msg->content, "execution_state");
    if (!kernel_state_follows(msg->parent_type) || !kernel_state_live(k->state))
        return;
    if (slice_eq_str(state, "\"busy\""))
        move(k, KERNEL_EV_BUSY);
    else if (slice_eq_str(state, "\"idle\""))
        move(k, KERNEL_EV_IDLE);
}

static void note_count(struct kernel *k, const struct jp_msg *msg)
{
    jsonx_uint(jsonx_find(msg->content, "execution_count"), &k->execution_count);
}

static void own_over(void *ctx)
{
    struct kernel *k = ctx;
    k->own_pending = 0;
    loop_timer_stop(k->own_timer);
    loop_defer_post(k->settled);
}

/* An answer to a request of ours. */
static void on_own_msg(struct kernel *k, const struct jp_msg *msg)
{
    if (msg->kind == JP_EXECUTE_REPLY && k->own_pending && --k->own_pending == 0)
        own_over(k);
    if (msg->kind == JP_KERNEL_INFO_REPLY && k->probing) {
        k->probing = false;
        kernel_tell_probed(&k->listeners);
    }
}

static void on_proc_msg(void *ctx, const struct jp_msg *msg)
{
    struct kernel *k = ctx;
    if (strncmp(msg->parent_id, k->own_id, strlen(k->own_id)) == 0) {
        on_own_msg(k, msg);
        return;
    }
    kernel_touch(k);
    if (msg->kind == JP_STATUS)
        note_status(k, msg);
    if (msg->kind == JP_EXECUTE_INPUT || msg->kind == JP_EXECUTE_REPLY)
        note_count(k, msg);
    kernel_tell_msg(&k->listeners, msg);
}

/* ---- our own requests ---- */

static char *own_id(const struct kernel *k, const char *what)
{
    return mem_printf("%s%s", k->own_id, what);
}

static void send_own(struct kernel *k, const char *what, const char *code, bool silent)
{
    _cleanup_(freep) char *id = own_id(k, what);
    _cleanup_(json_decrefp) json_t *content =
        json_pack("{s:s, s:b, s:b, s:{}, s:b, s:b}", "code", code, "silent", (int)silent,
                  "store_history", 0, "user_expressions", "allow_stdin", 0, "stop_on_error", 0);
    _cleanup_(mem_free_secretp) char *text = jsonx_dump(content);
    struct jp_send send = {.channel = JP_SHELL,
                           .msg_type = "execute_request",
                           .msg_id = id,
                           .content = slice_str(text)};
    if (kernel_send(k, &send, NULL) < 0)
        return; /* it is down: the next process gets variables at its start */
    k->own_pending++;
    loop_timer_start(k->own_timer, OWN_WAIT_MS, 0);
}

bool kernel_probe(struct kernel *k)
{
    if (k->probing)
        return false;
    _cleanup_(freep) char *id = own_id(k, "probe");
    struct jp_send send = {.channel = JP_SHELL, .msg_type = "kernel_info_request", .msg_id = id};
    k->probing = kernel_send(k, &send, NULL) == 0;
    return k->probing;
}

void kernel_withdraw(struct kernel *k, const char *msg_id)
{
    _cleanup_(freep) char *id = own_id(k, "withdraw");
    _cleanup_(json_decrefp) json_t *content = json_pack("{s:s}", "msg_id", msg_id);
    _cleanup_(freep) char *text = jsonx_dump(content);
    struct jp_send send = {.channel = JP_CONTROL,
                           .msg_type = "withdraw_request",
                           .msg_id = id,
                           .content = slice_str(text)};
    kernel_send(k, &send, NULL); /* a process that has ended runs nothing */
}

/* ---- life and death of the process ---- */

static void on_proc_ready(void *ctx);
static void on_proc_ended(void *ctx, const struct loop_exit *exit);

static char **env_vector(const json_t *env)
{
    char **v = MEM_NEW_N(char *, json_object_size(env) + 1);
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)env, key, value)
        v[n++] = mem_printf("%s=%s", key, json_string_value(value));
    return v;
}

static void env_vector_free(char **v)
{
    for (size_t i = 0; v[i]; i++)
        mem_free_secret(v[i]);
    free(v);
}

/* Why the process is down, where it was never up: how it ended when it did not say. */
static void set_words(struct kernel *k, const struct loop_exit *exit)
{
    free(k->words);
    k->words = kernel_words_of(kernel_proc_words(k->proc), k->ever_ready, exit);
}

/* Starts a process; when that cannot even be tried, the kernel is dead with the reason. */
static bool spawn(struct kernel *k)
{
    char **env = env_vector(k->env);
    struct kernel_process_cfg cfg = {.loop = k->loop,
                                     .jupyter = k->jupyter,
                                     .kernel = k->cfg,
                                     .cwd = k->cwd ? k->cwd : k->cfg->cwd,
                                     .env = (const char *const *)env,
                                     .on_msg = on_proc_msg,
                                     .on_ready = on_proc_ready,
                                     .on_ended = on_proc_ended,
                                     .ctx = k};
    struct err err;
    int r = kernel_proc_start(&k->proc, &cfg, &err);
    env_vector_free(env);
    if (r == 0)
        return true;
    free(k->words);
    k->words = kernel_words_clean(err.text);
    log_event(LOG_ERROR, "kernel_start_failed", "kernel", k->id, "error", err.text, NULL);
    return false;
}

static void on_proc_ready(void *ctx)
{
    struct kernel *k = ctx;
    k->ever_ready = true;
    memcpy(k->session, kernel_proc_session(k->proc), sizeof(k->session));
    kernel_touch(k);
    move(k, KERNEL_EV_READY);
    /* The first cell of a process costs IPython 10 ms of imports: ours is the first. */
    send_own(k, "first", "None", /* silent= */ false);
    kernel_tell_ready(&k->listeners);
}

static bool too_many_deaths(struct kernel *k)
{
    int64_t now = loop_now_ms(k->loop);
    k->deaths_ms[k->n_deaths % KERNEL_DEATHS_MAX] = now;
    k->n_deaths++;
    if (k->n_deaths < KERNEL_DEATHS_MAX)
        return false;
    int64_t oldest = k->deaths_ms[k->n_deaths % KERNEL_DEATHS_MAX];
    return now - oldest <= KERNEL_DEATHS_WINDOW_MS;
}

static size_t living_others(struct kernel *k, pid_t keep[LIMIT_KERNELS])
{
    return k->others ? k->others(k->others_ctx, k, keep, LIMIT_KERNELS) : 0;
}

/* Returns how many other kernels live. */
static size_t sweep(struct kernel *k, pid_t dead)
{
    pid_t keep[LIMIT_KERNELS];
    size_t n = living_others(k, keep);
    proc_sweep(k->cfg->is_init, dead, keep, n);
    return n;
}

static void next_process(struct kernel *k, bool give_up)
{
    k->generation++;
    k->execution_count = 0;
    k->own_pending = 0;
    k->probing = false;
    loop_timer_stop(k->own_timer);
    loop_timer_stop(k->exit_timer);
    move(k, !give_up && spawn(k) ? KERNEL_EV_EXIT : KERNEL_EV_GIVE_UP);
}

/* All that it left is gone: the next one may start. */
static void after_process(struct kernel *k)
{
    struct kernel_death death = k->death;
    k->proc = kernel_proc_free(k->proc);
    bool give_up = k->final || !k->ever_ready || (!death.wanted && too_many_deaths(k));
    k->ended = k->final;
    k->oom = k->wanted_stop = k->final = false;
    next_process(k, give_up);
    kernel_tell_down(&k->listeners, &death);
}

static void on_cleared(void *ctx)
{
    struct kernel *k = ctx;
    k->clearing = NULL;
    after_process(k);
}

/* Before the next process starts, so that nothing of that one can be taken for the dead one's. */
static bool start_clearing(struct kernel *k, size_t n_others)
{
    struct kernel_clearing_start start = {
        .loop = k->loop, .kernel_id = k->id, .n_others = n_others, .done = on_cleared, .ctx = k};
    if (k->cfg->is_init)
        k->clearing = kernel_clearing_start(&start);
    return k->clearing;
}

static void on_proc_ended(void *ctx, const struct loop_exit *exit)
{
    struct kernel *k = ctx;
    if (!k->wanted_stop && exit->signal == SIGKILL && k->was_oom && k->was_oom(k->others_ctx))
        k->oom = true;
    k->death = (struct kernel_death){.wanted = k->wanted_stop && !k->oom,
                                     .oom = k->oom,
                                     .signal = exit->signal,
                                     .exit_code = exit->exit_code,
                                     .generation = k->generation};
    if (!k->death.wanted)
        set_words(k, exit);
    size_t n_others = sweep(k, kernel_proc_pid(k->proc));
    if (!start_clearing(k, n_others))
        after_process(k);
}

static void stop(struct kernel *k)
{
    if (k->state == KERNEL_STOPPING)
        return;
    k->wanted_stop = true;
    /* What it started goes first: among many that spin, it would take seconds to come to its end.
     */
    pid_t keep[LIMIT_KERNELS];
    if (kernel_proc_alive(k->proc))
        proc_sweep_once(k->cfg->is_init, kernel_proc_pid(k->proc), keep, living_others(k, keep));
    kernel_proc_kill(k->proc);
    move(k, KERNEL_EV_STOP);
}

void kernel_restart(struct kernel *k)
{
    k->final = k->ended = false;
    if (k->state != KERNEL_DEAD) {
        k->ever_ready = true; /* a wish to restart is a wish to try again */
        stop(k);
        return;
    }
    k->n_deaths = 0;
    if (spawn(k))
        move(k, KERNEL_EV_REVIVE);
    else
        loop_defer_post(k->settled);
}

void kernel_end(struct kernel *k)
{
    k->ended = k->state == KERNEL_DEAD;
    if (k->ended)
        return;
    k->final = true;
    stop(k);
}

static void exit_is_late(void *ctx)
{
    struct kernel *k = ctx;
    if (k->proc && k->state != KERNEL_DEAD)
        stop(k);
}

void kernel_expect_exit(struct kernel *k, bool restart)
{
    if (!k->proc || !kernel_state_live(k->state))
        return;
    k->wanted_stop = true;
    k->final = !restart;
    loop_timer_start(k->exit_timer, KERNEL_SHUTDOWN_MS, 0);
}

void kernel_kill_oom(struct kernel *k)
{
    if (!k->proc || k->state == KERNEL_STOPPING)
        return;
    k->oom = true;
    stop(k);
}

void kernel_interrupt(struct kernel *k)
{
    if (k->proc && kernel_state_live(k->state))
        kernel_proc_interrupt(k->proc);
}

int kernel_send(struct kernel *k, const struct jp_send *send, struct err *err)
{
    if (!kernel_state_live(k->state) || !kernel_proc_alive(k->proc))
        return err_set(err, ERR_UNAVAILABLE, "the kernel is %s", kernel_state_name(k->state));
    return jp_client_send(kernel_proc_client(k->proc), send, NULL, err);
}

int kernel_forward(struct kernel *k, enum jp_channel channel, struct slice ident,
                   const struct slice frames[4], const struct slice *buffers, size_t n_buffers,
                   struct err *err)
{
    if (!kernel_state_live(k->state) || !kernel_proc_alive(k->proc))
        return err_set(err, ERR_UNAVAILABLE, "the kernel is %s", kernel_state_name(k->state));
    return jp_client_forward(kernel_proc_client(k->proc), channel, ident, frames, buffers,
                             n_buffers, err);
}

/* ---- environment ---- */

static void send_env(struct kernel *k, json_t *env)
{
    /* A JSON object of strings is also a Python dict literal. */
    char *dict = jsonx_dump(env);
    char *code = mem_printf("__import__('os').environ.update(%s)", dict);
    send_own(k, "env", code, /* silent= */ true);
    mem_free_secret(code);
    mem_free_secret(dict);
}

void kernel_set_env(struct kernel *k, json_t *env)
{
    if (json_object_size(env) == 0)
        return;
    json_object_update(k->env, env);
    if (kernel_state_live(k->state)) {
        send_env(k, env);
        return;
    }
    /* A process that is starting has the old environment: it is replaced, nothing runs on it yet.
     */
    if (k->state == KERNEL_STARTING || k->state == KERNEL_RESTARTING)
        kernel_restart(k);
}

/* ---- construction and reading ---- */

struct kernel *kernel_new(const struct kernel_start *start)
{
    struct kernel *k = MEM_NEW(struct kernel);
    k->loop = start->loop;
    k->jupyter = start->jupyter;
    k->cfg = start->cfg;
    memcpy(k->id, start->id, sizeof(k->id));
    k->cwd = mem_dup_str(start->cwd);
    k->env = start->env ? json_copy(start->env) : json_object();
    k->others = start->others;
    k->was_oom = start->was_oom;
    k->others_ctx = start->others_ctx;
    k->generation = 1;
    k->state = KERNEL_STARTING;
    k->words = mem_dup_str("");
    k->settled = loop_defer_new(k->loop, tell_settled, k);
    k->own_timer = loop_timer_new(k->loop, own_over, k);
    k->exit_timer = loop_timer_new(k->loop, exit_is_late, k);
    uint32_t random;
    crypto_random(&random, sizeof(random));
    snprintf(k->own_id, sizeof(k->own_id), "caesarion-%08x-", random);
    kernel_touch(k);
    if (!spawn(k))
        move(k, KERNEL_EV_GIVE_UP);
    return k;
}

/* What a deleted kernel leaves; a dead one's was cleared at its death. */
static void clear_deleted(struct kernel *k, pid_t pid)
{
    pid_t keep[LIMIT_KERNELS];
    struct kernel_clearing_start start = {.loop = k->loop,
                                          .kernel_id = k->id,
                                          .dying = pid,
                                          .others = keep,
                                          .n_others = living_others(k, keep)};
    if (k->cfg->is_init && !k->clearing)
        kernel_clearing_start(&start);
}

static struct kernel *discard(struct kernel *k, bool is_deleted)
{
    if (!k)
        return NULL;
    kernel_tell_gone(&k->listeners);
    pid_t pid = k->proc ? kernel_proc_pid(k->proc) : 0;
    kernel_clearing_forget(k->clearing);
    kernel_proc_free(k->proc);
    if (pid)
        sweep(k, pid);
    if (pid && is_deleted)
        clear_deleted(k, pid);
    kernel_waits_end(&k->waits);
    loop_defer_free(k->settled);
    loop_timer_free(k->own_timer);
    loop_timer_free(k->exit_timer);
    json_decref(k->env);
    free(k->cwd);
    free(k->words);
    free(k);
    return NULL;
}

struct kernel *kernel_free(struct kernel *k)
{
    return discard(k, /* is_deleted= */ false);
}

struct kernel *kernel_delete(struct kernel *k)
{
    return discard(k, /* is_deleted= */ true);
}

void kernel_listen(struct kernel *k, struct kernel_listener *l)
{
    kernel_listeners_add(&k->listeners, l);
}

void kernel_unlisten(struct kernel *k, struct kernel_listener *l)
{
    kernel_listeners_remove(&k->listeners, l);
}

const char *kernel_session(const struct kernel *k)
{
    return k->session;
}

bool kernel_is_ended(const struct kernel *k)
{
    return k->ended || k->final;
}

int64_t kernel_last_activity(const struct kernel *k)
{
    return k->last_activity_at;
}

void kernel_touch(struct kernel *k)
{
    k->last_activity_at = clk_wall_us();
}

const char *kernel_id(const struct kernel *k)
{
    return k->id;
}

enum kernel_state kernel_state(const struct kernel *k)
{
    return k->state;
}

unsigned kernel_generation(const struct kernel *k)
{
    return k->generation;
}

int64_t kernel_execution_count(const struct kernel *k)
{
    return k->execution_count;
}

pid_t kernel_pid(const struct kernel *k)
{
    return k->proc && kernel_proc_alive(k->proc) ? kernel_proc_pid(k->proc) : 0;
}

const char *kernel_last_words(const struct kernel *k)
{
    return k->words;
}

json_t *kernel_json(const struct kernel *k)
{
    return json_pack("{s:s, s:s, s:I, s:i}", "id", k->id, "state", kernel_state_name(k->state),
                     "execution_count", (json_int_t)k->execution_count, "generation",
                     (int)k->generation);
}
