/*
 * What the kernel says, of the execution that it has of us, of those that are done, of notebooks'.
 *
 * A notebook's failing cell makes ipykernel abort what it has queued, for a moment after the reply,
 * too: an execution of ours that comes in that moment is aborted unrun, and is sent again. Then
 * nothing has begun: its clock waits as it did, behind what is ahead of it now.
 */
#include "kernel-runner/exec/exec_queue_internal.h"
#include "lib/base/mem.h"

/* Aborted by another's failure, before it ran. A silent one is taken to run from its busy on. */
static bool was_passed_over(const struct exec *e)
{
    bool unseen = e->state == EXEC_BEHIND || e->state == EXEC_SENT || e->state == EXEC_STARTED ||
                  (e->state == EXEC_RUNNING && e->request->silent);
    return e->reply_aborted && unseen && !exec_is_husk(e) && e->sent_again < EXEC_AGAIN_MAX;
}

static bool send_again(struct exec_queue *q, struct exec *e)
{
    if (!was_passed_over(e) || exec_sending_request(exec_queue_kernel_of(q), e) < 0)
        return false;
    exec_put_back(e);
    exec_order_sent(&q->order, e);
    exec_queue_move(q, exec_order_is_behind(&q->order, e) ? EXEC_EV_AGAIN_BEHIND : EXEC_EV_AGAIN);
    return true;
}

static void check_rest(struct exec_queue *q)
{
    struct exec *e = q->current;
    if (e->rest != EXEC_AT_REST || send_again(q, e))
        return;
    if (!exec_is_husk(e))
        exec_put_started(e);
    exec_queue_end(q, exec_verdict(e), NULL);
    exec_queue_pump(q);
}

static struct exec *exec_of(struct exec_queue *q, const char *id)
{
    if (q->current && strcmp(q->current->id, id) == 0)
        return q->current;
    struct exec *e = NULL;
    if (exec_store_lookup(q->cfg.store, id, &e, NULL) != 0)
        return NULL;
    /* Only its own kernel may speak for a finished one, and nobody for one that waits. */
    bool ours = strcmp(e->kernel_id, q->cfg.kernel.id) == 0;
    return ours && e->state == EXEC_DONE ? e : NULL;
}

static void ask(struct exec_queue *q, struct slice content)
{
    struct exec *e = q->current;
    if (e->state == EXEC_RUNNING || e->state == EXEC_AWAITING_INPUT) {
        exec_queue_move(q, EXEC_EV_ASK);
        exec_on_input_request(e, content);
    }
}

static void on_asked(struct exec_queue *q, struct exec *e, struct slice content)
{
    if (!e->request->allow_stdin)
        return;
    if (e->state == EXEC_BEHIND || e->state == EXEC_SENT || e->state == EXEC_STARTED)
        exec_asked_keep(&q->asked, content);
    else
        ask(q, content);
}

/* Its code is seen to run. */
static void on_seen(struct exec_queue *q, struct exec *e)
{
    exec_queue_move(q, EXEC_EV_SEEN);
    if (exec_is_husk(e))
        return;
    exec_put_started(e);
    if (exec_asked_is_kept(&q->asked))
        ask(q, buf_slice(&q->asked.content));
    exec_asked_drop(&q->asked);
}

static void on_status(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    struct slice state = jsonx_find(msg->content, "execution_state");
    if (slice_eq_str(state, "\"busy\"")) {
        if (e->request->silent) /* it announces no code */
            on_seen(q, e);
        else
            exec_queue_move(q, EXEC_EV_BUSY);
    }
    if (slice_eq_str(state, "\"idle\"")) {
        e->rest = exec_rest_idle(e->rest);
        check_rest(q);
    }
}

static void on_input(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    /* The reply's count stands, whichever socket was read first. */
    if (!exec_rest_has_reply(e->rest))
        jsonx_uint(jsonx_find(msg->content, "execution_count"), &e->execution_count);
    on_seen(q, e);
}

