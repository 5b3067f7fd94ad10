/*
 * Invariants: `current` is the one execution sent to the kernel and not done; the others wait in
 * `waiting`. The timer serves the current one: start grace, then its deadline, then the kill grace.
 *
 * SIGINT and ipykernel: it handles SIGINT only while it runs a request, and publishes execute_input
 * right after installing that handler. An interrupt that comes earlier would be lost, so it is
 * kept until execute_input was seen.
 *
 * The channels are separate connections: a request for input can overtake the IOPub messages that
 * the same cell sent before it. It waits in `asked` until the cell is seen to run.
 *
 * A notebook's failing cell makes ipykernel abort what it has queued, for a moment after the reply,
 * too: an execution of ours that comes in that moment is aborted unrun, and is sent again.
 */
#include "kernel-runner/exec/exec_queue.h"

#include "kernel-runner/exec/exec_notebook.h"
#include "lib/api/limits.h"
#include "lib/base/buf.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <utlist.h>

struct exec_queue {
    struct exec_queue_cfg cfg;
    struct kernel_listener listener;
    struct exec_notebook *notebook;
    struct exec *current;
    struct exec *waiting;
    unsigned n_waiting;
    struct exec_foreign foreign;
    uint64_t tickets;
    struct loop_timer *held; /* an interrupt for a notebook's cell that is not yet seen to run */
    int64_t timeout_ms;      /* of the current one */
    struct loop_timer *timer;
    bool closing;
    bool exiting; /* the process was told to end, and takes requests that it will not answer */
    bool has_asked;
    struct buf asked; /* content of an input_request that came too early */
};

#define ASKED_MAX_BYTES MIB(1)

static void pump(struct exec_queue *q);
static bool is_behind(const struct exec_queue *q, const struct exec *e);

/* ---- ends ---- */

static void settle(struct exec_queue *q, struct exec *e, const char *status, const char *error)
{
    exec_finish(e, status, error);
    e->queue = NULL;
    log_event(LOG_DEBUG, "execution_done", "execution", e->id, "status", status, NULL);
    if (q->cfg.on_done)
        q->cfg.on_done(q->cfg.ctx, e);
    exec_store_finished(q->cfg.store, e);
}

static void end_waiting(struct exec_queue *q, const char *status)
{
    while (q->waiting) {
        struct exec *e = q->waiting;
        DL_DELETE(q->waiting, e);
        q->n_waiting--;
        settle(q, e, status, NULL);
    }
}

static void end_current(struct exec_queue *q, const char *status, const char *error)
{
    struct exec *e = q->current;
    q->current = NULL;
    q->has_asked = false;
    loop_timer_stop(q->timer);
    bool abort_rest = e->request->stop_on_error &&
                      (strcmp(status, "error") == 0 || strcmp(status, "timeout") == 0);
    settle(q, e, status, error);
    if (abort_rest)
        end_waiting(q, "aborted");
}

static int send_to_kernel(struct exec_queue *q, struct exec *e);

/* Aborted by another's failure, before it ran. */
static bool was_passed_over(const struct exec *e)
{
    return e->reply_aborted && !e->got_input && e->stop == EXEC_STOP_NONE;
}

static bool send_again(struct exec_queue *q, struct exec *e)
{
    if (!was_passed_over(e) || send_to_kernel(q, e) < 0)
        return false;
    e->got_busy = e->got_reply = e->got_idle = e->reply_aborted = false;
    e->behind = q->tickets;
    return true;
}

static void check_rest(struct exec_queue *q)
{
    struct exec *e = q->current;
    if (!e->got_reply || !e->got_idle || send_again(q, e))
        return;
    exec_put_started(e);
    end_current(q, exec_verdict(e), NULL);
    pump(q);
}

/* ---- the clock of the current one ---- */

static void kill_kernel(struct exec_queue *q)
{
    end_waiting(q, "cancelled");
    kernel_restart(q->cfg.kernel);
}

/* The cell is seen to run: its execute_input came, or, as a silent one has none, its busy. */
static bool is_seen(const struct exec *e)
{
    return e->got_input || (e->request->silent && e->got_busy);
}

static void interrupt_current(struct exec_queue *q)
{
    if (is_seen(q->current))
        kernel_interrupt(q->cfg.kernel);
}

static bool escalates(enum exec_stop why)
{
    return why == EXEC_STOP_TIMEOUT || why == EXEC_STOP_CANCEL;
}

