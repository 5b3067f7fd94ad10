/* LINK: lib_jupyter lib_crypto lib_json lib_base */
/*
 * A Jupyter message from a WebSocket client: the first byte picks the protocol (v1, legacy text,
 * legacy binary), the rest is the frame. What decodes must encode to something that decodes to the
 * same message.
 */
#include "lib/jupyter/jp_ws.h"

#include "lib/base/mem.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum protocol { V1, LEGACY_TEXT, LEGACY_BINARY, PROTOCOLS };

static int decode(enum protocol p, struct jp_ws_msg *msg, struct slice data)
{
    struct err err;
    int r = p == V1 ? jp_ws_v1_decode(msg, data, &err)
                    : jp_ws_legacy_decode(msg, data, p == LEGACY_BINARY, &err);
    assert(r >= 0 || err.text[0] != '\0');
    return r;
}

static void assert_inside(struct slice part, struct slice whole)
{
    static const char empty[] = "{}";
    if (part.len == 0 || slice_eq_str(part, empty))
        return;
    assert(part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void assert_same(const struct jp_ws_msg *a, const struct jp_ws_msg *b)
{
    assert(a->channel == b->channel && a->n_buffers == b->n_buffers);
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        assert(slice_eq(a->frames[i], b->frames[i]));
    for (size_t i = 0; i < a->n_buffers; i++)
        assert(slice_eq(a->buffers[i], b->buffers[i]));
}

static void check_v1(const struct jp_ws_msg *msg)
{
    struct jp_ws_msg back;
    struct buf out;
    buf_init(&out, MIB(4));
    int r = jp_ws_v1_encode(&out, msg);
    if (r == 0) {
        r = jp_ws_v1_decode(&back, buf_slice(&out), NULL);
        assert(r == 0);
        assert_same(msg, &back);
    }
    buf_done(&out);
}

static void check_legacy(const struct jp_ws_msg *msg)
{
    struct jp_ws_msg back;
    struct buf out;
    bool binary;
    buf_init(&out, MIB(4));
    if (jp_ws_legacy_encode(&out, msg, "id", "type", &binary) == 0 &&
        jp_ws_legacy_decode(&back, buf_slice(&out), binary, NULL) == 0)
        assert_same(msg, &back);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    /* A copy without anything behind it, so that a read over the end is seen. */
    _cleanup_(freep) char *text = mem_alloc(size);
    memcpy(text, data + 1, size - 1);
    char *exact = mem_resize(TAKE_PTR(text), size > 1 ? size - 1 : 1);
    text = exact;
    struct slice whole = slice_make(text, size - 1);
    struct jp_ws_msg msg;
    if (decode((enum protocol)(data[0] % PROTOCOLS), &msg, whole) != 0)
        return 0;
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        assert_inside(msg.frames[i], whole);
    for (size_t i = 0; i < msg.n_buffers; i++)
        assert_inside(msg.buffers[i], whole);
    check_v1(&msg);
    check_legacy(&msg);
    return 0;
}
