/*
 * From the kernel to clients: IOPub to all, the rest to whom it answers, and what is known of the
 * requests under way. When the process ends, we finish them in its name.
 */
#include "kernel-runner/attach/hub_internal.h"

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"

#include <utlist.h>

#define HUB_WATCH_MS 1000
#define LIGHT_BYTES                                                                                \
    KIB(64) /* other IOPub messages that are longer may be dropped as outputs are                  \
             */

/* ---- to clients ---- */

static bool is_heavy(const struct jp_msg *msg, size_t len)
{
    if (msg->channel != JP_IOPUB)
        return false;
    switch (msg->kind) {
    case JP_STREAM:
    case JP_DISPLAY_DATA:
    case JP_UPDATE_DISPLAY_DATA:
    case JP_EXECUTE_RESULT:
        return true;
    case JP_OTHER:
        return len > LIGHT_BYTES;
    case JP_STATUS:
    case JP_ERROR:
    case JP_CLEAR_OUTPUT:
    case JP_EXECUTE_INPUT:
    case JP_EXECUTE_REPLY:
    case JP_KERNEL_INFO_REPLY:
    case JP_INTERRUPT_REPLY:
    case JP_SHUTDOWN_REPLY:
    case JP_INPUT_REQUEST:
    case JP_IOPUB_WELCOME:
        break;
    }
    return false;
}

static char *encode(const struct jp_msg *msg, size_t *ret_len)
{
    struct jp_ws_msg out = {.channel = msg->channel, .n_buffers = msg->n_buffers};
    out.frames[JP_HEADER] = msg->header;
    out.frames[JP_PARENT] = msg->parent;
    out.frames[JP_METADATA] = msg->metadata;
    out.frames[JP_CONTENT] = msg->content;
    memcpy(out.buffers, msg->buffers, msg->n_buffers * sizeof(*msg->buffers));
    return hub_encode(&out, ret_len);
}

static void put_piece(void *ctx, char *v1_take, size_t len)
{
    hub_put(ctx, 0, HUB_HEAVY, v1_take, len);
}

static void pass_on(struct hub *h, const struct jp_msg *msg, uint32_t to)
{
    size_t len = 0;
    if (hub_split_stream(msg, HUB_STREAM_BYTES, put_piece, h))
        return;
    char *v1 = encode(msg, &len);
    hub_put(h, to, is_heavy(msg, len) ? HUB_HEAVY : HUB_LIGHT, v1, len);
}

/* The session that the identity before an answer names; 0: none. */
static uint32_t session_of(const struct jp_msg *msg)
{
    uint64_t n = 0;
    if (msg->ident.len != 8)
        return 0;
    for (size_t i = 0; i < msg->ident.len; i++) {
        char c = msg->ident.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return 0;
        n = n << 4 | (unsigned)digit;
    }
    return (uint32_t)n;
}

static bool is_session(const struct hub *h, uint32_t number)
{
    const struct hub_session *s;
    DL_FOREACH2 (h->sessions, s, next_session)
        if (s->number == number)
            return true;
    return false;
}

/* ---- requests under way ---- */

/* Those that got nothing, and get nothing any more. */
static void end_overtaken(struct hub *h, uint64_t order, bool replied)
{
    struct hub_request *r;
    while ((r = hub_requests_overtaken(&h->requests, order, replied))) {
        if (!replied)
            log_event(LOG_DEBUG, "request_ignored_by_kernel", "kernel", hub_kernel_id(h), "type",
                      r->msg_type, NULL);
        hub_request_over(h, r);
    }
}

static void note_status(struct hub *h, struct hub_request *r, const struct jp_msg *msg)
{
    struct slice state = jsonx_find(msg->content, "execution_state");
    if (slice_eq_str(state, "\"busy\"")) {
        r->busy = true;
        if (r->main_shell)
            end_overtaken(h, r->order, /* replied= */ false);
    }
    if (slice_eq_str(state, "\"idle\""))
        r->idle = true;
}

static void note(struct hub *h, const struct jp_msg *msg)
{
    struct hub_request *r = hub_requests_find(&h->requests, msg->parent_id);
    if (!r)
        return;
    bool answers =
        (msg->channel == JP_SHELL || msg->channel == JP_CONTROL) && msg->channel == r->channel;
    if (msg->kind == JP_STATUS && msg->channel == JP_IOPUB)
        note_status(h, r, msg);
    if (answers) {
        r->replied = true;
        if (r->main_shell)
            end_overtaken(h, r->order, /* replied= */ true);
    }
    if (hub_request_is_over(r))
        hub_request_over(h, r);
}

static void on_msg(void *ctx, const struct jp_msg *msg)
{
    struct hub *h = ctx;
    uint32_t to = msg->channel == JP_IOPUB ? 0 : session_of(msg);
    bool heard = h->sessions && (msg->channel == JP_IOPUB || (to && is_session(h, to)));
    if (heard)
        pass_on(h, msg, to);
    if (h->requests.by_id && msg->parent_id[0])
        note(h, msg);
}

/*
 * A kernel that owes an answer and runs nothing may have dropped the request without a word: it is
 * asked for a sign, which its shell gives when it comes to it.
 */
