/*
 * Sessions and what they read. A session that waits for nothing has `next` at the ring's end; when
 * something is put there, it is told at once, and normally reads it before hub_put() looks at the
 * ceilings. What every session has is trimmed away, so that a kernel with clients that read and
 * acknowledge holds next to nothing.
 */
#include "kernel-runner/attach/hub_internal.h"

#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <utlist.h>

/* The text of a marker: a stream message on stderr. */
#define MARKER_BYTES KIB(1)

static bool is_for(const struct hub_session *s, const struct hub_entry *e)
{
    return e->to == 0 || e->to == s->number;
}

/* ---- the ring ---- */

/* What a session may still want. */
static uint64_t wanted_from(const struct hub_session *s)
{
    if (!s->id[0])
        return s->next;
    return s->acks ? MIN(s->acked + 1, s->next) : s->next;
}

static void evict_detached(struct hub *h);

/* Those whose next entry is gone have lost what they must not: they start anew. */
static void end_overrun(struct hub *h)
{
    struct hub_session *s, *next;
    DL_FOREACH_SAFE2 (h->sessions, s, next, next_session) {
        if (s->next >= hub_ring_first(h->ring) || !s->connected)
            continue;
        struct hub_front front = s->front;
        log_event(LOG_WARN, "client_overrun", "kernel", kernel_id(h->cfg.kernel), NULL);
        hub_detach(s);
        front.on_over(front.ctx, 1013, "too many messages wait for this client: connect again");
    }
}

/* In a turn of its own: nobody is in the middle of a session then. */
static void trim(void *ctx)
{
    struct hub *h = ctx;
    end_overrun(h);
    evict_detached(h);
    uint64_t from = hub_ring_next(h->ring);
    struct hub_session *s;
    DL_FOREACH2 (h->sessions, s, next_session)
        from = MIN(from, wanted_from(s));
    hub_ring_trim(h->ring, from - 1);
}

/* What connected clients have not been sent. */
static uint64_t live_from(const struct hub *h)
{
    uint64_t from = hub_ring_next(h->ring);
    const struct hub_session *s;
    DL_FOREACH2 (h->sessions, s, next_session)
        if (s->connected)
            from = MIN(from, s->next);
    return from;
}

void hub_put(struct hub *h, uint32_t to, enum hub_weight weight, char *v1_take, size_t len)
{
    uint64_t seq = hub_ring_append(h->ring, to, weight, v1_take, len);
    struct hub_session *s, *next;
    DL_FOREACH_SAFE2 (h->sessions, s, next, next_session) {
        if (!s->connected || s->next != seq)
            continue;
        if (to == 0 || to == s->number)
            s->front.on_more(s->front.ctx);
        else
            s->next++;
    }
    hub_ring_limit(h->ring, live_from(h));
    loop_defer_post(h->trimmer);
}

/* Dropped outputs in a row are one. */
static void view_lost(struct hub_session *s, struct hub_view *ret)
{
    for (uint64_t seq = s->next; seq < hub_ring_next(s->hub->ring); seq++) {
        const struct hub_entry *e = hub_ring_at(s->hub->ring, seq);
        bool dropped = !e->v1 && !e->spilled;
        if (!dropped && is_for(s, e))
            break;
        ret->seq = seq;
        if (!dropped || !is_for(s, e))
            continue;
        if (ret->lost_messages++ == 0)
            ret->parent = slice_str(e->parent);
        ret->lost_bytes += e->len;
    }
}

bool hub_peek(struct hub_session *s, struct hub_view *ret)
{
    struct hub_ring *ring = s->hub->ring;
    *ret = (struct hub_view){0};
    if (s->missed) {
        ret->seq = s->next - 1;
        ret->lost_messages = s->missed;
        return true;
    }
    if (s->next < hub_ring_first(ring))
        return false; /* it is overrun, and about to be closed */
    for (; s->next < hub_ring_next(ring); s->next++) {
        const struct hub_entry *e = hub_ring_at(ring, s->next);
        if (!is_for(s, e) || (e->weight == HUB_ONCE && s->next <= s->sent))
            continue;
        ret->seq = s->next;
        if (!hub_ring_read(ring, s->next, &ret->v1))
            view_lost(s, ret);
        return true;
    }
    return false;
}

void hub_advance(struct hub_session *s, const struct hub_view *view)
{
    s->next = view->seq + 1;
    s->sent = MAX(s->sent, view->seq);
    s->missed = 0;
}

uint64_t hub_sent(const struct hub_session *s)
{
    return s->next - 1;
}

void hub_acked(struct hub_session *s, uint64_t seq)
{
    if (seq >= s->next || (s->acks && seq <= s->acked))
        return;
    s->acks = true;
    s->acked = seq;
    loop_defer_post(s->hub->trimmer);
}

void hub_put_lost(struct hub_session *s, const struct hub_view *view, struct buf *out)
{
    char content[MARKER_BYTES];
    size_t len = 0;
    snprintf(
        content, sizeof(content),
        "{\"name\":\"stderr\",\"text\":\"[caesarion: %llu messages (%.1f MiB) are missing here: "
        "this client was away or did not read them in time]\\n\"}",
        (unsigned long long)view->lost_messages, (double)view->lost_bytes / (1024.0 * 1024.0));
    struct hub_said said = {.kernel = s->hub->cfg.kernel,
                            .channel = JP_IOPUB,
                            .msg_type = "stream",
                            .parent = view->parent,
                            .content = slice_str(content)};
    _cleanup_(freep) char *v1 = hub_say(&said, &len);
    buf_append(out, v1, len);
}

/* ---- sessions ---- */

