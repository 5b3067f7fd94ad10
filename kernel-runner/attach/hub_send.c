/*
 * From clients to the kernel. What we answer ourselves: interrupt requests (the runner's interrupt
 * reaches the main thread and the whole process group), requests to a kernel that is dead. The
 * session's number goes before the message as its identity and comes back on the answers.
 */
#include "kernel-runner/attach/hub_internal.h"

#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <utlist.h>

#define ERROR_BYTES KIB(4)

/* What is read of a client's header. */
struct client_header {
    char msg_id[JP_ID_SIZE];
    char msg_type[64];
    bool subshell;
};

static bool read_header(struct slice header, struct client_header *ret)
{
    *ret = (struct client_header){0};
    if (header.len > JP_HEADER_MAX || !jsonx_valid(header))
        return false;
    struct jsonx_iter it = jsonx_iter(header);
    if (!it.p)
        return false;
    int r = 0;
    for (struct slice key, value; r == 0 && jsonx_iter_next(&it, &key, &value);) {
        if (slice_eq_str(key, "msg_id"))
            r = jsonx_decode(value, ret->msg_id, sizeof(ret->msg_id));
        else if (slice_eq_str(key, "msg_type"))
            r = jsonx_decode(value, ret->msg_type, sizeof(ret->msg_type));
        else if (slice_eq_str(key, "subshell_id"))
            ret->subshell = !slice_eq_str(value, "null");
    }
    return r == 0 && ret->msg_id[0] && ret->msg_type[0];
}

static void count_dropped(struct hub *h, const char *why)
{
    metrics_count(runner_metrics(h->cfg.runner), RUNNER_M_CLIENT_DROPPED, 0, 1);
    log_event(LOG_DEBUG, "client_message_dropped", "kernel", hub_kernel_id(h), "why", why, NULL);
}

/* ---- answers in the kernel's name ---- */

static void say(struct hub *h, const struct hub_said *said, uint32_t to)
{
    size_t len = 0;
    char *v1 = hub_say(said, &len);
    hub_put(h, to, HUB_LIGHT, v1, len);
}

static void say_status(struct hub *h, const char *state, struct slice parent)
{
    size_t len = 0;
    char *v1 = hub_say_status(h->cfg.kernel, state, parent, &len);
    hub_put(h, 0, HUB_LIGHT, v1, len);
}

/* complete_request → complete_reply. */
static void reply_type(const char *request_type, char out[72])
{
    int stem = (int)(strlen(request_type) - strlen("_request"));
    snprintf(out, 72, "%.*s_reply", stem, request_type);
}

static void say_reply(struct hub *h, const struct hub_request *r, struct slice content)
{
    char type[72];
    reply_type(r->msg_type, type);
    struct hub_said said = {.kernel = h->cfg.kernel,
                            .channel = r->channel,
                            .msg_type = type,
                            .parent = slice_str(r->header),
                            .content = content};
    say(h, &said, r->from);
}

static void put_error(struct buf *out, const char *ename, const char *evalue)
{
    buf_append_str(out, "\"ename\":");
    jsonx_append_string(out, slice_str(ename));
    buf_append_str(out, ",\"evalue\":");
    jsonx_append_string(out, slice_str(evalue));
    buf_append_str(out, ",\"traceback\":[");
    jsonx_append_string(out, slice_str(evalue));
    buf_append_str(out, "]}");
}

static void say_error(struct hub *h, const struct hub_request *r, const char *ename,
                      const char *evalue)
{
    struct buf content;
    buf_init(&content, ERROR_BYTES * 8);
    buf_append_char(&content, '{');
    put_error(&content, ename, evalue);
    if (strcmp(r->msg_type, "execute_request") == 0 && !r->idle) {
        struct hub_said said = {.kernel = h->cfg.kernel,
                                .channel = JP_IOPUB,
                                .msg_type = "error",
                                .parent = slice_str(r->header),
                                .content = buf_slice(&content)};
        say(h, &said, 0);
    }
    buf_clear(&content);
    buf_printf(&content, "{\"status\":\"error\",\"execution_count\":%lld,\"user_expressions\":{},",
               (long long)kernel_execution_count(h->cfg.kernel));
    put_error(&content, ename, evalue);
    if (r->wants_reply && !r->replied)
        say_reply(h, r, buf_slice(&content));
    buf_done(&content);
}

void hub_fail(struct hub *h, struct hub_request *r, const char *ename, const char *evalue)
{
    if (!r->busy)
        say_status(h, "busy", slice_str(r->header));
    say_error(h, r, ename, evalue);
    if (!r->idle)
        say_status(h, "idle", slice_str(r->header));
    hub_request_over(h, r);
}

static void tell_room(struct hub *h)
{
    struct hub_session *s, *next;
    h->n_full = 0;
    DL_FOREACH_SAFE2 (h->sessions, s, next, next_session) {
        if (!s->full)
            continue;
        s->full = false;
        if (s->connected)
            s->front.on_room(s->front.ctx);
    }
}

