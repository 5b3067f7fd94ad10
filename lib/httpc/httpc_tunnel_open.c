/*
 * Why: from a URL to an open tunnel, or to why not. All that is needed only until then lies in
 * `opening`, which is freed when the tunnel opens. Every callback of the user is the last thing its
 * caller does, for the tunnel may be freed in it: functions that may have called one say so.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/httpc/httpc.h"
#include "lib/httpc/httpc_tunnel_internal.h"

#define REQUEST_MAX KIB(64)
#define DEADLINE_MS 10000

struct tunnel_opening {
    struct httpc_dial *dial;
    struct loop_timer *timer;
    struct buf out; /* the request's head */
    struct buf in;  /* the answer's head and what follows */
    int64_t body_len;
    bool is_tls, is_chunked;
};

void tunnel_opening_free(struct httpc_tunnel *t)
{
    struct tunnel_opening *o = TAKE_PTR(t->opening);
    if (!o)
        return;
    httpc_dial_free(o->dial);
    loop_timer_free(o->timer);
    if (o->out.ptr)
        explicit_bzero(o->out.ptr, o->out.len); /* a token */
    buf_done(&o->out);
    buf_done(&o->in);
    free(o);
}

static void refuse(struct httpc_tunnel *t, int status, struct slice body, const struct err *err)
{
    t->phase = TUNNEL_END;
    loop_timer_stop(t->opening->timer);
    t->opening->dial = httpc_dial_free(t->opening->dial);
    if (t->poll)
        loop_poll_set(t->poll, 0);
    t->on_refused(t->ctx, status, body, err);
}

static void fail(struct httpc_tunnel *t, const struct err *err)
{
    refuse(t, 0, (struct slice){0}, err);
}

static void lost(struct httpc_tunnel *t, const char *text)
{
    struct err err = {0};
    err_set(&err, ERR_SANDBOX_LOST, "%s", text);
    fail(t, &err);
}

static void on_deadline(void *ctx)
{
    struct httpc_tunnel *t = ctx;
    struct err err = {0};
    if (t->phase == TUNNEL_DIAL)
        err_set(&err, ERR_UNAVAILABLE, "cannot connect in time");
    else
        err_set(&err, ERR_TIMEOUT, "no answer to the upgrade in time");
    fail(t, &err);
}

static void opened(struct httpc_tunnel *t, size_t head_len)
{
    struct tunnel_opening *o = t->opening;
    buf_init(&t->early, HTTPC_TUNNEL_HEAD_MAX);
    if (o->in.len > head_len)
        buf_append(&t->early, o->in.ptr + head_len, o->in.len - head_len);
    t->phase = TUNNEL_OPEN;
    t->tls_more = t->tls != NULL;
    tunnel_opening_free(t);
    loop_poll_set(t->poll, 0);
    t->on_open(t->ctx);
}

static int too_long(struct err *err)
{
    return err_set(err, ERR_TOO_LARGE, "the answer is longer than %zu bytes",
                   HTTPC_TUNNEL_BODY_MAX);
}

/* A body that refuses: true when it is whole, or can never be. */
static bool body_is_over(struct httpc_tunnel *t, bool at_end)
{
    struct tunnel_opening *o = t->opening;
    struct err err = {0};
    int r = 0;
    if (o->is_chunked) {
        r = httpc_body_dechunk(o->in.ptr ? o->in.ptr : (char[1]){0}, &o->in.len, &err);
        if (r == HTTPC_BODY_MORE && at_end)
            r = err_set(&err, ERR_SANDBOX_LOST, "the answer broke off");
    } else if (o->body_len > (int64_t)HTTPC_TUNNEL_BODY_MAX) {
        r = too_long(&err);
    } else if (o->body_len >= 0) {
        if ((int64_t)o->in.len < o->body_len)
            r = at_end ? err_set(&err, ERR_SANDBOX_LOST, "the answer broke off") : HTTPC_BODY_MORE;
        else
            o->in.len = (size_t)o->body_len;
    } else {
        r = at_end ? 0 : HTTPC_BODY_MORE;
    }
    if (r == 0 && o->in.len > HTTPC_TUNNEL_BODY_MAX)
        r = too_long(&err);
    if (r > 0)
        return false;
    if (r < 0)
        fail(t, &err);
    else
        refuse(t, t->head.status, buf_slice(&o->in), NULL);
    return true;
}

