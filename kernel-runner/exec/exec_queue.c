/*
 * When executions run. Parts have files of their own: order (who is next), clock (how long),
 * sending (what the kernel is told), hearing (what it says). Here our callers' orders become events
 * of the machine in exec_state.h, and its edges become deeds.
 *
 * Invariants: `current` is the one execution that the kernel has of us; the others wait in order.
 * Nothing is sent while there is a current one, also when that is only the husk of one that was
 * withdrawn. Every change of its state goes through exec_queue_move(). Our owner's callbacks are
 * told in the middle of things, and never call back (`telling`).
 *
 * SIGINT and ipykernel: it handles SIGINT only while it runs a request, and publishes execute_input
 * right after installing that handler. An interrupt that comes earlier would be lost: it is held
 * until the code is seen. One that comes later than the reply would be the next cell's: it is not
 * sent.
 */
#include "kernel-runner/exec/exec_queue_internal.h"
#include "lib/api/limits.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

/* ---- our owner ---- */

static void tell_started(void *ctx, const struct exec *e)
{
    struct exec_queue *q = ctx;
    q->telling = true;
    if (q->cfg.on_started)
        q->cfg.on_started(q->cfg.ctx, e);
    q->telling = false;
}

static void tell_done(void *ctx, const struct exec *e)
{
    struct exec_queue *q = ctx;
    q->telling = true;
    if (q->cfg.on_done)
        q->cfg.on_done(q->cfg.ctx, e);
    q->telling = false;
}

static void tell_rest(struct exec_queue *q)
{
    q->telling = true;
    if (q->cfg.on_rest)
        q->cfg.on_rest(q->cfg.ctx);
    q->telling = false;
}

/* ---- ends ---- */

static void settle(struct exec_queue *q, struct exec *e, const char *status, const char *error)
{
    exec_finish(e, status, error);
    e->queue = NULL;
    log_event(LOG_DEBUG, "execution_done", "execution", e->id, "status", status, NULL);
    tell_done(q, e);
    exec_store_finished(q->cfg.store, e);
}

void exec_queue_end_waiting(struct exec_queue *q, const char *status)
{
    while (q->order.waiting) {
        struct exec *e = q->order.waiting;
        exec_order_remove(&q->order, e);
        settle(q, e, status, NULL);
    }
}

static struct exec *take_current(struct exec_queue *q)
{
    exec_clock_turn(&q->clock, EXEC_CLOCK_STOP);
    exec_asked_drop(&q->asked);
    return TAKE_PTR(q->current);
}

void exec_queue_end(struct exec_queue *q, const char *status, const char *error)
{
    struct exec *e = take_current(q);
    if (exec_is_husk(e)) {
        exec_free(e);
        return;
    }
    bool abort_rest = e->request->stop_on_error &&
                      (strcmp(status, "error") == 0 || strcmp(status, "timeout") == 0);
    settle(q, e, status, error);
    if (abort_rest)
        exec_queue_end_waiting(q, "aborted");
}

/* ---- the machine ---- */

static void act(struct exec_queue *q, const struct exec *e, enum exec_act what)
{
    const struct exec_kernel *k = exec_queue_kernel_of(q);
    switch (what) {
    case EXEC_ACT_NONE:
        return;
    case EXEC_ACT_INTERRUPT:
        if (e->rest == EXEC_REST_NONE)
            k->ops->interrupt(k->ctx);
        return;
    case EXEC_ACT_KILL:
        exec_queue_end_waiting(q, "cancelled");
        k->ops->restart(k->ctx);
        return;
    case EXEC_ACT_WITHDRAW:
        k->ops->withdraw(k->ctx, e->id);
        return;
    }
}

static bool has_begun(enum exec_state s)
{
    return s != EXEC_QUEUED && s != EXEC_BEHIND && s != EXEC_SENT && s != EXEC_WITHDRAWN;
}