static struct hub_session *find_session(struct hub *h, const char *id)
{
    struct hub_session *s;
    DL_FOREACH2 (h->sessions, s, next_session)
        if (strcmp(s->id, id) == 0)
            return s;
    return NULL;
}

static void session_free(struct hub_session *s)
{
    struct hub *h = s->hub;
    *(s->connected ? &h->n_connected : &h->n_detached) -= 1;
    DL_DELETE2(h->sessions, s, prev, next_session);
    loop_defer_post(h->trimmer);
    free(s);
}

static struct hub_session *oldest_detached(struct hub *h)
{
    struct hub_session *s, *oldest = NULL;
    DL_FOREACH2 (h->sessions, s, next_session)
        if (!s->connected && (!oldest || s->detached_ms < oldest->detached_ms))
            oldest = s;
    return oldest;
}

static void evict_detached(struct hub *h)
{
    struct hub_session *s;
    while (h->n_detached > HUB_DETACHED_MAX && (s = oldest_detached(h)))
        session_free(s);
}

static void on_expiry(void *ctx)
{
    struct hub *h = ctx;
    int64_t now = loop_now_ms(h->loop);
    struct hub_session *s;
    while ((s = oldest_detached(h)) && now - s->detached_ms >= HUB_SESSION_KEPT_MS)
        session_free(s);
    if (s)
        loop_timer_start(h->expiry, s->detached_ms + HUB_SESSION_KEPT_MS - now, 0);
}

void hub_detach(struct hub_session *s)
{
    struct hub *h = s->hub;
    if (!s->connected)
        return;
    if (!s->id[0]) {
        session_free(s);
        return;
    }
    s->connected = s->full = false;
    h->n_connected--;
    h->n_detached++;
    s->detached_ms = loop_now_ms(h->loop);
    /* What was sent and not acknowledged is sent again: it may not have arrived. */
    s->next = wanted_from(s);
    loop_defer_post(h->trimmer);
    if (!loop_timer_active(h->expiry))
        loop_timer_start(h->expiry, HUB_SESSION_KEPT_MS, 0);
}

static void replace_connection(struct hub_session *s)
{
    struct hub_front front = s->front;
    hub_detach(s);
    front.on_over(front.ctx, 1000, "replaced by a newer connection of this session");
}

static struct hub_session *session_new(struct hub *h, const char *id)
{
    struct hub_session *s = MEM_NEW(struct hub_session);
    s->hub = h;
    s->number = ++h->last_number ? h->last_number : ++h->last_number;
    snprintf(s->id, sizeof(s->id), "%s", id);
    s->next = hub_ring_next(h->ring);
    h->n_detached++;
    DL_APPEND2(h->sessions, s, prev, next_session);
    return s;
}

int hub_attach(struct hub *h, const char *session_id, bool all, const struct hub_front *front,
               struct hub_session **ret, struct err *err)
{
    struct hub_session *s = session_id[0] ? find_session(h, session_id) : NULL;
    if (strlen(session_id) >= JP_ID_SIZE)
        return err_field(err, "session_id", "a session id has at most %d bytes", JP_ID_SIZE - 1);
    if (s && s->connected)
        replace_connection(s);
    if (h->n_connected >= HUB_SESSIONS_MAX)
        return err_set(err, ERR_LIMIT, "%d clients are attached to this kernel already",
                       HUB_SESSIONS_MAX);
    if (!s)
        s = session_new(h, session_id);
    /* Of what it missed not even a trace may be kept. */
    if (s->next < hub_ring_first(h->ring)) {
        s->missed = hub_ring_first(h->ring) - s->next;
        s->next = hub_ring_first(h->ring);
    }
    s->front = *front;
    s->all = all;
    s->connected = true;
    h->n_detached--;
    h->n_connected++;
    *ret = s;
    return 0;
}

void hub_close_all(struct hub *h, int code, const char *reason)
{
    struct hub_session *s, *next;
    DL_FOREACH_SAFE2 (h->sessions, s, next, next_session) {
        if (!s->connected)
            continue;
        struct hub_front front = s->front;
        hub_detach(s);
        front.on_over(front.ctx, code, reason);
    }
}

/* ---- life ---- */

struct hub *hub_new(const struct hub_cfg *cfg)
{
    struct hub *h = MEM_NEW(struct hub);
    h->cfg = *cfg;
    h->loop = runner_loop(cfg->runner);
    h->ring = hub_ring_new(cfg->spill);
    h->expiry = loop_timer_new(h->loop, on_expiry, h);
    h->trimmer = loop_defer_new(h->loop, trim, h);
    hub_listen(h);
    return h;
}

struct hub *hub_free(struct hub *h)
{
    if (!h)
        return NULL;
    hub_close_all(h, 1000, "the kernel is gone");
    if (!h->gone) {
        exec_queue_set_foreign(h->cfg.queue, NULL);
        kernel_unlisten(h->cfg.kernel, &h->listener);
    }
    while (h->requests.main)
        hub_requests_remove(&h->requests, h->requests.main);
    while (h->requests.others)
        hub_requests_remove(&h->requests, h->requests.others);
    while (h->sessions)
        session_free(h->sessions);
    hub_ring_free(h->ring);
    loop_timer_free(h->expiry);
    loop_timer_free(h->watch);
    loop_defer_free(h->trimmer);
    loop_post_cancel(&h->room);
    free(h);
    return NULL;
}

const char *hub_kernel_id(const struct hub *h)
{
    return kernel_id(h->cfg.kernel);
}

unsigned hub_connections(const struct hub *h)
{
    return h->n_connected;
}