/* Another answer than 101: what follows the head is its body. True: the tunnel may be freed. */
static bool begin_body(struct httpc_tunnel *t, size_t head_len)
{
    struct tunnel_opening *o = t->opening;
    const char *length = httpc_head_get(&t->head, "Content-Length");
    const char *coding = httpc_head_get(&t->head, "Transfer-Encoding");
    uint64_t n = 0;
    t->phase = TUNNEL_BODY;
    o->in.max = HTTPC_TUNNEL_BODY_MAX + KIB(1); /* of chunks' framing */
    buf_consume(&o->in, head_len);
    o->is_chunked = coding && strcasecmp(coding, "chunked") == 0;
    o->body_len = -1;
    if (t->head.status == 204 || t->head.status == 304) {
        o->body_len = 0;
    } else if (length && !o->is_chunked) {
        if (parse_u64(length, 0, INT64_MAX, &n, NULL) < 0) {
            lost(t, "the answer is not HTTP/1.1");
            return true;
        }
        o->body_len = (int64_t)n;
    }
    return body_is_over(t, /* at_end= */ false);
}

/* True: it is over (opened or refused), the tunnel may be freed. */
static bool look_for_head(struct httpc_tunnel *t)
{
    struct tunnel_opening *o = t->opening;
    struct err err = {0};
    for (;;) {
        const char *end = o->in.len ? memmem(o->in.ptr, o->in.len, "\r\n\r\n", 4) : NULL;
        if (!end && o->in.len < HTTPC_TUNNEL_HEAD_MAX)
            return false;
        if (!end) {
            lost(t, "the answer's head is too long");
            return true;
        }
        size_t len = (size_t)(end + 4 - o->in.ptr);
        if (httpc_head_parse(&t->head, o->in.ptr, len, &err) < 0) {
            fail(t, &err);
            return true;
        }
        if (t->head.status == 101) {
            opened(t, len);
            return true;
        }
        if (t->head.status >= 200)
            return begin_body(t, len);
        httpc_head_done(&t->head); /* 100 Continue, 103 Early Hints */
        buf_consume(&o->in, len);
    }
}

static void on_answer(struct httpc_tunnel *t)
{
    for (;;) {
        struct tunnel_opening *o = t->opening;
        size_t room = t->phase == TUNNEL_HEAD ? HTTPC_TUNNEL_HEAD_MAX - o->in.len
                                              : o->in.max - MIN(o->in.max, o->in.len);
        char block[KIB(4)];
        if (room == 0) {
            struct err err = {0};
            too_long(&err);
            fail(t, &err);
            return;
        }
        ssize_t n = tunnel_recv(t, block, MIN(room, sizeof(block)));
        if (n < 0 && tunnel_is_again())
            return;
        if (n <= 0 && (t->phase == TUNNEL_HEAD || n < 0)) {
            lost(t, "the connection broke before an answer");
            return;
        }
        if (n == 0) {
            (void)body_is_over(t, /* at_end= */ true);
            return;
        }
        buf_append(&o->in, block, (size_t)n);
        bool over =
            t->phase == TUNNEL_HEAD ? look_for_head(t) : body_is_over(t, /* at_end= */ false);
        if (over)
            return;
    }
}

static void send_request(struct httpc_tunnel *t)
{
    struct buf *out = &t->opening->out;
    ssize_t n = tunnel_send(t, out->ptr, out->len);
    if (n < 0 && !tunnel_is_again()) {
        lost(t, "the connection broke before an answer");
        return;
    }
    if (n > 0) {
        explicit_bzero(out->ptr, (size_t)n);
        buf_consume(out, (size_t)n);
    }
    bool sent = out->len == 0;
    if (sent)
        t->phase = TUNNEL_HEAD;
    loop_poll_set(t->poll, sent ? LOOP_READ : LOOP_WRITE);
}

static void on_dialled(void *ctx, const struct err *why)
{
    struct httpc_tunnel *t = ctx;
    struct tunnel_opening *o = t->opening;
    struct err err = {0};
    if (why) {
        fail(t, why);
        return;
    }
    struct httpc_dial *dial = TAKE_PTR(o->dial);
    if (o->is_tls)
        t->tls = dial;
    t->fd = o->is_tls ? httpc_dial_fd(dial) : httpc_dial_take(dial);
    t->phase = TUNNEL_REQUEST;
    if (loop_poll_new(&t->poll, t->loop, t->fd, tunnel_on_poll, t, &err) < 0)
        fail(t, &err);
    else
        send_request(t);
}

