/*
 * Two queues. Requests wait in `requests` until the other side is known to have them (marks of the
 * link), so that a connection that breaks takes none along; when it is full the clients' sockets
 * are not read. Answers go straight to the clients; only when a subscriber of IOPub does not take
 * do they wait in `answers`, in order, and the WebSocket is not read. A subscriber has
 * ATTACH_STALL_MS; then that one loses what it does not take, as it would with a kernel of its own.
 */
#include "attach/attach_flow.h"

#include "attach/attach_link.h"
#include "attach/attach_queue.h"
#include "attach/attach_relay.h"
#include "lib/api/limits.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include "lib/jupyter/jp_server.h"
#include "lib/loop/loop.h"

struct attach_flow {
    struct attach_flow_cfg cfg;
    struct jp_server *server;
    struct attach_relay *relay;
    struct attach_link *link;
    struct attach_queue *requests, *answers;
    struct loop_timer *stall;
    struct attach_answer answer;
    char session[ID_UUID_SIZE];
    bool held, was_up;
    bool told[ERR_CODE_MAX]; /* which kinds of dropped messages were logged */
    unsigned long too_large, nobodys, garbled, said;
};

/* ---- in the kernel's place ---- */

static void say(struct attach_flow *f, const struct jp_request *req, const char *msg_type,
                const char *content, bool to_all)
{
    char msg_id[JP_ID_SIZE], topic[JP_ID_SIZE];
    snprintf(msg_id, sizeof(msg_id), "%s_%lu", f->session, ++f->said);
    snprintf(topic, sizeof(topic), "kernel.%s", msg_type);
    struct buf header;
    buf_init(&header, KIB(4));
    jp_wire_header(&header, msg_id, f->session, msg_type, clk_wall_us());
    const struct slice json[JP_JSON_FRAMES] = {[JP_HEADER] = buf_slice(&header),
                                               [JP_PARENT] = req->msg.header,
                                               [JP_CONTENT] = slice_str(content)};
    const struct jp_outgoing out = {.json = json};
    if (to_all)
        jp_server_publish(f->server, slice_str(topic), &out, /* lossy= */ true);
    else
        jp_server_reply(f->server, req->msg.channel, req->idents, req->n_idents, &out);
    buf_done(&header);
}

/* Nobody waits for an answer that cannot come. */
static void refuse(struct attach_flow *f, const struct jp_request *req)
{
    static const char suffix[] = "_request";
    _cleanup_(freep) char *why = mem_printf("a message to the kernel has at most %zu MiB",
                                            LIMIT_CLIENT_MESSAGE_BYTES / MIB(1));
    _cleanup_(freep) char *error = mem_printf("\"ename\":\"MessageTooLarge\",\"evalue\":\"%s\","
                                              "\"traceback\":[\"MessageTooLarge: %s\"]}",
                                              why, why);
    log_event(LOG_WARN, "request_too_large", "msg_type", req->msg.msg_type, NULL);
    size_t stem = strlen(req->msg.msg_type), n = sizeof(suffix) - 1;
    if (stem <= n || strcmp(req->msg.msg_type + stem - n, suffix) != 0)
        return;
    _cleanup_(freep) char *type = mem_printf("%.*s_reply", (int)(stem - n), req->msg.msg_type);
    _cleanup_(freep) char *output = mem_printf("{%s", error);
    _cleanup_(freep) char *reply = mem_printf("{\"status\":\"error\",%s", error);
    say(f, req, "status", "{\"execution_state\":\"busy\"}", /* to_all= */ true);
    say(f, req, "error", output, /* to_all= */ true);
    say(f, req, type, reply, /* to_all= */ false);
    say(f, req, "status", "{\"execution_state\":\"idle\"}", /* to_all= */ true);
}

/* ---- requests ---- */

static void send_requests(struct attach_flow *f)
{
    uint64_t number = 0;
    for (struct slice data;
         f->link && attach_link_may_send(f->link) && attach_queue_next(f->requests, &data);) {
        attach_link_send(f->link, data);
        number = attach_queue_sent(f->requests);
    }
    if (number)
        attach_link_mark(f->link, number);
}

static void hold(struct attach_flow *f)
{
    bool full = attach_queue_full(f->requests);
    if (full == f->held)
        return;
    f->held = full;
    jp_server_hold(f->server, full);
}