void exec_queue_move(struct exec_queue *q, enum exec_event ev)
{
    struct exec *e = q->current;
    bool had_begun = has_begun(e->state);
    const struct exec_edge *edge = exec_move(e, ev);
    if (!edge)
        return;
    bool begins = !had_begun && has_begun(edge->to) && !exec_is_husk(e);
    if (begins)
        exec_begin(e);
    exec_clock_turn(&q->clock, edge->clock);
    act(q, e, edge->act);
    if (begins && (edge->to == EXEC_STARTED || edge->to == EXEC_RUNNING))
        tell_started(q, e);
}

/* Why it is stopped decides its verdict: an earlier reason stays, but an interrupt's. */
static void note_stop(struct exec *e, enum exec_stop why)
{
    if (e->stop == EXEC_STOP_NONE || e->stop == EXEC_STOP_INTERRUPT)
        e->stop = why;
}

/* Behind another's request: its verdict is given, its husk waits until the kernel passed it over.
 */
static void withdraw(struct exec_queue *q)
{
    struct exec *e = take_current(q);
    q->current = exec_husk(e);
    settle(q, e, "cancelled", NULL);
    exec_queue_move(q, EXEC_EV_CANCEL);
}

static bool waits_behind(const struct exec_queue *q)
{
    return q->current && (q->current->state == EXEC_BEHIND || q->current->state == EXEC_WITHDRAWN);
}

/* Perhaps what was ahead is over. */
static void look_ahead(struct exec_queue *q)
{
    if (waits_behind(q) && !exec_order_is_behind(&q->order, q->current))
        exec_queue_move(q, EXEC_EV_CLEAR);
}

static void on_late(void *ctx)
{
    struct exec_queue *q = ctx;
    struct exec *e = q->current;
    bool begins = e->state == EXEC_SENT;
    if (!begins)
        note_stop(e, EXEC_STOP_TIMEOUT);
    exec_queue_move(q, EXEC_EV_LATE);
    if (begins)
        exec_put_started(e);
}

/* ---- sending ---- */

static unsigned generation_of(const struct exec_queue *q)
{
    return exec_queue_kernel_of(q)->ops->generation(exec_queue_kernel_of(q)->ctx);
}

/* Of the process on which one that comes now will run. */
static unsigned coming_generation(const struct exec_queue *q)
{
    bool replaced =
        q->state == QUEUE_EXITING ||
        exec_queue_kernel_of(q)->ops->state(exec_queue_kernel_of(q)->ctx) == KERNEL_STOPPING;
    return generation_of(q) + (replaced ? 1 : 0);
}

static bool is_for(const struct exec *e, unsigned generation)
{
    return e->request->generation == 0 || e->request->generation == (int64_t)generation;
}

void exec_queue_pump(struct exec_queue *q)
{
    struct exec *e;
    while (q->state == QUEUE_OPEN && !q->current && exec_kernel_live(exec_queue_kernel_of(q)) &&
           (e = exec_order_next(&q->order))) {
        e->generation = generation_of(q);
        if (!is_for(e, e->generation)) {
            exec_order_remove(&q->order, e);
            settle(q, e, "cancelled", NULL);
            continue;
        }
        if (exec_sending_request(exec_queue_kernel_of(q), e) < 0)
            return; /* the process has just ended: on_down decides */
        exec_order_remove(&q->order, e);
        exec_order_sent(&q->order, e);
        q->current = e;
        q->clock.deadline_ms = e->request->timeout_ms;
        exec_queue_move(q, exec_order_is_behind(&q->order, e) ? EXEC_EV_SEND_BEHIND : EXEC_EV_SEND);
    }
}

