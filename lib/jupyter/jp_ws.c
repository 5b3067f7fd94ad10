/*
 * The two WebSocket encodings of a Jupyter message. What comes in is a client's word: offsets are
 * checked against the frame before anything behind them is looked at. What goes out is a kernel's:
 * in v1 it is passed as it is, in legacy JSON it must be JSON, or it would spoil the text around
 * it.
 */
#include "lib/jupyter/jp_ws.h"

#include "lib/json/jsonx.h"

#include <endian.h>

/* v1: the channel and the JSON frames stand before the buffers, the end behind them. */
#define V1_FIXED   (1 + JP_JSON_FRAMES)
#define V1_OFFSETS (V1_FIXED + JP_BUFFERS_MAX + 1)

static const char *const channels[] = {
    [JP_SHELL] = "shell",
    [JP_CONTROL] = "control",
    [JP_STDIN] = "stdin",
    [JP_IOPUB] = "iopub",
};

const char *jp_channel_name(enum jp_channel c)
{
    return channels[c];
}

/* 0, or JP_WS_UNKNOWN_CHANNEL. */
static int find_channel(struct slice name, enum jp_channel *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        if (slice_eq_str(name, channels[i])) {
            *ret = (enum jp_channel)i;
            return 0;
        }
    }
    return JP_WS_UNKNOWN_CHANNEL;
}

/* ---- v1 ---- */

static uint64_t read_le64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* The parts between the offsets; *ret_n counts them. */
static int v1_parts(struct slice data, struct slice parts[V1_OFFSETS], size_t *ret_n,
                    struct err *err)
{
    if (data.len < sizeof(uint64_t))
        return err_set(err, ERR_INVALID, "a v1 message is shorter than its first number");
    uint64_t n = read_le64(data.ptr);
    if (n < V1_FIXED + 1 || n > data.len / sizeof(uint64_t) - 1)
        return err_set(err, ERR_INVALID, "a v1 message announces %llu offsets",
                       (unsigned long long)n);
    if (n > V1_OFFSETS)
        return err_set(err, ERR_TOO_LARGE, "a message has more than %d buffers", JP_BUFFERS_MAX);
    const char *table = data.ptr + sizeof(uint64_t);
    uint64_t at = read_le64(table);
    if (at != sizeof(uint64_t) * (1 + n))
        return err_set(err, ERR_INVALID, "a v1 message's first offset is not behind its offsets");
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t end = read_le64(table + sizeof(uint64_t) * (i + 1));
        if (end < at || end > data.len)
            return err_set(err, ERR_INVALID, "offset %zu of a v1 message is out of order", i + 1);
        parts[i] = slice_make(data.ptr + at, (size_t)(end - at));
        at = end;
    }
    if (at != data.len)
        return err_set(err, ERR_INVALID, "a v1 message's last offset is not its end");
    *ret_n = (size_t)n - 1;
    return 0;
}

int jp_ws_v1_decode(struct jp_ws_msg *msg, struct slice data, struct err *err)
{
    struct slice parts[V1_OFFSETS];
    size_t n = 0;
    int r = v1_parts(data, parts, &n, err);
    if (r < 0)
        return r;
    memcpy(msg->frames, parts + 1, sizeof(msg->frames));
    msg->n_buffers = n - V1_FIXED;
    memcpy(msg->buffers, parts + V1_FIXED, msg->n_buffers * sizeof(*parts));
    return find_channel(parts[0], &msg->channel);
}

static void put_le64(struct buf *out, uint64_t v)
{
    v = htole64(v);
    buf_append(out, &v, sizeof(v));
}

int jp_ws_v1_encode(struct buf *out, const struct jp_ws_msg *msg)
{
    struct slice parts[V1_OFFSETS];
    size_t n = 0;
    parts[n++] = slice_str(channels[msg->channel]);
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        parts[n++] = msg->frames[i];
    for (size_t i = 0; i < msg->n_buffers; i++)
        parts[n++] = msg->buffers[i];
    uint64_t total = sizeof(uint64_t) * (n + 2), at = total;
    for (size_t i = 0; i < n; i++)
        total += parts[i].len;
    if (total > out->max || buf_reserve(out, (size_t)total) < 0)
        return -ERR_TOO_LARGE;
    put_le64(out, n + 1);
    put_le64(out, at);
    for (size_t i = 0; i < n; i++)
        put_le64(out, at += parts[i].len);
    for (size_t i = 0; i < n; i++)
        buf_append_slice(out, parts[i]);
    return 0;
}

/* ---- legacy ---- */

static uint32_t read_be32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

/* A binary message: the JSON text, and the buffers into msg. */
static int legacy_parts(struct jp_ws_msg *msg, struct slice data, struct slice *ret_json,
                        struct err *err)
{
    if (data.len < sizeof(uint32_t))
        return err_set(err, ERR_INVALID, "a binary message is shorter than its first number");
    size_t n = read_be32(data.ptr);
    if (n == 0 || n > data.len / sizeof(uint32_t) - 1)
        return err_set(err, ERR_INVALID, "a binary message announces %zu parts", n);
    if (n > JP_BUFFERS_MAX + 1)
        return err_set(err, ERR_TOO_LARGE, "a message has more than %d buffers", JP_BUFFERS_MAX);
    const char *table = data.ptr + sizeof(uint32_t);
    size_t at = read_be32(table);
    if (at != sizeof(uint32_t) * (1 + n))
        return err_set(err, ERR_INVALID,
                       "a binary message's first offset is not behind its offsets");
    for (size_t i = 0; i < n; i++) {
        size_t end = i + 1 < n ? read_be32(table + sizeof(uint32_t) * (i + 1)) : data.len;
        if (end < at || end > data.len)
            return err_set(err, ERR_INVALID, "offset %zu of a binary message is out of order",
                           i + 1);
        struct slice part = slice_make(data.ptr + at, end - at);
        if (i == 0)
            *ret_json = part;
        else
            msg->buffers[msg->n_buffers++] = part;
        at = end;
    }
    return 0;
}