static void on_current_iopub(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    if (msg->kind == JP_STATUS) {
        on_status(q, e, msg);
        return;
    }
    if (msg->kind == JP_EXECUTE_INPUT) {
        on_input(q, e, msg);
        return;
    }
    exec_queue_move(q, EXEC_EV_BUSY);
    if (exec_is_husk(e))
        return;
    exec_put_started(e);
    exec_on_iopub(e, msg);
    exec_store_trim(q->cfg.store);
}

static void on_current_msg(struct exec_queue *q, struct exec *e, const struct jp_msg *msg)
{
    switch (msg->channel) {
    case JP_IOPUB:
        on_current_iopub(q, e, msg);
        return;
    case JP_SHELL:
        if (msg->kind != JP_EXECUTE_REPLY)
            return;
        if (exec_is_husk(e))
            e->rest = exec_rest_replied(e->rest);
        else
            exec_on_reply(e, msg);
        check_rest(q);
        return;
    case JP_STDIN:
        if (msg->kind == JP_INPUT_REQUEST)
            on_asked(q, e, msg->content);
        return;
    case JP_CONTROL:
        return;
    }
}

/* What is not about an execution of the API may be about a notebook's. */
static void on_foreign_msg(struct exec_queue *q, const struct jp_msg *msg)
{
    const struct exec_kernel *k = exec_queue_kernel_of(q);
    bool begins = msg->kind == JP_EXECUTE_INPUT && msg->channel == JP_IOPUB;
    bool known = exec_order_knows(&q->order, msg->parent_id);
    uint64_t ticket = begins ? exec_order_ticket_of(&q->order, msg->parent_id) : 0;
    if (ticket && exec_held_release(&q->held, ticket))
        k->ops->interrupt(k->ctx);
    /* User code can send its own kernel requests: those are nobody's execution. */
    if (!begins || known)
        exec_notebook_on_msg(q->notebook, msg);
}

static void on_msg(void *ctx, const struct jp_msg *msg)
{
    struct exec_queue *q = ctx;
    /* Requests of clients bear their tag; ours have none. */
    bool tagged = msg->channel != JP_IOPUB && msg->ident.len > 0;
    struct exec *e = msg->parent_id[0] && !tagged ? exec_of(q, msg->parent_id) : NULL;
    if (!e || e->notebook)
        on_foreign_msg(q, msg);
    else if (e == q->current)
        on_current_msg(q, e, msg);
    else if (msg->channel == JP_IOPUB)
        exec_on_iopub(e, msg);
}

static void on_ready(void *ctx)
{
    exec_queue_pump(ctx);
}

static void current_died(struct exec_queue *q, const struct kernel_death *death, const char *error)
{
    struct exec *e = q->current;
    if (exec_is_husk(e) || e->state == EXEC_BEHIND) {
        exec_queue_end(q, "cancelled", NULL); /* it did not run, and the death is another's */
        return;
    }
    exec_put_started(e);
    e->generation = death->generation;
    if (!death->oom && e->stop != EXEC_STOP_NONE && death->wanted)
        exec_queue_end(q, exec_verdict(e), NULL);
    else
        exec_queue_end(q, "kernel_died", error);
}

static void on_down(void *ctx, const struct kernel_death *death)
{
    struct exec_queue *q = ctx;
    const struct exec_kernel *k = exec_queue_kernel_of(q);
    _cleanup_(freep) char *error = exec_queue_death_error(death);
    exec_held_release(&q->held, UINT64_MAX);
    if (q->state == QUEUE_EXITING)
        q->state = QUEUE_OPEN;
    exec_notebook_on_down(q->notebook, death, error);
    if (q->current)
        current_died(q, death, error);
    if (!death->wanted || k->ops->state(k->ctx) == KERNEL_DEAD)
        exec_queue_end_waiting(q, "cancelled");
    exec_queue_pump(q);
}

struct kernel_events exec_hear_events(struct exec_queue *q)
{
    return (struct kernel_events){
        .on_msg = on_msg, .on_ready = on_ready, .on_down = on_down, .ctx = q};
}