static void on_watch(void *ctx)
{
    struct hub *h = ctx;
    struct kernel *k = h->cfg.kernel;
    if (h->requests.n_main == 0)
        return;
    loop_timer_start(h->watch, HUB_WATCH_MS, 0);
    if (kernel_state(k) != KERNEL_IDLE)
        return;
    if (kernel_probe(k))
        h->probe_order = h->requests.last_order + 1;
}

static void on_probed(void *ctx)
{
    struct hub *h = ctx;
    end_overtaken(h, h->probe_order, /* replied= */ false);
    end_overtaken(h, h->probe_order, /* replied= */ true);
}

/* ---- the end of a process ---- */

/* The next process can answer it as well. */
static bool can_wait(const struct hub_request *r)
{
    return strcmp(r->msg_type, "kernel_info_request") == 0 && !r->replied;
}

static void hold_info(struct hub *h, struct hub_request *r)
{
    struct jp_ws_msg msg = {.channel = r->channel};
    size_t len = 0;
    msg.frames[JP_HEADER] = slice_str(r->header);
    for (size_t i = JP_PARENT; i < JP_JSON_FRAMES; i++)
        msg.frames[i] = slice_str("{}");
    char *v1 = hub_encode(&msg, &len);
    hub_requests_hold(&h->requests, r, v1, len);
    r->busy = r->idle = false;
}

static void say_state(struct hub *h, const char *state)
{
    size_t len = 0;
    if (!h->sessions)
        return;
    char *v1 = hub_say_status(h->cfg.kernel, state, slice_str(""), &len);
    hub_put(h, 0, HUB_ONCE, v1, len);
}

/* What ran when the process ended is on record, also where it did not live to announce it. */
static void record_last(struct hub *h, const struct kernel_death *death)
{
    const struct hub_request *r;
    DL_FOREACH (h->requests.main, r) {
        if (r->held || r->idle)
            continue;
        if (r->content && !death->wanted)
            exec_queue_foreign_lost(h->cfg.queue, r->msg_id, slice_str(r->content), death);
        return;
    }
}

static void end_or_keep(struct hub *h, struct hub_request *r, const struct kernel_death *death)
{
    char text[KERNEL_DEATH_SIZE];
    bool dead = kernel_state(h->cfg.kernel) == KERNEL_DEAD;
    if (!dead && (r->held || can_wait(r))) {
        if (!r->held)
            hold_info(h, r);
        return;
    }
    kernel_death_describe(death, text);
    if (death->wanted)
        hub_fail(h, r, "KernelRestarted", "the kernel was stopped");
    else
        hub_fail(h, r, "KernelDied", text);
}

static void on_down(void *ctx, const struct kernel_death *death)
{
    struct hub *h = ctx;
    bool dead = kernel_state(h->cfg.kernel) == KERNEL_DEAD;
    struct hub_request *r, *next;
    record_last(h, death);
    DL_FOREACH_SAFE (h->requests.main, r, next)
        end_or_keep(h, r, death);
    DL_FOREACH_SAFE (h->requests.others, r, next)
        end_or_keep(h, r, death);
    say_state(h, dead ? "dead" : "restarting");
    if (dead && h->ending)
        h->cfg.on_shutdown(h->cfg.ctx, h, h->ending_all);
    h->ending = h->ending_all = false;
}

static void on_ready(void *ctx)
{
    struct hub *h = ctx;
    say_state(h, "starting");
    say_state(h, "idle");
    hub_send_held(h);
}

static void on_gone(void *ctx)
{
    struct hub *h = ctx;
    h->gone = true;
    h->cfg.on_gone(h->cfg.ctx, h);
}

static size_t count_foreign(void *ctx)
{
    const struct hub *h = ctx;
    return h->requests.n_main;
}

static uint64_t oldest_foreign(void *ctx)
{
    const struct hub *h = ctx;
    return h->requests.main ? h->requests.main->ticket : UINT64_MAX;
}

/* The shell works in order: what has no idle yet is what it is at. */
static uint64_t at_foreign(void *ctx)
{
    const struct hub *h = ctx;
    const struct hub_request *r;
    DL_FOREACH (h->requests.main, r)
        if (!r->idle)
            return r->held ? UINT64_MAX : r->ticket;
    return UINT64_MAX;
}

static uint64_t ticket_of(void *ctx, const char *msg_id)
{
    const struct hub *h = ctx;
    const struct hub_request *r = hub_requests_find(&h->requests, msg_id);
    return r ? r->ticket : 0;
}

static bool knows(void *ctx, const char *msg_id)
{
    const struct hub *h = ctx;
    return hub_requests_find(&h->requests, msg_id) != NULL;
}

void hub_listen(struct hub *h)
{
    const struct exec_foreign foreign = {.count = count_foreign,
                                         .oldest = oldest_foreign,
                                         .at = at_foreign,
                                         .ticket_of = ticket_of,
                                         .knows = knows,
                                         .ctx = h};
    exec_queue_set_foreign(h->cfg.queue, &foreign);
    h->watch = loop_timer_new(h->loop, on_watch, h);
    h->listener.events = (struct kernel_events){.on_msg = on_msg,
                                                .on_ready = on_ready,
                                                .on_down = on_down,
                                                .on_probed = on_probed,
                                                .on_gone = on_gone,
                                                .ctx = h};
    kernel_listen(h->cfg.kernel, &h->listener);
}
