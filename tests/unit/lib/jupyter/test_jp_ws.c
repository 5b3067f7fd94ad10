/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
/* Expected bytes are written out by hand from the protocol's description. */
#include "lib/jupyter/jp_ws.h"

#include "lib/base/mem.h"
#include "lib/json/jsonx.h"

#include <endian.h>

#define HEADER "{\"msg_id\":\"m1\",\"msg_type\":\"comm_msg\"}"

static struct jp_ws_msg sample(size_t n_buffers)
{
    struct jp_ws_msg m = {.channel = JP_IOPUB, .n_buffers = n_buffers};
    m.frames[JP_HEADER] = slice_str(HEADER);
    m.frames[JP_PARENT] = slice_str("{}");
    m.frames[JP_METADATA] = slice_str("{\"a\":1}");
    m.frames[JP_CONTENT] = slice_str("{\"comm_id\":\"c\"}");
    for (size_t i = 0; i < n_buffers; i++)
        m.buffers[i] = i % 2 ? slice_make("\0\xff\n", 3) : slice_str("");
    return m;
}

static void assert_same(const struct jp_ws_msg *a, const struct jp_ws_msg *b)
{
    assert_int_equal(a->channel, b->channel);
    for (size_t i = 0; i < JP_JSON_FRAMES; i++)
        assert_true(slice_eq(a->frames[i], b->frames[i]));
    assert_int_equal(a->n_buffers, b->n_buffers);
    for (size_t i = 0; i < a->n_buffers; i++)
        assert_true(slice_eq(a->buffers[i], b->buffers[i]));
}

static uint64_t word(struct slice s, size_t i)
{
    uint64_t v;
    memcpy(&v, s.ptr + 8 * i, 8);
    return le64toh(v);
}

static void v1_is_laid_out_as_described(void **state)
{
    struct buf out;
    buf_init(&out, KIB(1));
    struct jp_ws_msg m = sample(0);
    assert_int_equal(jp_ws_v1_encode(&out, &m), 0);
    struct slice s = buf_slice(&out);
    assert_int_equal(word(s, 0), 6);
    assert_int_equal(word(s, 1), 56);
    assert_int_equal(word(s, 2), 61);
    assert_int_equal(word(s, 6), s.len);
    assert_memory_equal(s.ptr + 56, "iopub" HEADER "{}{\"a\":1}{\"comm_id\":\"c\"}", s.len - 56);
    buf_done(&out);
}

static void v1_round_trip_keeps_buffers(void **state)
{
    static const size_t counts[] = {0, 1, 2, JP_BUFFERS_MAX};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct jp_ws_msg m = sample(counts[i]), back;
        struct buf out;
        buf_init(&out, KIB(64));
        assert_int_equal(jp_ws_v1_encode(&out, &m), 0);
        assert_int_equal(jp_ws_v1_decode(&back, buf_slice(&out), NULL), 0);
        assert_same(&m, &back);
        buf_done(&out);
    }
}

static void v1_has_a_ceiling(void **state)
{
    struct jp_ws_msg m = sample(2);
    struct buf out;
    buf_init(&out, KIB(1));
    assert_int_equal(jp_ws_v1_encode(&out, &m), 0);
    size_t len = out.len;
    buf_done(&out);
    buf_init(&out, len);
    assert_int_equal(jp_ws_v1_encode(&out, &m), 0);
    buf_done(&out);
    buf_init(&out, len - 1);
    assert_int_equal(jp_ws_v1_encode(&out, &m), -ERR_TOO_LARGE);
    buf_done(&out);
}

static void put_word(struct buf *b, size_t i, uint64_t v)
{
    v = htole64(v);
    memcpy(b->ptr + 8 * i, &v, 8);
}