/*
 * In a turn of its own: what is sent then may fail, and be over in its turn. Ten thousand that were
 * held would be as many calls deep.
 */
static void on_room(void *ctx)
{
    struct hub *h = ctx;
    if (h->requests.n_held_main)
        hub_send_held(h);
    if (h->n_full && hub_requests_have_room(&h->requests))
        tell_room(h);
}

void hub_request_over(struct hub *h, struct hub_request *r)
{
    bool main_shell = r->main_shell;
    exec_queue_foreign_answered(h->cfg.queue, r->msg_id);
    hub_requests_remove(&h->requests, r);
    if (main_shell)
        exec_queue_foreign_over(h->cfg.queue);
    if (h->requests.n_held_main || h->n_full)
        loop_post(&h->room, h->loop, on_room, h);
}

/* ---- passing on ---- */

static struct slice tag_of(uint32_t number, char out[16])
{
    snprintf(out, 16, "%08x", number);
    return slice_make(out, 8);
}

static int forward(struct hub *h, uint32_t from, const struct jp_ws_msg *msg, struct err *err)
{
    char tag[16];
    return kernel_forward(h->cfg.kernel, msg->channel, tag_of(from, tag), msg->frames, msg->buffers,
                          msg->n_buffers, err);
}

static void send_or_fail(struct hub *h, struct hub_request *r, const struct jp_ws_msg *msg)
{
    struct err err;
    if (forward(h, r->from, msg, &err) < 0)
        hub_fail(h, r, "KernelUnavailable", err.text);
    else if (r->main_shell && !loop_timer_active(h->watch))
        loop_timer_start(h->watch, HUB_WATCH_MS, 0);
}

/* Not one that has ended and was not yet found out, nor one that was told to end. */
static bool takes_requests(const struct hub *h)
{
    return kernel_state_live(kernel_state(h->cfg.kernel)) && kernel_pid(h->cfg.kernel) &&
           !exec_queue_is_exiting(h->cfg.queue);
}

static bool is_window_open(const struct hub *h)
{
    return h->requests.n_main - h->requests.n_held_main < HUB_SENT_MAX;
}

static struct hub_request *first_held(struct hub_request *list)
{
    struct hub_request *r = list;
    while (r && !r->held)
        r = r->next;
    return r;
}

static void send_held(struct hub *h, struct hub_request *r)
{
    struct jp_ws_msg msg;
    size_t len = 0;
    _cleanup_(freep) char *held = hub_requests_unhold(&h->requests, r, &len);
    if (jp_ws_v1_decode(&msg, slice_make(held, len), NULL) == 0)
        send_or_fail(h, r, &msg);
}

void hub_send_held(struct hub *h)
{
    struct hub_request *r;
    while (takes_requests(h) && (r = first_held(h->requests.others)))
        send_held(h, r);
    while (h->requests.n_held_main && is_window_open(h) && takes_requests(h) &&
           (r = first_held(h->requests.main)))
        send_held(h, r);
}

static void hold(struct hub *h, struct hub_request *r, const struct jp_ws_msg *msg)
{
    size_t len = 0;
    char *v1 = hub_encode(msg, &len);
    hub_requests_hold(&h->requests, r, v1, len);
}

/* What the message takes as v1 has it. */
static size_t size_of(const struct jp_ws_msg *msg)
{
    size_t n = sizeof(uint64_t) * (JP_JSON_FRAMES + msg->n_buffers + 3) + 16;
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        n += msg->frames[i].len;
    for (size_t i = 0; i < msg->n_buffers; i++)
        n += msg->buffers[i].len;
    return n;
}

/* The oldest of those that nothing else bounds goes: unanswered, or with an error if it never left.
 */
static void make_room(struct hub *h)
{
    struct hub_request *r = hub_requests_surplus(&h->requests);
    if (r && r->held)
        hub_fail(h, r, "KernelUnavailable", "too many requests wait for the kernel to start");
    else if (r)
        hub_request_over(h, r);
}

static struct hub_request *track(struct hub_session *s, const struct jp_ws_msg *msg,
                                 const struct client_header *header)
{
    struct hub *h = s->hub;
    struct hub_request *r =
        hub_request_new(header->msg_id, header->msg_type, msg->frames[JP_HEADER]);
    r->from = s->number;
    r->channel = msg->channel;
    r->main_shell = msg->channel == JP_SHELL && !header->subshell;
    r->ticket = r->main_shell ? exec_queue_ticket(h->cfg.queue) : 0;
    r->bytes = size_of(msg);
    struct slice content = msg->frames[JP_CONTENT];
    if (strcmp(r->msg_type, "execute_request") == 0 && content.len <= HUB_CONTENT_MAX)
        r->content = mem_dup_n(content.ptr, content.len);
    hub_requests_add(&h->requests, r);
    return r;
}

static void interrupt(struct hub *h, struct hub_request *r)
{
    say_status(h, "busy", slice_str(r->header));
    exec_queue_interrupt(h->cfg.queue);
    say_reply(h, r, slice_str("{\"status\":\"ok\"}"));
    say_status(h, "idle", slice_str(r->header));
    hub_request_over(h, r);
}

