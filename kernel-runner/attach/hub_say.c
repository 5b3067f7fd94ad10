/* Pure but for the clock and ids. */
#include "kernel-runner/attach/hub_say.h"

#include "lib/base/clk.h"
#include "lib/base/mem.h"

#define HEADER_BYTES KIB(4)
#define SPARE_BYTES  KIB(1) /* of a piece: what stands around the text */

char *hub_encode(const struct jp_ws_msg *msg, size_t *ret_len)
{
    struct buf out;
    size_t total = KIB(4);
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        total += msg->frames[i].len;
    for (size_t i = 0; i < msg->n_buffers; i++)
        total += msg->buffers[i].len;
    buf_init(&out, total);
    jp_ws_v1_encode(&out, msg);
    *ret_len = out.len;
    return buf_take(&out);
}

char *hub_say(const struct hub_said *said, size_t *ret_len)
{
    char id[ID_UUID_SIZE];
    struct buf header;
    crypto_new_uuid(id);
    buf_init(&header, HEADER_BYTES);
    const char *session = kernel_session(said->kernel);
    jp_wire_header(&header, id, session[0] ? session : kernel_id(said->kernel), said->msg_type,
                   clk_wall_us());
    struct jp_ws_msg msg = {.channel = said->channel};
    msg.frames[JP_HEADER] = buf_slice(&header);
    msg.frames[JP_PARENT] = said->parent.len ? said->parent : slice_str("{}");
    msg.frames[JP_METADATA] = slice_str("{}");
    msg.frames[JP_CONTENT] = said->content;
    char *v1 = hub_encode(&msg, ret_len);
    buf_done(&header);
    return v1;
}

char *hub_say_status(const struct kernel *k, const char *state, struct slice parent,
                     size_t *ret_len)
{
    char content[64];
    snprintf(content, sizeof(content), "{\"execution_state\":\"%s\"}", state);
    struct hub_said said = {.kernel = k,
                            .channel = JP_IOPUB,
                            .msg_type = "status",
                            .parent = parent,
                            .content = slice_str(content)};
    return hub_say(&said, ret_len);
}

/* The header with "-N" behind its msg_id: every piece is a message of its own. */
static void renumber(struct buf *out, const struct jp_msg *msg, unsigned n)
{
    char id[JP_ID_SIZE + 16];
    struct jsonx_iter it = jsonx_iter(msg->header);
    char mark = '{';
    snprintf(id, sizeof(id), "%s-%u", msg->msg_id, n);
    for (struct slice key, value; jsonx_iter_next(&it, &key, &value); mark = ',') {
        buf_append_char(out, mark);
        buf_append_char(out, '"');
        buf_append_slice(out, key);
        buf_append_str(out, "\":");
        if (slice_eq_str(key, "msg_id"))
            jsonx_append_string(out, slice_str(id));
        else
            buf_append_slice(out, value);
    }
    buf_append_char(out, '}');
}

static char *piece(const struct jp_msg *msg, struct slice header, struct slice name,
                   struct slice text, size_t *ret_len)
{
    struct buf content;
    buf_init(&content, text.len + name.len + SPARE_BYTES);
    buf_append_str(&content, "{\"name\":");
    buf_append_slice(&content, name);
    buf_append_str(&content, ",\"text\":\"");
    buf_append_slice(&content, text);
    buf_append_str(&content, "\"}");
    struct jp_ws_msg out = {.channel = JP_IOPUB};
    out.frames[JP_HEADER] = header;
    out.frames[JP_PARENT] = msg->parent;
    out.frames[JP_METADATA] = msg->metadata;
    out.frames[JP_CONTENT] = buf_slice(&content);
    char *v1 = hub_encode(&out, ret_len);
    buf_done(&content);
    return v1;
}

bool hub_split_stream(const struct jp_msg *msg, size_t max,
                      void (*put)(void *ctx, char *v1_take, size_t len), void *ctx)
{
    if (msg->kind != JP_STREAM || msg->content.len <= max || !jsonx_valid(msg->content))
        return false;
    struct slice name = jsonx_find(msg->content, "name"), text = jsonx_find(msg->content, "text");
    if (text.len <= max || text.ptr[0] != '"')
        return false;
    struct slice rest = slice_make(text.ptr + 1, text.len - 2);
    for (unsigned n = 0; rest.len; n++) {
        struct buf header;
        size_t len = 0, cut = jsonx_cut(rest, max);
        buf_init(&header, JP_HEADER_MAX + SPARE_BYTES);
        renumber(&header, msg, n);
        char *v1 =
            piece(msg, n ? buf_slice(&header) : msg->header, name, slice_make(rest.ptr, cut), &len);
        buf_done(&header);
        put(ctx, v1, len);
        rest = slice_make(rest.ptr + cut, rest.len - cut);
    }
    return true;
}