/*
 * Interrupts, and remembers why: an earlier reason stays. Behind another's request the interrupt
 * waits for its turn, and nothing is killed for what it did not do.
 */
static void stop_current(struct exec_queue *q, enum exec_stop why)
{
    struct exec *e = q->current;
    bool behind = !is_seen(e) && is_behind(q, e);
    if (e->stop == EXEC_STOP_NONE || (e->stop == EXEC_STOP_INTERRUPT && why == EXEC_STOP_CANCEL))
        e->stop = why;
    if (e->state == EXEC_SENT && !behind) {
        exec_begin(e);
        loop_timer_start(q->timer, q->timeout_ms, 0);
    }
    exec_move(e, EXEC_EV_STOP);
    interrupt_current(q);
    if (escalates(why) && !behind)
        loop_timer_start(q->timer, EXEC_KILL_GRACE_MS, 0);
}

/* Its turn has come, at the latest now. */
static void take_turn(struct exec_queue *q, struct exec *e)
{
    if (e->state == EXEC_SENT)
        loop_timer_start(q->timer, EXEC_START_GRACE_MS, 0);
    else if (e->state == EXEC_STOPPING && escalates(e->stop) && !loop_timer_active(q->timer))
        loop_timer_start(q->timer, EXEC_KILL_GRACE_MS, 0);
}

static void start_clock(struct exec_queue *q)
{
    struct exec *e = q->current;
    if (e->state != EXEC_SENT)
        return;
    exec_begin(e);
    exec_move(e, EXEC_EV_START);
    loop_timer_start(q->timer, q->timeout_ms, 0);
    if (q->cfg.on_started)
        q->cfg.on_started(q->cfg.ctx, e);
}

static void on_timer(void *ctx)
{
    struct exec_queue *q = ctx;
    struct exec *e = q->current;
    if (!e)
        return;
    switch (e->state) {
    case EXEC_SENT:
        start_clock(q);
        exec_put_started(e);
        return;
    case EXEC_RUNNING:
    case EXEC_AWAITING_INPUT:
        stop_current(q, EXEC_STOP_TIMEOUT);
        return;
    case EXEC_STOPPING:
        /* An /interrupt never kills, but its execution keeps its deadline. */
        if (e->stop == EXEC_STOP_INTERRUPT) {
            e->stop = EXEC_STOP_TIMEOUT;
            interrupt_current(q);
            loop_timer_start(q->timer, EXEC_KILL_GRACE_MS, 0);
            return;
        }
        kill_kernel(q);
        return;
    case EXEC_QUEUED:
    case EXEC_DONE:
    case EXEC_STATE_MAX:
        return;
    }
}

/* ---- sending ---- */

static int send_to_kernel(struct exec_queue *q, struct exec *e)
{
    _cleanup_(freep) char *content = exec_request_content(e->request);
    struct jp_send send = {.channel = JP_SHELL,
                           .msg_type = "execute_request",
                           .msg_id = e->id,
                           .content = slice_str(content)};
    return kernel_send(q->cfg.kernel, &send, NULL);
}

static size_t n_foreign(const struct exec_queue *q)
{
    return q->foreign.count ? q->foreign.count(q->foreign.ctx) : 0;
}

static bool is_its_turn(const struct exec_queue *q, const struct exec *e)
{
    return n_foreign(q) == 0 || q->foreign.oldest(q->foreign.ctx) > e->ticket;
}

/* Something that came later is ahead of it in the kernel's shell. */
static bool is_behind(const struct exec_queue *q, const struct exec *e)
{
    return n_foreign(q) && q->foreign.oldest(q->foreign.ctx) <= e->behind;
}

static void pump(struct exec_queue *q)
{
    struct exec *e = q->waiting;
    if (q->closing || q->exiting || q->current || !e || !is_its_turn(q, e) ||
        !kernel_state_live(kernel_state(q->cfg.kernel)))
        return;
    e->generation = kernel_generation(q->cfg.kernel);
    if (send_to_kernel(q, e) < 0)
        return; /* the process has just ended: on_down decides */
    DL_DELETE(q->waiting, e);
    q->n_waiting--;
    q->current = e;
    q->timeout_ms = e->request->timeout_ms;
    exec_move(e, EXEC_EV_SEND);
    e->behind = q->tickets;
    if (!is_behind(q, e))
        loop_timer_start(q->timer, EXEC_START_GRACE_MS, 0);
}