/* ---- the request's head ---- */

static char *url_part(CURLU *url, CURLUPart what, unsigned flags)
{
    char *part = NULL;
    char *copy = NULL;
    if (curl_url_get(url, what, &part, flags) == CURLUE_OK)
        copy = mem_dup_str(part);
    curl_free(part);
    return copy;
}

static int write_head(struct tunnel_opening *o, const struct httpc_tunnel_cfg *cfg, CURLU *url,
                      struct err *err)
{
    _cleanup_(freep) char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    _cleanup_(freep) char *host = url_part(url, CURLUPART_HOST, 0);
    _cleanup_(freep) char *port = url_part(url, CURLUPART_PORT, 0);
    _cleanup_(freep) char *path = url_part(url, CURLUPART_PATH, 0);
    _cleanup_(freep) char *query = url_part(url, CURLUPART_QUERY, 0);
    int r = 0;
    if (!scheme || !host || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return err_set(err, ERR_INVALID, "unusable address: it must be http:// or https://");
    o->is_tls = strcmp(scheme, "https") == 0;
    if (path && path[strcspn(path, " \r\n")])
        return err_set(err, ERR_INVALID, "unusable address: the path has a blank");
    if (query && query[strcspn(query, " \r\n")])
        return err_set(err, ERR_INVALID, "unusable address: the query has a blank");
    buf_init(&o->out, REQUEST_MAX);
    r = buf_printf(&o->out, "GET %s%s%s HTTP/1.1\r\nHost: %s%s%s\r\n", path ? path : "/",
                   query ? "?" : "", query ? query : "", host, port ? ":" : "", port ? port : "");
    for (const char *const *h = cfg->headers; r == 0 && h && *h; h++)
        r = buf_printf(&o->out, "%s\r\n", *h);
    if (r == 0)
        r = buf_append_str(&o->out, "\r\n");
    if (r < 0)
        return err_set(err, ERR_HEADER_TOO_LARGE, "the request's head exceeds %zu bytes",
                       REQUEST_MAX);
    return 0;
}

static int prepare(struct tunnel_opening *o, const struct httpc_tunnel_cfg *cfg, struct err *err)
{
    CURLU *url = curl_url();
    int r = 0;
    if (!url)
        abort();
    if (curl_url_set(url, CURLUPART_URL, cfg->url, CURLU_PATH_AS_IS) != CURLUE_OK)
        r = err_set(err, ERR_INVALID, "unusable address");
    else
        r = write_head(o, cfg, url, err);
    curl_url_cleanup(url);
    return r;
}

void tunnel_opening_ready(struct httpc_tunnel *t)
{
    if (t->phase == TUNNEL_REQUEST)
        send_request(t);
    else if (t->phase == TUNNEL_HEAD || t->phase == TUNNEL_BODY)
        on_answer(t);
}

int httpc_tunnel_open(struct httpc_tunnel **ret, struct httpc *c,
                      const struct httpc_tunnel_cfg *cfg, struct err *err)
{
    _cleanup_(httpc_tunnel_freep) struct httpc_tunnel *t = MEM_NEW(struct httpc_tunnel);
    struct tunnel_opening *o = t->opening = MEM_NEW(struct tunnel_opening);
    int64_t timeout_ms = cfg->timeout_ms > 0 ? cfg->timeout_ms : DEADLINE_MS;
    t->loop = httpc_loop(c);
    t->fd = -1;
    t->on_open = cfg->on_open;
    t->on_refused = cfg->on_refused;
    t->on_ready = cfg->on_ready;
    t->ctx = cfg->ctx;
    buf_init(&o->in, HTTPC_TUNNEL_HEAD_MAX);
    int r = prepare(o, cfg, err);
    if (r < 0)
        return r;
    const struct httpc_dial_cfg dial = {.url = cfg->url,
                                        .unix_path = cfg->unix_path,
                                        .ca_file = cfg->ca_file,
                                        .timeout_ms = timeout_ms,
                                        .on_done = on_dialled,
                                        .ctx = t};
    r = httpc_dial_start(&o->dial, t->loop, &dial, err);
    if (r < 0)
        return r;
    o->timer = loop_timer_new(t->loop, on_deadline, t);
    loop_timer_start(o->timer, timeout_ms, 0);
    *ret = TAKE_PTR(t);
    return 0;
}