static void v1_refuses_offsets_that_lie(void **state)
{
    static const struct {
        size_t word;
        uint64_t value;
    } lies[] = {
        {0, 0},          {0, 5},   {0, 7},   {0, UINT64_MAX}, {1, 0},          {1, 55},
        {1, 57},         {2, 200}, {2, 55},  {3, 60},         {5, UINT64_MAX}, {6, 56},
        {6, UINT64_MAX}, {4, 0},   {0, 262}, {0, 1000000U},
    };
    struct jp_ws_msg m = sample(0), back;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct buf out;
        struct err err;
        buf_init(&out, KIB(1));
        jp_ws_v1_encode(&out, &m);
        put_word(&out, lies[i].word, lies[i].value);
        assert_true(jp_ws_v1_decode(&back, buf_slice(&out), &err) < 0);
        assert_true(err.text[0] != '\0');
        buf_done(&out);
    }
}

static void v1_refuses_every_prefix(void **state)
{
    struct jp_ws_msg m = sample(2), back;
    struct buf out;
    buf_init(&out, KIB(1));
    jp_ws_v1_encode(&out, &m);
    for (size_t len = 0; len < out.len; len++) {
        _cleanup_(freep) char *cut = mem_dup_n(out.ptr, len);
        assert_true(jp_ws_v1_decode(&back, slice_make(cut, len), NULL) < 0);
    }
    buf_done(&out);
}

static void v1_of_too_many_buffers_is_too_large(void **state)
{
    size_t n = 6 + JP_BUFFERS_MAX + 1, len = 8 * (n + 1);
    struct buf out;
    struct jp_ws_msg back;
    buf_init(&out, KIB(8));
    buf_reserve(&out, len);
    out.len = len;
    put_word(&out, 0, n);
    for (size_t i = 1; i <= n; i++)
        put_word(&out, i, len);
    assert_int_equal(jp_ws_v1_decode(&back, buf_slice(&out), NULL), -ERR_TOO_LARGE);
    buf_done(&out);
}

static void unknown_channels_are_told_apart(void **state)
{
    struct jp_ws_msg m = sample(0), back;
    struct buf out;
    buf_init(&out, KIB(1));
    jp_ws_v1_encode(&out, &m);
    memcpy(out.ptr + 56, "IOPUB", 5);
    assert_int_equal(jp_ws_v1_decode(&back, buf_slice(&out), NULL), JP_WS_UNKNOWN_CHANNEL);
    buf_done(&out);
    assert_int_equal(jp_ws_legacy_decode(&back,
                                         slice_str("{\"header\":" HEADER ",\"channel\":\"hb\"}"),
                                         false, NULL),
                     JP_WS_UNKNOWN_CHANNEL);
    assert_int_equal(jp_ws_legacy_decode(&back,
                                         slice_str("{\"header\":" HEADER
                                                   ",\"channel\":\"a name of great length\"}"),
                                         false, NULL),
                     JP_WS_UNKNOWN_CHANNEL);
}

static void legacy_takes_what_clients_leave_out(void **state)
{
    struct jp_ws_msg m;
    assert_int_equal(jp_ws_legacy_decode(&m, slice_str("{\"header\": " HEADER "}"), false, NULL),
                     0);
    assert_int_equal(m.channel, JP_SHELL);
    assert_true(slice_eq_str(m.frames[JP_HEADER], HEADER));
    assert_true(slice_eq_str(m.frames[JP_CONTENT], "{}"));
    assert_int_equal(
        jp_ws_legacy_decode(&m,
                            slice_str("{\"channel\":\"control\",\"content\":{\"x\": [1]},"
                                      "\"buffers\":{},\"metadata\":null,\"header\":" HEADER "}"),
                            false, NULL),
        0);
    assert_int_equal(m.channel, JP_CONTROL);
    assert_true(slice_eq_str(m.frames[JP_CONTENT], "{\"x\": [1]}"));
    assert_true(slice_eq_str(m.frames[JP_METADATA], "{}"));
}