int exec_queue_push(struct exec_queue *q, struct exec *e, int64_t default_timeout_ms,
                    struct err *err)
{
    unsigned generation = kernel_generation(q->cfg.kernel);
    if (kernel_state(q->cfg.kernel) == KERNEL_DEAD)
        return err_set(err, ERR_KERNEL_DEAD,
                       "the kernel is dead; POST …/restart starts it again%s%s",
                       kernel_last_words(q->cfg.kernel)[0] ? ". Its last words: " : "",
                       kernel_last_words(q->cfg.kernel));
    if (e->request->generation && e->request->generation != (int64_t)generation)
        return err_set(err, ERR_GENERATION_MISMATCH,
                       "the kernel is at generation %u, not %lld: its state was reset", generation,
                       (long long)e->request->generation);
    size_t foreign = n_foreign(q);
    bool must_wait =
        q->current || q->waiting || foreign || !kernel_state_live(kernel_state(q->cfg.kernel));
    if (must_wait && q->n_waiting >= LIMIT_EXEC_QUEUE)
        return err_set(err, ERR_LIMIT, "%d executions wait for this kernel already",
                       LIMIT_EXEC_QUEUE);
    if (e->request->timeout_ms == 0)
        e->request->timeout_ms = default_timeout_ms;
    snprintf(e->kernel_id, sizeof(e->kernel_id), "%s", kernel_id(q->cfg.kernel));
    e->generation = generation;
    e->queue = q;
    e->ticket = exec_queue_ticket(q);
    DL_APPEND(q->waiting, e);
    q->n_waiting++;
    if (must_wait)
        exec_put_queued(e, q->n_waiting + (q->current || foreign ? 1 : 0));
    pump(q);
    return 0;
}

/* ---- what the kernel says ---- */

static struct exec *exec_of(struct exec_queue *q, const char *id)
{
    if (q->current && strcmp(q->current->id, id) == 0)
        return q->current;
    struct exec *e = NULL;
    if (exec_store_lookup(q->cfg.store, id, &e, NULL) != 0)
        return NULL;
    /* Only its own kernel may speak for a finished one, and nobody for one that waits. */
    bool ours = strcmp(e->kernel_id, kernel_id(q->cfg.kernel)) == 0;
    return ours && e->state == EXEC_DONE ? e : NULL;
}

static void put_input_request(struct exec_queue *q, struct slice content)
{
    struct exec *e = q->current;
    q->has_asked = false;
    if (e->state != EXEC_RUNNING && e->state != EXEC_AWAITING_INPUT)
        return;
    exec_move(e, EXEC_EV_ASK);
    exec_on_input_request(e, content);
}

static void on_stdin_request(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    if (!e->request->allow_stdin)
        return;
    if (is_seen(e)) {
        put_input_request(q, msg->content);
        return;
    }
    buf_clear(&q->asked);
    if (buf_append_slice(&q->asked, msg->content) < 0)
        buf_clear(&q->asked); /* too long a prompt is none */
    q->has_asked = true;
}

static void on_status(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    struct slice state = jsonx_find(msg->content, "execution_state");
    if (slice_eq_str(state, "\"busy\"")) {
        e->got_busy = true;
        start_clock(q);
        if (e->request->silent)
            exec_put_started(e);
        if (e->request->silent && e->state == EXEC_STOPPING) {
            take_turn(q, e);
            kernel_interrupt(q->cfg.kernel);
        }
        if (e->request->silent && q->has_asked)
            put_input_request(q, buf_slice(&q->asked));
        return;
    }
    if (!slice_eq_str(state, "\"idle\""))
        return;
    e->got_idle = true;
    check_rest(q);
}

static void on_input_seen(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    bool first = !e->got_input;
    e->got_input = true;
    start_clock(q);
    /* The reply's count stands, whichever socket was read first. */
    if (!e->got_reply)
        jsonx_uint(jsonx_find(msg->content, "execution_count"), &e->execution_count);
    exec_put_started(e);
    if (first && e->state == EXEC_STOPPING) {
        take_turn(q, e);
        kernel_interrupt(q->cfg.kernel);
    }
    if (q->has_asked)
        put_input_request(q, buf_slice(&q->asked));
}

static void on_current_iopub(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    if (msg->kind == JP_STATUS) {
        on_status(q, e, msg);
        return;
    }
    if (msg->kind == JP_EXECUTE_INPUT) {
        on_input_seen(q, e, msg);
        return;
    }
    start_clock(q);
    exec_put_started(e);
    exec_on_iopub(e, msg);
    exec_store_trim(q->cfg.store);
}

