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
#define WATCH_MS    1000

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

static void on_room(struct hub *h)
{
    struct hub_session *s, *next;
    DL_FOREACH_SAFE2(h->sessions, s, next, next_session)
    {
        if (!s->full)
            continue;
        s->full = false;
        if (s->connected)
            s->front.on_room(s->front.ctx);
    }
}

void hub_request_over(struct hub *h, struct hub_request *r)
{
    bool main_shell = r->main_shell;
    hub_requests_remove(&h->requests, r);
    if (main_shell)
        exec_queue_foreign_end(h->cfg.queue, 1);
    if (hub_requests_have_room(&h->requests))
        on_room(h);
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
        loop_timer_start(h->watch, WATCH_MS, 0);
}

void hub_send_held(struct hub *h)
{
    struct hub_request *r, *next;
    DL_FOREACH_SAFE (h->requests.list, r, next) {
        if (!r->held)
            continue;
        _cleanup_(freep) char *held = TAKE_PTR(r->held);
        struct jp_ws_msg msg;
        if (jp_ws_v1_decode(&msg, slice_make(held, r->held_len), NULL) == 0)
            send_or_fail(h, r, &msg);
    }
}

static void hold(struct hub_request *r, const struct jp_ws_msg *msg)
{
    struct buf out;
    buf_init(&out, r->bytes);
    jp_ws_v1_encode(&out, msg);
    r->held_len = out.len;
    r->held = buf_take(&out);
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

static struct hub_request *track(struct hub_session *s, const struct jp_ws_msg *msg,
                                 const struct client_header *header)
{
    struct hub *h = s->hub;
    struct hub_request *r =
        hub_request_new(header->msg_id, header->msg_type, msg->frames[JP_HEADER]);
    r->from = s->number;
    r->channel = msg->channel;
    r->main_shell = msg->channel == JP_SHELL && !header->subshell;
    r->bytes = size_of(msg);
    struct slice content = msg->frames[JP_CONTENT];
    if (strcmp(r->msg_type, "execute_request") == 0 && content.len <= HUB_CONTENT_MAX)
        r->content = mem_dup_n(content.ptr, content.len);
    hub_requests_add(&h->requests, r);
    if (r->main_shell)
        exec_queue_foreign_begin(h->cfg.queue);
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

/* The kernel ends by itself after its reply, or is made to. */
static void shut_down(struct hub *h, struct hub_request *r, const struct jp_ws_msg *msg, bool all)
{
    struct kernel *k = h->cfg.kernel;
    struct slice content = msg->frames[JP_CONTENT];
    bool restart = jsonx_valid(content) && slice_eq_str(jsonx_find(content, "restart"), "true");
    h->ending = !restart;
    h->ending_all = all && !restart;
    if (kernel_state_live(kernel_state(k)) && forward(h, r->from, msg, NULL) == 0) {
        kernel_expect_exit(k, restart);
        return;
    }
    say_reply(h, r,
              slice_str(restart ? "{\"status\":\"ok\",\"restart\":true}"
                                : "{\"status\":\"ok\",\"restart\":false}"));
    say_status(h, "idle", slice_str(r->header));
    hub_request_over(h, r);
    if (restart)
        kernel_restart(k);
    else if (kernel_state(k) == KERNEL_DEAD)
        h->cfg.on_shutdown(h->cfg.ctx, h, h->ending_all);
    else
        kernel_end(k);
}

/* An id that is under way, or an execution's of the API, would mix up two requests' answers. */
static bool is_taken(struct hub *h, const char *msg_id)
{
    struct exec *e = NULL;
    if (hub_requests_find(&h->requests, msg_id))
        return true;
    return exec_store_lookup(runner_execs(h->cfg.runner), msg_id, &e, NULL) == 0 && !e->notebook;
}

static void pass(struct hub_session *s, struct hub_request *r, const struct jp_ws_msg *msg)
{
    struct hub *h = s->hub;
    enum kernel_state state = kernel_state(h->cfg.kernel);
    bool orders = msg->channel == JP_CONTROL || msg->channel == JP_SHELL;
    if (orders && strcmp(r->msg_type, "interrupt_request") == 0)
        interrupt(h, r);
    else if (orders && strcmp(r->msg_type, "shutdown_request") == 0)
        shut_down(h, r, msg, s->all);
    else if (state == KERNEL_DEAD)
        hub_fail(h, r, "KernelDead", "the kernel is dead: restart it");
    else if (!kernel_state_live(state))
        hold(r, msg);
    else
        send_or_fail(h, r, msg);
}

int hub_send(struct hub_session *s, const struct jp_ws_msg *msg)
{
    struct hub *h = s->hub;
    struct client_header header;
    runner_touch(h->cfg.runner);
    kernel_touch(h->cfg.kernel);
    if (!read_header(msg->frames[JP_HEADER], &header)) {
        count_dropped(h, "its header has no msg_id and msg_type that a kernel takes");
        return 0;
    }
    if (msg->channel == JP_IOPUB) {
        count_dropped(h, "nothing can be sent on iopub");
        return 0;
    }
    if (msg->channel == JP_STDIN) {
        if (forward(h, s->number, msg, NULL) < 0)
            count_dropped(h, "no kernel waits for input");
        return 0;
    }
    if (is_taken(h, header.msg_id)) {
        count_dropped(h, "its msg_id is used by another request");
        return 0;
    }
    pass(s, track(s, msg, &header), msg);
    s->full = hub_requests_are_full(&h->requests);
    return s->full ? HUB_FULL : 0;
}
