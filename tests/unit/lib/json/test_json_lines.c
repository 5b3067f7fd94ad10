/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/json/json_lines.h"

#include <stdio.h>

struct seen {
    char text[256];
    int stop_at; /* the line at which the callback stops, or 0 */
    int n;
    const char *last_ptr;
};

static int on_line(void *ctx, struct slice line)
{
    struct seen *s = ctx;
    size_t used = strlen(s->text);
    snprintf(s->text + used, sizeof(s->text) - used, "%.*s|", (int)line.len, line.ptr);
    s->last_ptr = line.ptr;
    return ++s->n == s->stop_at ? 42 : 0;
}

static void any_cut_gives_the_same_lines(void **state)
{
    const char *text = "{\"a\":1}\n\n\r\n{\"b\":2}\r\n12345678\nrest";
    size_t len = strlen(text);
    for (size_t i = 0; i <= len; i++) {
        for (size_t j = i; j <= len; j++) {
            struct seen s = {0};
            struct json_lines l;
            json_lines_init(&l, 8, on_line, &s);
            assert_int_equal(json_lines_push(&l, slice_make(text, i), NULL), 0);
            assert_int_equal(json_lines_push(&l, slice_make(text + i, j - i), NULL), 0);
            assert_int_equal(json_lines_push(&l, slice_make(text + j, len - j), NULL), 0);
            assert_string_equal(s.text, "{\"a\":1}|{\"b\":2}|12345678|");
            assert_true(json_lines_pending(&l));
            json_lines_done(&l);
        }
    }
}

static void whole_lines_are_not_copied(void **state)
{
    const char *text = "abc\ndef\n";
    struct seen s = {0};
    struct json_lines l;
    json_lines_init(&l, 8, on_line, &s);
    assert_int_equal(json_lines_push(&l, slice_str(text), NULL), 0);
    assert_ptr_equal(s.last_ptr, text + 4);
    assert_false(json_lines_pending(&l));
    json_lines_done(&l);
}

static void too_long_a_line_fails_for_good(void **state)
{
    const char *text = "ok\n123456789\nok\n";
    for (size_t i = 0; i <= strlen(text); i++) {
        struct seen s = {0};
        struct json_lines l;
        struct err err = {0};
        json_lines_init(&l, 8, on_line, &s);
        int a = json_lines_push(&l, slice_make(text, i), &err);
        int b = json_lines_push(&l, slice_str(text + i), &err);
        assert_true(a == 0 || a == -ERR_TOO_LARGE);
        assert_true(a == -ERR_TOO_LARGE || b == -ERR_TOO_LARGE);
        assert_int_equal(json_lines_push(&l, slice_str("x\n"), &err), -ERR_TOO_LARGE);
        assert_string_equal(s.text, "ok|");
        json_lines_done(&l);
    }
}

static void callback_can_stop(void **state)
{
    struct seen s = {.stop_at = 1};
    struct json_lines l;
    json_lines_init(&l, 8, on_line, &s);
    assert_int_equal(json_lines_push(&l, slice_str("a"), NULL), 0);
    assert_int_equal(json_lines_push(&l, slice_str("b\nc\n"), NULL), 42);
    assert_string_equal(s.text, "ab|");
    json_lines_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_lines),
        cmocka_unit_test(whole_lines_are_not_copied),
        cmocka_unit_test(too_long_a_line_fails_for_good),
        cmocka_unit_test(callback_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