static void let_interrupt_go(void *ctx)
{
    struct exec_queue *q = ctx;
    loop_timer_stop(q->held);
    kernel_interrupt(q->cfg.kernel);
}

/* What is not about an execution of the API may be about a notebook's. */
static void on_foreign_msg(struct exec_queue *q, const struct jp_msg *msg)
{
    if (msg->kind == JP_EXECUTE_INPUT && loop_timer_active(q->held))
        let_interrupt_go(q);
    /* User code can send its own kernel requests: those are nobody's execution. */
    bool begins = msg->kind == JP_EXECUTE_INPUT && msg->channel == JP_IOPUB;
    if (!begins || (q->foreign.knows && q->foreign.knows(q->foreign.ctx, msg->parent_id)))
        exec_notebook_on_msg(q->notebook, msg);
}

static void on_msg(void *ctx, const struct jp_msg *msg)
{
    struct exec_queue *q = ctx;
    /* Requests of clients bear their tag; ours have none. */
    bool tagged = msg->channel != JP_IOPUB && msg->ident.len > 0;
    struct exec *e = msg->parent_id[0] && !tagged ? exec_of(q, msg->parent_id) : NULL;
    if (!e || e->notebook) {
        on_foreign_msg(q, msg);
        return;
    }
    if (e != q->current) {
        if (msg->channel == JP_IOPUB)
            exec_on_iopub(e, msg);
        return;
    }
    switch (msg->channel) {
    case JP_IOPUB:
        on_current_iopub(q, e, msg);
        return;
    case JP_SHELL:
        if (msg->kind != JP_EXECUTE_REPLY)
            return;
        exec_on_reply(e, msg);
        check_rest(q);
        return;
    case JP_STDIN:
        if (msg->kind == JP_INPUT_REQUEST)
            on_stdin_request(q, e, msg);
        return;
    case JP_CONTROL:
        return;
    }
}

static void on_ready(void *ctx)
{
    pump(ctx);
}

static char *death_error(const struct kernel_death *d)
{
    char text[KERNEL_DEATH_SIZE];
    kernel_death_describe(d, text);
    _cleanup_(json_decrefp) json_t *j =
        json_pack("{s:s, s:s, s:o, s:o, s:b}", "ename", "KernelDied", "evalue", text, "signal",
                  d->signal ? json_integer(d->signal) : json_null(), "exit_code",
                  d->signal ? json_null() : json_integer(d->exit_code), "oom", (int)d->oom);
    return jsonx_dump(j);
}

static void on_down(void *ctx, const struct kernel_death *death)
{
    struct exec_queue *q = ctx;
    _cleanup_(freep) char *error = death_error(death);
    struct exec *e = q->current;
    loop_timer_stop(q->held);
    q->exiting = false;
    exec_notebook_on_down(q->notebook, death, error);
    if (e) {
        exec_put_started(e);
        e->generation = death->generation;
        if (!death->oom && e->stop != EXEC_STOP_NONE && death->wanted)
            end_current(q, exec_verdict(e), NULL);
        else
            end_current(q, "kernel_died", error);
    }
    if (!death->wanted || kernel_state(q->cfg.kernel) == KERNEL_DEAD)
        end_waiting(q, "cancelled");
    pump(q);
}

/* ---- orders ---- */

void exec_queue_cancel(struct exec_queue *q, struct exec *e)
{
    if (e->state == EXEC_DONE)
        return;
    if (e->notebook) {
        exec_notebook_cancel(q->notebook, e);
        return;
    }
    if (e == q->current) {
        stop_current(q, EXEC_STOP_CANCEL);
        return;
    }
    DL_DELETE(q->waiting, e);
    q->n_waiting--;
    settle(q, e, "cancelled", NULL);
}

void exec_queue_interrupt(struct exec_queue *q)
{
    if (q->current && (is_seen(q->current) || !is_behind(q, q->current))) {
        stop_current(q, EXEC_STOP_INTERRUPT);
        return;
    }
    exec_notebook_interrupted(q->notebook);
    /* Silent ones and comm messages announce nothing: they are not waited for long. */
    if (n_foreign(q) && !exec_notebook_running(q->notebook))
        loop_timer_start(q->held, EXEC_HOLD_MS, 0);
    else
        kernel_interrupt(q->cfg.kernel);
}

