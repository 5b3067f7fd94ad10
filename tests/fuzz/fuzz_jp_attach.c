/* LINK: attach lib_jupyter lib_base */
/*
 * Input: records, each a byte and a length of two bytes (little endian). Kind 0 and 1: frames of a
 * local client, each behind a length of two bytes; in kind 1 they are signed, so that what lies
 * behind the signature check is reached. Kind 2: a WebSocket message of the runner. Kind 3: a
 * message of the runner with the record for its header, in answer to the last request. Properties:
 * nothing unsigned or repeated is taken; a request is passed on as it is; an answer goes to whoever
 * asked last under its parent's id, and to nobody else; ceilings hold.
 */
#include "attach/attach_relay.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/jupyter/jp_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = JP_FRAMES_MAX + 4, OUT_MAX = 1 << 20 };

struct state {
    struct jp_guard *guard;
    struct attach_relay *relay;
    struct crypto_hmac key;
    char last_id[JP_ID_SIZE]; /* of the last request that can be answered */
    char idents[JP_IDENTS_MAX][JP_IDENT_MAX];
    size_t ident_lens[JP_IDENTS_MAX], n_idents;
    enum jp_channel channel;
};

static struct jp_request req;
static struct attach_answer answer;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static size_t split(struct slice record, struct slice frames[MAX])
{
    size_t n = 0, at = 0;
    const unsigned char *p = (const unsigned char *)record.ptr;
    while (record.len - at >= 2 && n < MAX) {
        size_t len = (size_t)p[at] | (size_t)p[at + 1] << 8;
        at += 2;
        len = MIN(len, record.len - at);
        frames[n++] = slice_make(record.ptr + at, len);
        at += len;
    }
    return n;
}

static void remember(struct state *s)
{
    memcpy(s->last_id, req.msg.msg_id, sizeof(s->last_id));
    s->n_idents = req.n_idents;
    s->channel = req.msg.channel;
    for (size_t i = 0; i < req.n_idents; i++) {
        s->ident_lens[i] = req.idents[i].len;
        if (req.idents[i].len)
            memcpy(s->idents[i], req.idents[i].ptr, req.idents[i].len);
    }
}

static void check_request(const struct buf *out)
{
    static struct jp_ws_msg ws;
    const struct jp_msg *m = &req.msg;
    check(jp_ws_v1_decode(&ws, buf_slice(out), NULL) == 0);
    check(ws.channel == m->channel && ws.n_buffers == m->n_buffers);
    check(slice_eq(ws.frames[JP_HEADER], m->header) && slice_eq(ws.frames[JP_PARENT], m->parent) &&
          slice_eq(ws.frames[JP_METADATA], m->metadata) &&
          slice_eq(ws.frames[JP_CONTENT], m->content));
    for (size_t i = 0; i < m->n_buffers; i++)
        check(slice_eq(ws.buffers[i], m->buffers[i]));
    check(req.n_idents <= JP_IDENTS_MAX);
}

static void client_frames(struct state *s, struct slice record, bool sign)
{
    struct slice frames[MAX];
    size_t n = split(record, frames), at = 0;
    char sig[CRYPTO_HEX_SIZE];
    while (at < n && !slice_eq_str(frames[at], JP_DELIMITER))
        at++;
    bool signed_now = sign && n - at >= 6;
    if (signed_now) {
        jp_wire_sign(&s->key, frames + at + 2, sig);
        frames[at + 1] = slice_str(sig);
    }
    static const enum jp_channel channels[] = {JP_SHELL, JP_CONTROL, JP_STDIN};
    req.msg.channel = channels[record.len % 3];
    int r = jp_guard_take(s->guard, &req, frames, n);
    check(r == 0 || r == -ERR_INVALID || r == -ERR_UNAUTHORIZED || r == -ERR_CONFLICT);
    if (r != 0)
        return;
    check(signed_now);
    struct buf out;
    buf_init(&out, OUT_MAX);
    check(attach_relay_request(s->relay, &req, &out) == 0);
    check_request(&out);
    if (req.msg.channel != JP_STDIN)
        remember(s);
    buf_done(&out);
    check(jp_guard_take(s->guard, &req, frames, n) == -ERR_CONFLICT);
}

static void check_route(const struct state *s)
{
    check(answer.route.n_idents == s->n_idents);
    for (size_t i = 0; i < s->n_idents; i++)
        check(slice_eq(answer.route.idents[i], slice_make(s->idents[i], s->ident_lens[i])));
    check(answer.channel == (answer.ws.channel == JP_STDIN ? JP_STDIN : s->channel));
}

static void runner_message(struct state *s, struct slice message)
{
    int r = attach_relay_answer(s->relay, message, &answer);
    check(r == 0 || r == -ERR_INVALID || r == -ERR_NOT_FOUND || r == -ERR_CONFLICT);
    if (r != 0)
        return;
    check(answer.ws.n_buffers <= JP_BUFFERS_MAX && strlen(answer.topic) < ATTACH_TOPIC_SIZE);
    if (answer.channel != JP_IOPUB && strcmp(answer.msg.parent_id, s->last_id) == 0)
        check_route(s);
    bool is_new = attach_relay_is_new(s->relay, &answer);
    check(!attach_relay_is_new(s->relay, &answer));
    (void)is_new;
}

static void runner_answer(struct state *s, struct slice header)
{
    if (!s->last_id[0])
        return;
    struct buf parent, out;
    buf_init(&parent, KIB(4));
    buf_init(&out, OUT_MAX);
    check(jp_wire_header(&parent, s->last_id, "s", "execute_request", 0) == 0);
    struct jp_ws_msg ws = {
        .channel = header.len % 2 ? JP_SHELL : JP_STDIN,
        .frames = {header, buf_slice(&parent), slice_str("{}"), slice_str("{}")}};
    check(jp_ws_v1_encode(&out, &ws) == 0);
    runner_message(s, buf_slice(&out));
    buf_done(&parent);
    buf_done(&out);
}

static void one_record(struct state *s, unsigned kind, struct slice record)
{
    switch (kind % 4) {
    case 0:
    case 1:
        client_frames(s, record, kind % 4 == 1);
        return;
    case 2:
        runner_message(s, record);
        return;
    default:
        runner_answer(s, record);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct state s;
    s = (struct state){.guard = jp_guard_new("fuzz"), .relay = attach_relay_new()};
    crypto_hmac_init(&s.key, "fuzz", 4);
    attach_relay_kernel(s.relay, "0b7ba1c2-3d4e-4f50-8a6b-7c8d9e0f1000");
    for (size_t at = 0; size - at >= 3;) {
        unsigned kind = data[at];
        size_t len = (size_t)data[at + 1] | (size_t)data[at + 2] << 8;
        at += 3;
        len = MIN(len, size - at);
        one_record(&s, kind, slice_make((const char *)data + at, len));
        at += len;
    }
    attach_relay_free(s.relay);
    jp_guard_free(s.guard);
    crypto_hmac_done(&s.key);
    return 0;
}
