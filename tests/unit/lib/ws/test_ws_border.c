#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/macros.h"
#include "lib/ws/ws_border.h"

static void add(struct buf *out, const char *head, size_t head_len, size_t payload)
{
    buf_append(out, head, head_len);
    for (size_t i = 0; i < payload; i++)
        buf_append_char(out, (char)0x88); /* looks like a close frame */
}

/* Frames of every form of length; `ends` are the places where one ends. */
static size_t frames(struct buf *out, size_t *ends)
{
    static const struct {
        const char *head;
        size_t head_len, payload;
    } cases[] = {
        {"\x81\x00", 2, 0},
        {"\x82\x05", 2, 5},
        {"\x89\x7d", 2, 125},
        {"\x02\x7e\x00\x7e", 4, 126},
        {"\x80\x7e\x01\x2c", 4, 300},
        {"\x82\x7f\x00\x00\x00\x00\x00\x00\x01\x00", 10, 256},
        {"\x82\x83\x01\x02\x03\x04", 6, 3}, /* masked */
        {"\x8a\xfe\x00\x02mask", 8, 2},
    };
    buf_init(out, MIB(1));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        add(out, cases[i].head, cases[i].head_len, cases[i].payload);
        ends[i] = out->len;
    }
    return ARRAY_LEN(cases);
}

static void borders_are_where_frames_end(void **state)
{
    struct buf in;
    size_t ends[16];
    size_t n = frames(&in, ends);
    for (size_t at = 0; at <= in.len; at++)
        for (size_t step = 1; step < 400; step = step * 2 + 1) {
            struct ws_border b = {0};
            bool is_end = at == 0;
            for (size_t i = 0; i < n; i++)
                is_end = is_end || ends[i] == at;
            for (size_t i = 0; i < at; i += step)
                ws_border_pass(&b, in.ptr + i, MIN(step, at - i));
            if (ws_border_is_free(&b) != is_end)
                fail_msg("at %zu by %zu: %d", at, step, !is_end);
        }
    buf_done(&in);
}

static void nothing_follows_a_close_frame(void **state)
{
    char frame[WS_BORDER_CLOSE_MAX], reason[200];
    struct ws_border b = {0};
    assert_int_equal(ws_border_close(frame, 1012, "again"), 9);
    assert_memory_equal(frame,
                        "\x88\x07\x03\xf4"
                        "again",
                        9);
    ws_border_pass(&b, frame, 9);
    assert_false(ws_border_is_free(&b));
    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    assert_int_equal(ws_border_close(frame, 1001, reason), WS_BORDER_CLOSE_MAX);
    assert_int_equal(frame[1], 125);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(borders_are_where_frames_end),
        cmocka_unit_test(nothing_follows_a_close_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