void exec_queue_set_foreign(struct exec_queue *q, const struct exec_foreign *foreign)
{
    q->foreign = foreign ? *foreign : (struct exec_foreign){0};
    pump(q);
}

uint64_t exec_queue_ticket(struct exec_queue *q)
{
    return ++q->tickets;
}

void exec_queue_foreign_lost(struct exec_queue *q, const char *msg_id, struct slice content,
                             const struct kernel_death *death)
{
    _cleanup_(freep) char *error = death_error(death);
    exec_notebook_lost(q->notebook, msg_id, content, death, error);
}

void exec_queue_foreign_over(struct exec_queue *q)
{
    if (n_foreign(q) == 0) {
        loop_timer_stop(q->held);
        if (q->cfg.on_rest)
            q->cfg.on_rest(q->cfg.ctx);
    }
    if (q->current && !is_seen(q->current) && !is_behind(q, q->current) &&
        !loop_timer_active(q->timer))
        take_turn(q, q->current);
    pump(q);
}

void exec_queue_foreign_answered(struct exec_queue *q, const char *msg_id)
{
    exec_notebook_answered(q->notebook, msg_id);
}

/* What runs ends because of it, not by a death of its own. */
static void stop_for_restart(struct exec_queue *q)
{
    struct exec *e = q->current;
    if (e && e->stop == EXEC_STOP_NONE)
        e->stop = EXEC_STOP_RESTART;
    exec_notebook_restarted(q->notebook);
}

void exec_queue_restart(struct exec_queue *q)
{
    stop_for_restart(q);
    kill_kernel(q);
}

void exec_queue_expect_exit(struct exec_queue *q, bool restart)
{
    stop_for_restart(q);
    q->exiting = true;
    end_waiting(q, "cancelled");
    kernel_expect_exit(q->cfg.kernel, restart);
}

bool exec_queue_is_exiting(const struct exec_queue *q)
{
    return q->exiting;
}

int exec_queue_input(struct exec_queue *q, struct exec *e, struct slice value, struct err *err)
{
    if (e != q->current || e->state != EXEC_AWAITING_INPUT)
        return err_set(err, ERR_NO_INPUT_PENDING, "execution %s does not ask for input", e->id);
    struct buf content;
    buf_init(&content, value.len * 6 + 64);
    buf_append_str(&content, "{\"value\":");
    jsonx_append_string(&content, value);
    buf_append_str(&content, "}");
    struct jp_send send = {
        .channel = JP_STDIN, .msg_type = "input_reply", .content = buf_slice(&content)};
    int r = kernel_send(q->cfg.kernel, &send, err);
    buf_done(&content);
    if (r < 0)
        return r;
    exec_move(e, EXEC_EV_ANSWER);
    return 0;
}

void exec_queue_cancel_all(struct exec_queue *q)
{
    q->closing = true;
    exec_notebook_cancel_all(q->notebook);
    end_waiting(q, "cancelled");
    if (q->current)
        end_current(q, "cancelled", NULL);
}

struct exec_queue *exec_queue_new(const struct exec_queue_cfg *cfg)
{
    struct exec_queue *q = MEM_NEW(struct exec_queue);
    q->cfg = *cfg;
    q->timer = loop_timer_new(cfg->loop, on_timer, q);
    q->held = loop_timer_new(cfg->loop, let_interrupt_go, q);
    buf_init(&q->asked, ASKED_MAX_BYTES);
    q->notebook = exec_notebook_new(cfg, q);
    q->listener.events = (struct kernel_events){
        .on_msg = on_msg, .on_ready = on_ready, .on_down = on_down, .ctx = q};
    kernel_listen(cfg->kernel, &q->listener);
    return q;
}

struct exec_queue *exec_queue_free(struct exec_queue *q)
{
    if (!q)
        return NULL;
    exec_queue_cancel_all(q);
    kernel_unlisten(q->cfg.kernel, &q->listener);
    exec_notebook_free(q->notebook);
    loop_timer_free(q->timer);
    loop_timer_free(q->held);
    buf_done(&q->asked);
    free(q);
    return NULL;
}

struct kernel *exec_queue_kernel(struct exec_queue *q)
{
    return q->cfg.kernel;
}

size_t exec_queue_outstanding(const struct exec_queue *q)
{
    /* A cell of a subshell is nobody's request on the main shell. */
    size_t notebook = MAX(n_foreign(q), exec_notebook_running(q->notebook));
    return q->n_waiting + (q->current ? 1 : 0) + notebook;
}