static bool is_shutdown(const struct jp_msg *m, bool *restart)
{
    *restart = jsonx_valid(m->content) && slice_eq_str(jsonx_find(m->content, "restart"), "true");
    return m->channel != JP_STDIN && strcmp(m->msg_type, "shutdown_request") == 0;
}

static void on_request(void *ctx, const struct jp_request *req)
{
    struct attach_flow *f = ctx;
    bool restart;
    if (f->cfg.on_shutdown && is_shutdown(&req->msg, &restart) &&
        f->cfg.on_shutdown(f->cfg.ctx, req, restart))
        return;
    struct buf out;
    buf_init(&out, LIMIT_CLIENT_MESSAGE_BYTES);
    if (attach_relay_request(f->relay, req, &out) < 0) {
        f->too_large++;
        refuse(f, req);
        buf_done(&out);
        return;
    }
    attach_queue_push(f->requests, &out);
    send_requests(f);
    hold(f);
}

static void on_dropped(void *ctx, enum err_code why)
{
    struct attach_flow *f = ctx;
    if (f->told[why])
        return;
    f->told[why] = true;
    const char *text = why == ERR_UNAUTHORIZED ? "not signed with the connection's key"
                       : why == ERR_CONFLICT   ? "it was there before"
                                               : "malformed";
    log_event(LOG_WARN, "message_dropped", "why", text, NULL);
}

/* ---- answers ---- */

/* Reads it into f->answer. */
static bool understand(struct attach_flow *f, struct slice data)
{
    int r = attach_relay_answer(f->relay, data, &f->answer);
    f->garbled += r == -ERR_INVALID;
    f->nobodys += r == -ERR_NOT_FOUND;
    return r == 0;
}

/* False: a subscriber does not take it. */
static bool deliver(struct attach_flow *f, bool lossy)
{
    const struct attach_answer *a = &f->answer;
    const struct jp_outgoing out = {
        .json = a->ws.frames, .buffers = a->ws.buffers, .n_buffers = a->ws.n_buffers};
    if (a->channel == JP_IOPUB)
        return jp_server_publish(f->server, slice_str(a->topic), &out, lossy) != JP_SERVER_FULL;
    jp_server_reply(f->server, a->channel, a->route.idents, a->route.n_idents, &out);
    if (a->channel == JP_CONTROL)
        f->cfg.on_replied(f->cfg.ctx, a->msg.parent_id);
    return true;
}

static void deliver_waiting(struct attach_flow *f, bool lossy)
{
    for (struct slice data; attach_queue_next(f->answers, &data); lossy = false) {
        if (understand(f, data) && !deliver(f, lossy))
            return;
        attach_queue_arrived(f->answers, attach_queue_sent(f->answers));
        loop_timer_start(f->stall, ATTACH_STALL_MS, 0);
    }
    loop_timer_stop(f->stall);
    if (f->link)
        attach_link_pause(f->link, false);
}

static void on_room(void *ctx)
{
    struct attach_flow *f = ctx;
    if (attach_queue_count(f->answers))
        deliver_waiting(f, /* lossy= */ false);
}

static void on_stalled(void *ctx)
{
    struct attach_flow *f = ctx;
    log_event(LOG_WARN, "client_stalled", "why",
              "a client does not read its outputs and loses some; the others go on", NULL);
    deliver_waiting(f, /* lossy= */ true);
}

/* ---- the link ---- */

static void on_message(void *ctx, struct slice data)
{
    struct attach_flow *f = ctx;
    if (!understand(f, data) || !attach_relay_is_new(f->relay, &f->answer))
        return;
    if (!attach_queue_count(f->answers) && deliver(f, /* lossy= */ false))
        return;
    struct buf kept;
    buf_init(&kept, data.len);
    buf_append_slice(&kept, data);
    attach_queue_push(f->answers, &kept);
    if (attach_queue_count(f->answers) > 1)
        return;
    attach_link_pause(f->link, true);
    loop_timer_start(f->stall, ATTACH_STALL_MS, 0);
}

static void on_up(void *ctx)
{
    struct attach_flow *f = ctx;
    bool first = !f->was_up;
    f->was_up = true;
    if (!first)
        log_event(LOG_WARN, "link_restored", NULL);
    send_requests(f);
    if (first)
        f->cfg.on_up(f->cfg.ctx);
}