static void say_shut_down(struct hub *h, struct hub_request *r, bool restart)
{
    say_status(h, "busy", slice_str(r->header));
    say_reply(h, r,
              slice_str(restart ? "{\"status\":\"ok\",\"restart\":true}"
                                : "{\"status\":\"ok\",\"restart\":false}"));
    say_status(h, "idle", slice_str(r->header));
    hub_request_over(h, r);
}

/* The kernel ends by itself after its reply, or is made to. */
static void shut_down(struct hub *h, struct hub_request *r, const struct jp_ws_msg *msg, bool all)
{
    struct kernel *k = h->cfg.kernel;
    struct slice content = msg->frames[JP_CONTENT];
    bool restart = jsonx_valid(content) && slice_eq_str(jsonx_find(content, "restart"), "true");
    h->ending = !restart;
    h->ending_all = all && !restart;
    if (takes_requests(h) && forward(h, r->from, msg, NULL) == 0) {
        exec_queue_expect_exit(h->cfg.queue, restart);
        return;
    }
    say_shut_down(h, r, restart);
    if (restart) {
        exec_queue_restart(h->cfg.queue);
        return;
    }
    bool dead = kernel_state(k) == KERNEL_DEAD;
    kernel_end(k);
    if (!dead)
        return; /* on_down tells */
    h->cfg.on_shutdown(h->cfg.ctx, h, h->ending_all);
    h->ending = h->ending_all = false;
}

/* An id that is under way, or an execution's of the API, would mix up two requests' answers. */
static bool is_taken(struct hub *h, const char *msg_id)
{
    struct exec *e = NULL;
    if (hub_requests_find(&h->requests, msg_id))
        return true;
    return exec_store_lookup(runner_execs(h->cfg.runner), msg_id, &e, NULL) == 0 && !e->notebook;
}

/* Those of the main shell keep their order. */
static bool may_go(const struct hub *h, const struct hub_request *r)
{
    return takes_requests(h) &&
           (!r->main_shell || (h->requests.n_held_main == 0 && is_window_open(h)));
}

static void pass(struct hub *h, struct hub_request *r, const struct jp_ws_msg *msg, bool all)
{
    bool orders = msg->channel == JP_CONTROL || msg->channel == JP_SHELL;
    if (orders && strcmp(r->msg_type, "interrupt_request") == 0)
        interrupt(h, r);
    else if (orders && strcmp(r->msg_type, "shutdown_request") == 0)
        shut_down(h, r, msg, all);
    else if (kernel_state(h->cfg.kernel) == KERNEL_DEAD)
        hub_fail(h, r, "KernelDead", "the kernel is dead: restart it");
    else if (may_go(h, r))
        send_or_fail(h, r, msg);
    else
        hold(h, r, msg);
}

static uint64_t mix(uint64_t h, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * 1099511628211U; /* FNV-1a */
    return h;
}

/*
 * caesarion-attach sends again what a broken connection may have lost. A kernel drops what it had
 * already, but a new process of it would not: it would run twice.
 */
static bool was_here(struct hub *h, const struct jp_ws_msg *msg)
{
    struct slice content = msg->frames[JP_CONTENT];
    uint64_t digest = mix(14695981039346656037U ^ content.len, msg->frames[JP_HEADER]);
    digest = mix(digest, slice_make(content.ptr, MIN(content.len, KIB(4))));
    for (size_t i = 0; i < MIN(h->n_recent, (size_t)HUB_RECENT); i++)
        if (h->recent[i] == digest)
            return true;
    h->recent[h->n_recent++ % HUB_RECENT] = digest;
    return false;
}

/* Why a message is none that goes to the kernel as a request, or NULL. */
static const char *refusal(struct hub *h, const struct jp_ws_msg *msg, struct client_header *header)
{
    if (!read_header(msg->frames[JP_HEADER], header))
        return "its header has no msg_id and msg_type that a kernel takes";
    if (msg->channel == JP_IOPUB)
        return "nothing can be sent on iopub";
    if (msg->channel != JP_STDIN && is_taken(h, header->msg_id))
        return "its msg_id is used by another request";
    if (msg->channel != JP_STDIN && was_here(h, msg))
        return "it was here before";
    return NULL;
}

int hub_send(struct hub_session *s, const struct jp_ws_msg *msg)
{
    struct hub *h = s->hub;
    struct client_header header;
    runner_touch(h->cfg.runner);
    kernel_touch(h->cfg.kernel);
    const char *why = refusal(h, msg, &header);
    if (!why && msg->channel == JP_STDIN && forward(h, s->number, msg, NULL) < 0)
        why = "no kernel waits for input";
    if (why)
        count_dropped(h, why);
    if (why || msg->channel == JP_STDIN)
        return 0;
    make_room(h);
    pass(h, track(s, msg, &header), msg, s->all);
    if (!hub_requests_are_full(&h->requests, s->number))
        return 0;
    s->full = true;
    h->n_full++;
    return HUB_FULL;
}
