/*
 * What comes in is a kernel's word, and user code runs in the kernel with the key at hand: the
 * signature keeps out accidents and other users of the machine, the limits keep out the rest.
 * Nothing is copied but the ids of header and parent header.
 */
#include "lib/jupyter/jp_wire.h"

#include "lib/base/clk.h"
#include "lib/json/jsonx.h"

/* What is read of a header or parent header. */
struct ids {
    char *msg_id, *msg_type, *session;
};

static int read_id(struct slice value, char *out, size_t size)
{
    if (slice_eq_str(value, "null"))
        return 0;
    return jsonx_decode(value, out, size) < 0 ? -ERR_INVALID : 0;
}

static int read_header(struct slice frame, const struct ids *ids, size_t type_size)
{
    if (frame.len > JP_HEADER_MAX || !jsonx_valid(frame))
        return -ERR_INVALID;
    struct jsonx_iter it = jsonx_iter(frame);
    if (!it.p)
        return -ERR_INVALID;
    int r = 0;
    for (struct slice key, value; r == 0 && jsonx_iter_next(&it, &key, &value);) {
        if (slice_eq_str(key, "msg_id"))
            r = read_id(value, ids->msg_id, JP_ID_SIZE);
        else if (slice_eq_str(key, "msg_type"))
            r = read_id(value, ids->msg_type, type_size);
        else if (ids->session && slice_eq_str(key, "session"))
            r = read_id(value, ids->session, JP_ID_SIZE);
    }
    return r;
}

int jp_wire_read_ids(struct jp_msg *msg)
{
    msg->msg_id[0] = msg->msg_type[0] = msg->session[0] = '\0';
    msg->parent_id[0] = msg->parent_type[0] = '\0';
    struct ids own = {msg->msg_id, msg->msg_type, msg->session};
    int r = read_header(msg->header, &own, sizeof(msg->msg_type));
    if (r < 0)
        return r;
    if (!msg->msg_id[0] || !msg->msg_type[0])
        return -ERR_INVALID;
    msg->kind = jp_kind_parse(slice_str(msg->msg_type));
    if (msg->parent.len == 0)
        msg->parent = slice_str("{}");
    struct ids parent = {msg->parent_id, msg->parent_type, NULL};
    return read_header(msg->parent, &parent, sizeof(msg->parent_type));
}

int jp_wire_decode(struct jp_msg *msg, const struct slice *frames, size_t n,
                   struct crypto_hmac *key)
{
    size_t at = 0;
    while (at < n && !slice_eq_str(frames[at], JP_DELIMITER))
        at++;
    const size_t fixed = 2 + JP_JSON_FRAMES;
    if (at > n || n - at < fixed || n - at - fixed > JP_BUFFERS_MAX)
        return -ERR_INVALID;
    msg->ident = at ? frames[0] : slice_str("");
    const struct slice *json = frames + at + 2;
    char expected[CRYPTO_HEX_SIZE];
    struct slice sig = frames[at + 1];
    if (key)
        jp_wire_sign(key, json, expected);
    if (key && (sig.len != CRYPTO_HEX_SIZE - 1 || !crypto_equal_bytes(sig.ptr, expected, sig.len)))
        return -ERR_UNAUTHORIZED;
    msg->header = json[JP_HEADER];
    msg->parent = json[JP_PARENT];
    msg->metadata = json[JP_METADATA];
    msg->content = json[JP_CONTENT];
    msg->n_buffers = n - at - fixed;
    for (size_t i = 0; i < msg->n_buffers; i++)
        msg->buffers[i] = frames[at + fixed + i];
    return jp_wire_read_ids(msg);
}

void jp_wire_sign(struct crypto_hmac *key, const struct slice json[JP_JSON_FRAMES],
                  char out[CRYPTO_HEX_SIZE])
{
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        crypto_hmac_update(key, json[i].ptr, json[i].len);
    crypto_hmac_hex(key, out);
}

int jp_wire_header(struct buf *out, const char *msg_id, const char *session, const char *msg_type,
                   int64_t wall_us)
{
    const char *const pairs[] = {
        "{\"msg_id\":",   msg_id,
        ",\"session\":",  session,
        ",\"msg_type\":", msg_type,
        ",\"date\":",     clk_rfc3339(wall_us, (char[CLK_RFC3339_SIZE]){0}),
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(pairs) && r == 0; i += 2) {
        r = buf_append_str(out, pairs[i]);
        if (r == 0)
            r = jsonx_append_string(out, slice_str(pairs[i + 1]));
    }
    if (r == 0)
        r = buf_append_str(out, ",\"username\":\"caesarion\",\"version\":\"5.3\"}");
    return r;
}

size_t jp_wire_encode(struct slice out[JP_FRAMES_MAX], char sig[CRYPTO_HEX_SIZE],
                      struct crypto_hmac *key, struct slice ident,
                      const struct slice json[JP_JSON_FRAMES], const struct slice *buffers,
                      size_t n_buffers)
{
    if (n_buffers > JP_BUFFERS_MAX)
        return 0;
    size_t n = 0;
    if (ident.len)
        out[n++] = ident;
    out[n++] = slice_str(JP_DELIMITER);
    struct slice *first = &out[n + 1];
    for (size_t i = 0; i < JP_JSON_FRAMES; i++) {
        bool none = json[i].len == 0 && (i == JP_PARENT || i == JP_METADATA);
        first[i] = none ? slice_str("{}") : json[i];
    }
    jp_wire_sign(key, first, sig);
    out[n] = slice_make(sig, CRYPTO_HEX_SIZE - 1);
    n += 1 + JP_JSON_FRAMES;
    for (size_t i = 0; i < n_buffers; i++)
        out[n++] = buffers[i];
    return n;
}