static bool is_object(struct slice json)
{
    return json.len >= 2 && json.ptr[0] == '{';
}

static int read_member(struct jp_ws_msg *msg, struct slice key, struct slice value, int *channel)
{
    static const char *const names[JP_JSON_FRAMES] = {
        [JP_HEADER] = "header",
        [JP_PARENT] = "parent_header",
        [JP_METADATA] = "metadata",
        [JP_CONTENT] = "content",
    };
    if (slice_eq_str(value, "null"))
        return 0;
    if (slice_eq_str(key, "channel")) {
        char name[16] = "";
        if (jsonx_decode(value, name, sizeof(name)) == -ERR_INVALID)
            return -ERR_INVALID;
        *channel = find_channel(slice_str(name), &msg->channel);
        return 0;
    }
    for (size_t i = 0; i < JP_JSON_FRAMES; i++) {
        if (!slice_eq_str(key, names[i]))
            continue;
        if (!is_object(value))
            return -ERR_INVALID;
        msg->frames[i] = value;
    }
    return 0;
}

int jp_ws_legacy_decode(struct jp_ws_msg *msg, struct slice data, bool binary, struct err *err)
{
    struct slice json = data;
    int channel = 0;
    msg->channel = JP_SHELL;
    msg->n_buffers = 0;
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        msg->frames[i] = i == JP_HEADER ? slice_str("") : slice_str("{}");
    int r = binary ? legacy_parts(msg, data, &json, err) : 0;
    if (r < 0)
        return r;
    struct jsonx_iter it = {0};
    if (jsonx_valid(json))
        it = jsonx_iter(json);
    if (!it.p)
        return err_set(err, ERR_INVALID, "a message is not a JSON object");
    for (struct slice key, value; r == 0 && jsonx_iter_next(&it, &key, &value);)
        r = read_member(msg, key, value, &channel);
    if (r < 0 || msg->frames[JP_HEADER].len == 0)
        return err_set(err, ERR_INVALID,
                       "a message needs a header, and its parts must be JSON objects");
    return channel;
}

static int put_text(struct buf *out, const struct jp_ws_msg *msg, const char *msg_id,
                    const char *msg_type)
{
    const struct {
        const char *name;
        struct slice value;
    } members[] = {
        {",\"header\":", msg->frames[JP_HEADER]},
        {",\"parent_header\":", msg->frames[JP_PARENT]},
        {",\"metadata\":", msg->frames[JP_METADATA]},
        {",\"content\":", msg->frames[JP_CONTENT]},
    };
    int r = buf_append_str(out, "{\"msg_id\":");
    if (r == 0)
        r = jsonx_append_string(out, slice_str(msg_id));
    if (r == 0)
        r = buf_append_str(out, ",\"msg_type\":");
    if (r == 0)
        r = jsonx_append_string(out, slice_str(msg_type));
    for (size_t i = 0; i < ARRAY_LEN(members) && r == 0; i++) {
        r = buf_append_str(out, members[i].name);
        if (r == 0)
            r = buf_append_slice(out, members[i].value);
    }
    if (r == 0)
        r = buf_printf(out, ",\"channel\":\"%s\",\"buffers\":[]}", channels[msg->channel]);
    return r;
}

static void put_be32(struct buf *out, size_t at, size_t v)
{
    uint32_t be = htobe32((uint32_t)v);
    memcpy(out->ptr + at, &be, sizeof(be));
}

static int put_buffers(struct buf *out, const struct jp_ws_msg *msg, size_t start)
{
    int r = 0;
    for (size_t i = 0; i < msg->n_buffers && r == 0; i++) {
        put_be32(out, start + sizeof(uint32_t) * (i + 2), out->len - start);
        r = buf_append_slice(out, msg->buffers[i]);
    }
    return r;
}

int jp_ws_legacy_encode(struct buf *out, const struct jp_ws_msg *msg, const char *msg_id,
                        const char *msg_type, bool *ret_binary)
{
    size_t start = out->len;
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        if (!jsonx_valid(msg->frames[i]))
            return -ERR_INVALID;
    *ret_binary = msg->n_buffers > 0;
    if (*ret_binary) {
        size_t n = msg->n_buffers + 1;
        if (buf_reserve(out, sizeof(uint32_t) * (n + 1)) < 0)
            return -ERR_TOO_LARGE;
        out->len += sizeof(uint32_t) * (n + 1);
        put_be32(out, start, n);
        put_be32(out, start + sizeof(uint32_t), sizeof(uint32_t) * (n + 1));
    }
    int r = put_text(out, msg, msg_id, msg_type);
    return r == 0 && *ret_binary ? put_buffers(out, msg, start) : r;
}