static void legacy_refuses_what_is_no_message(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"header\":1}",
        "{\"header\":[]}",
        "{\"header\":" HEADER ",\"content\":[]}",
        "{\"header\":" HEADER ",\"channel\":7}",
        "{\"header\":" HEADER,
        "{\"header\":" HEADER "} x",
        "{\"header\":" HEADER ",\"content\":{\"a\":}}",
    };
    struct jp_ws_msg m;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(jp_ws_legacy_decode(&m, slice_str(bad[i]), false, NULL), -ERR_INVALID);
}

static void legacy_text_has_ids_at_the_top(void **state)
{
    struct jp_ws_msg m = sample(0);
    struct buf out;
    bool binary = true;
    buf_init(&out, KIB(1));
    assert_int_equal(jp_ws_legacy_encode(&out, &m, "m1", "comm_msg", &binary), 0);
    assert_false(binary);
    assert_string_equal(out.ptr, "{\"msg_id\":\"m1\",\"msg_type\":\"comm_msg\",\"header\":" HEADER
                                 ",\"parent_header\":{},\"metadata\":{\"a\":1},\"content\":"
                                 "{\"comm_id\":\"c\"},\"channel\":\"iopub\",\"buffers\":[]}");
    buf_done(&out);
}

static void legacy_binary_round_trip(void **state)
{
    struct jp_ws_msg m = sample(3), back;
    struct buf out;
    bool binary = false;
    buf_init(&out, KIB(4));
    assert_int_equal(jp_ws_legacy_encode(&out, &m, "m1", "comm_msg", &binary), 0);
    assert_true(binary);
    assert_memory_equal(out.ptr, "\0\0\0\4\0\0\0\x14", 8);
    assert_int_equal(jp_ws_legacy_decode(&back, buf_slice(&out), true, NULL), 0);
    assert_same(&m, &back);
    for (size_t len = 0; len < 20; len++)
        assert_true(jp_ws_legacy_decode(&back, slice_make(out.ptr, len), true, NULL) < 0);
    out.ptr[7] = 0x10; /* the first offset points into the table */
    assert_int_equal(jp_ws_legacy_decode(&back, buf_slice(&out), true, NULL), -ERR_INVALID);
    buf_done(&out);
}

static void legacy_of_one_part_is_the_json(void **state)
{
    struct jp_ws_msg back;
    static const char bytes[] = "\0\0\0\1\0\0\0\x08{\"header\":" HEADER "}";
    assert_int_equal(jp_ws_legacy_decode(&back, slice_make(bytes, sizeof(bytes) - 1), true, NULL),
                     0);
    assert_int_equal(back.n_buffers, 0);
}

static void legacy_does_not_pass_on_what_is_no_json(void **state)
{
    struct jp_ws_msg m = sample(0);
    struct buf out;
    bool binary;
    m.frames[JP_CONTENT] = slice_str("{} ,\"channel\":\"shell\"");
    buf_init(&out, KIB(1));
    assert_int_equal(jp_ws_legacy_encode(&out, &m, "m1", "x", &binary), -ERR_INVALID);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v1_is_laid_out_as_described),
        cmocka_unit_test(v1_round_trip_keeps_buffers),
        cmocka_unit_test(v1_has_a_ceiling),
        cmocka_unit_test(v1_refuses_offsets_that_lie),
        cmocka_unit_test(v1_refuses_every_prefix),
        cmocka_unit_test(v1_of_too_many_buffers_is_too_large),
        cmocka_unit_test(unknown_channels_are_told_apart),
        cmocka_unit_test(legacy_takes_what_clients_leave_out),
        cmocka_unit_test(legacy_refuses_what_is_no_message),
        cmocka_unit_test(legacy_text_has_ids_at_the_top),
        cmocka_unit_test(legacy_binary_round_trip),
        cmocka_unit_test(legacy_of_one_part_is_the_json),
        cmocka_unit_test(legacy_does_not_pass_on_what_is_no_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