static void on_down(void *ctx, bool refused, const char *why)
{
    struct attach_flow *f = ctx;
    log_event(LOG_WARN, "link_lost", "why", why, NULL);
    if (refused)
        attach_queue_give_up(f->requests);
    attach_queue_rewind(f->requests);
    hold(f);
}

static void on_link_room(void *ctx)
{
    send_requests(ctx);
}

static void on_arrived(void *ctx, uint64_t number)
{
    struct attach_flow *f = ctx;
    attach_queue_arrived(f->requests, number);
    hold(f);
}

static void on_failed(void *ctx, const struct err *err)
{
    struct attach_flow *f = ctx;
    f->cfg.on_failed(f->cfg.ctx, err);
}

/* ---- for the owner ---- */

int attach_flow_new(struct attach_flow **ret, const struct attach_flow_cfg *cfg, struct err *err)
{
    struct attach_flow *f = MEM_NEW(struct attach_flow);
    f->cfg = *cfg;
    f->cfg.conn = NULL;
    const struct jp_server_cfg server = {.conn = cfg->conn,
                                         .on_request = on_request,
                                         .on_dropped = on_dropped,
                                         .on_room = on_room,
                                         .ctx = f};
    int r = jp_server_new(&f->server, cfg->jupyter, &server, err);
    if (r < 0) {
        free(f);
        return r;
    }
    crypto_new_uuid(f->session);
    f->relay = attach_relay_new();
    f->requests = attach_queue_new(ATTACH_KEPT_MESSAGES, ATTACH_KEPT_BYTES);
    f->answers = attach_queue_new(SIZE_MAX, SIZE_MAX); /* what the WebSocket had read */
    f->stall = loop_timer_new(cfg->loop, on_stalled, f);
    *ret = f;
    return 0;
}

struct attach_flow *attach_flow_free(struct attach_flow *f)
{
    if (!f)
        return NULL;
    attach_link_free(f->link);
    jp_server_free(f->server);
    attach_relay_free(f->relay);
    attach_queue_free(f->requests);
    attach_queue_free(f->answers);
    loop_timer_free(f->stall);
    free(f);
    return NULL;
}

void attach_flow_connect(struct attach_flow *f, const struct attach_target *target)
{
    const struct attach_link_cfg cfg = {.loop = f->cfg.loop,
                                        .http = f->cfg.http,
                                        .url = target->url,
                                        .token = target->token,
                                        .path = target->path,
                                        .what = target->what,
                                        .on_up = on_up,
                                        .on_down = on_down,
                                        .on_message = on_message,
                                        .on_room = on_link_room,
                                        .on_arrived = on_arrived,
                                        .on_failed = on_failed,
                                        .ctx = f};
    attach_relay_kernel(f->relay, target->kernel_id);
    f->link = attach_link_new(&cfg);
}

void attach_flow_disconnect(struct attach_flow *f)
{
    f->link = attach_link_free(f->link);
}

void attach_flow_shutdown_reply(struct attach_flow *f, const struct jp_request *req, bool restart)
{
    const char *content =
        restart ? "{\"status\":\"ok\",\"restart\":true}" : "{\"status\":\"ok\",\"restart\":false}";
    say(f, req, "shutdown_reply", content, /* to_all= */ false);
    say(f, req, "shutdown_reply", content, /* to_all= */ true);
}

void attach_flow_log(const struct attach_flow *f)
{
    struct jp_server_counts c = jp_server_counts(f->server);
    const struct {
        const char *name;
        unsigned long n;
    } counts[] = {
        {"forged", c.dropped.forged},       {"replayed", c.dropped.replayed},
        {"malformed", c.dropped.malformed}, {"undelivered_replies", c.undelivered},
        {"lost_outputs", c.lost},           {"too_large", f->too_large},
        {"replies_to_nobody", f->nobodys},  {"garbled", f->garbled},
    };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        if (!counts[i].n)
            continue;
        _cleanup_(freep) char *n = mem_printf("%lu", counts[i].n);
        log_event(LOG_INFO, "messages_counted", "what", counts[i].name, "n", n, NULL);
    }
}