int exec_queue_push(struct exec_queue *q, struct exec *e, int64_t default_timeout_ms,
                    struct err *err)
{
    const struct exec_kernel *k = exec_queue_kernel_of(q);
    unsigned generation = coming_generation(q);
    if (k->ops->state(k->ctx) == KERNEL_DEAD) {
        const char *words = k->ops->last_words(k->ctx);
        return err_set(err, ERR_KERNEL_DEAD,
                       "the kernel is dead; POST …/restart starts it again%s%s",
                       words[0] ? ". Its last words: " : "", words);
    }
    if (!is_for(e, generation))
        return err_set(err, ERR_GENERATION_MISMATCH,
                       "the kernel is at generation %u, not %lld: its state was reset", generation,
                       (long long)e->request->generation);
    bool beside = q->current || exec_order_foreign(&q->order);
    bool must_wait = beside || q->order.waiting || !exec_kernel_live(k);
    if (must_wait && exec_order_is_full(&q->order))
        return err_set(err, ERR_LIMIT, "%d executions wait for this kernel already",
                       LIMIT_EXEC_QUEUE);
    if (e->request->timeout_ms == 0)
        e->request->timeout_ms = default_timeout_ms;
    snprintf(e->kernel_id, sizeof(e->kernel_id), "%s", k->id);
    e->generation = generation;
    e->queue = q;
    exec_order_add(&q->order, e);
    if (must_wait)
        exec_put_queued(e, q->order.n_waiting + (beside ? 1 : 0));
    exec_queue_pump(q);
    return 0;
}

/* ---- orders ---- */

void exec_queue_cancel(struct exec_queue *q, struct exec *e)
{
    if (e->state == EXEC_DONE)
        return;
    if (e->notebook) {
        exec_notebook_cancel(q->notebook, e);
    } else if (e != q->current) {
        exec_order_remove(&q->order, e);
        settle(q, e, "cancelled", NULL);
    } else if (e->state == EXEC_BEHIND) {
        withdraw(q);
    } else {
        note_stop(e, EXEC_STOP_CANCEL);
        exec_queue_move(q, EXEC_EV_CANCEL);
    }
}

void exec_queue_interrupt(struct exec_queue *q)
{
    const struct exec_kernel *k = exec_queue_kernel_of(q);
    if (q->current && !waits_behind(q)) {
        note_stop(q->current, EXEC_STOP_INTERRUPT);
        exec_queue_move(q, EXEC_EV_INTERRUPT);
        return;
    }
    exec_notebook_interrupted(q->notebook);
    uint64_t at = exec_order_at(&q->order);
    if (at == UINT64_MAX || exec_notebook_is_at_work(q->notebook))
        k->ops->interrupt(k->ctx);
    else
        exec_held_keep(&q->held, at);
}

/* Silent ones and comm messages announce nothing: they are not waited for long. */
static void on_held_late(void *ctx)
{
    struct exec_queue *q = ctx;
    if (exec_held_release(&q->held, exec_order_at(&q->order)))
        exec_queue_kernel_of(q)->ops->interrupt(exec_queue_kernel_of(q)->ctx);
}

void exec_queue_set_foreign(struct exec_queue *q, const struct exec_foreign *foreign)
{
    q->order.foreign = foreign ? *foreign : (struct exec_foreign){0};
    look_ahead(q);
    exec_queue_pump(q);
}

uint64_t exec_queue_ticket(struct exec_queue *q)
{
    return exec_order_ticket(&q->order);
}

char *exec_queue_death_error(const struct kernel_death *d)
{
    char text[KERNEL_DEATH_SIZE];
    kernel_death_describe(d, text);
    _cleanup_(json_decrefp) json_t *j =
        json_pack("{s:s, s:s, s:o, s:o, s:b}", "ename", "KernelDied", "evalue", text, "signal",
                  d->signal ? json_integer(d->signal) : json_null(), "exit_code",
                  d->signal ? json_null() : json_integer(d->exit_code), "oom", (int)d->oom);
    return jsonx_dump(j);
}

void exec_queue_foreign_lost(struct exec_queue *q, const char *msg_id, struct slice content,
                             const struct kernel_death *death)
{
    _cleanup_(freep) char *error = exec_queue_death_error(death);
    exec_notebook_lost(q->notebook, msg_id, content, death, error);
}

void exec_queue_foreign_over(struct exec_queue *q)
{
    exec_held_drop_unless(&q->held, exec_order_at(&q->order));
    if (exec_order_foreign(&q->order) == 0)
        tell_rest(q);
    look_ahead(q);
    exec_queue_pump(q);
}

void exec_queue_foreign_answered(struct exec_queue *q, const char *msg_id)
{
    exec_notebook_answered(q->notebook, msg_id);
}

/* What runs ends because of it, not by a death of its own; what did not run is `cancelled`. */
static void stop_for_restart(struct exec_queue *q)
{
    if (q->current && q->current->state == EXEC_BEHIND)
        withdraw(q);
    if (q->current) {
        note_stop(q->current, EXEC_STOP_RESTART);
        exec_queue_move(q, EXEC_EV_RESTART);
    }
    exec_notebook_restarted(q->notebook);
    exec_queue_end_waiting(q, "cancelled");
}

void exec_queue_restart(struct exec_queue *q)
{
    stop_for_restart(q);
    exec_queue_kernel_of(q)->ops->restart(exec_queue_kernel_of(q)->ctx);
}

void exec_queue_expect_exit(struct exec_queue *q, bool restart)
{
    stop_for_restart(q);
    q->state = q->state == QUEUE_CLOSED ? QUEUE_CLOSED : QUEUE_EXITING;
    exec_queue_kernel_of(q)->ops->expect_exit(exec_queue_kernel_of(q)->ctx, restart);
}

bool exec_queue_is_exiting(const struct exec_queue *q)
{
    return q->state == QUEUE_EXITING;
}

int exec_queue_input(struct exec_queue *q, struct exec *e, struct slice value, struct err *err)
{
    if (e != q->current || e->state != EXEC_AWAITING_INPUT)
        return err_set(err, ERR_NO_INPUT_PENDING, "execution %s does not ask for input", e->id);
    int r = exec_sending_input(exec_queue_kernel_of(q), value, err);
    if (r < 0)
        return r;
    exec_queue_move(q, EXEC_EV_ANSWER);
    return 0;
}

void exec_queue_cancel_all(struct exec_queue *q)
{
    q->state = QUEUE_CLOSED;
    exec_notebook_cancel_all(q->notebook);
    exec_queue_end_waiting(q, "cancelled");
    if (q->current)
        exec_queue_end(q, "cancelled", NULL);
}

/* ---- life ---- */

struct exec_queue *exec_queue_new(const struct exec_queue_cfg *cfg)
{
    struct exec_queue *q = MEM_NEW(struct exec_queue);
    struct exec_queue_cfg notebook = *cfg;
    q->cfg = *cfg;
    exec_clock_init(&q->clock, cfg->loop, on_late, q);
    exec_held_init(&q->held, cfg->loop, on_held_late, q);
    exec_asked_init(&q->asked);
    notebook.on_started = tell_started;
    notebook.on_done = tell_done;
    notebook.ctx = q;
    q->notebook = exec_notebook_new(&notebook, q);
    q->listener.events = exec_hear_events(q);
    cfg->kernel.ops->listen(cfg->kernel.ctx, &q->listener);
    return q;
}

struct exec_queue *exec_queue_free(struct exec_queue *q)
{
    if (!q)
        return NULL;
    exec_queue_cancel_all(q);
    q->cfg.kernel.ops->unlisten(q->cfg.kernel.ctx, &q->listener);
    exec_notebook_free(q->notebook);
    exec_clock_done(&q->clock);
    exec_held_done(&q->held);
    exec_asked_done(&q->asked);
    free(q);
    return NULL;
}

struct kernel *exec_queue_kernel(struct exec_queue *q)
{
    return exec_kernel_real(&q->cfg.kernel);
}

size_t exec_queue_outstanding(const struct exec_queue *q)
{
    /* A cell of a subshell is nobody's request on the main shell. */
    size_t notebook = MAX(exec_order_foreign(&q->order), exec_notebook_running(q->notebook));
    return q->order.n_waiting + (q->current ? 1 : 0) + notebook;
}
