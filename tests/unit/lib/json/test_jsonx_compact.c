/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/json/jsonx.h"

/* The text in an allocation of its exact size, so that the sanitizer sees a read behind it. */
static int compact(struct buf *out, const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    int r = jsonx_compact(out, slice_make(copy, len));
    assert_int_equal(jsonx_valid(slice_make(copy, len)), r != -ERR_INVALID);
    free(copy);
    return r;
}

static void gives(const char *text, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_append_str(&b, "before:");
    assert_int_equal(compact(&b, text, strlen(text)), 0);
    assert_string_equal(b.ptr + 7, expected);
    assert_int_equal(b.len, 7 + strlen(expected));
    buf_done(&b);
}

static void refuses_n(const char *text, size_t len)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_append_str(&b, "before:");
    if (compact(&b, text, len) != -ERR_INVALID)
        fail_msg("accepted: %.*s", (int)len, text);
    assert_string_equal(b.ptr, "before:");
    assert_int_equal(b.len, 7);
    buf_done(&b);
}

static void refuses(const char *text)
{
    refuses_n(text, strlen(text));
}

static void drops_blanks_outside_strings_only(void **state)
{
    gives(" { \"a b\" : [ 1 , 2 ,\n3 ] ,\t\"c\" : { } , \"d\":[ ] }\r\n",
          "{\"a b\":[1,2,3],\"c\":{},\"d\":[]}");
    gives("\"  a  \"", "\"  a  \"");
    gives(" 0 ", "0");
    gives("[true, false, null, -0, 1.5e+10, 12E-3, 0.0]", "[true,false,null,-0,1.5e+10,12E-3,0.0]");
    gives("[[[[]]], {\"a\": {\"b\": []}}]", "[[[[]]],{\"a\":{\"b\":[]}}]");
    gives("\"\\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e9 \\u0000\"",
          "\"\\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e9 \\u0000\"");
    gives("\"é ∑ 😀 \x7f\"", "\"é ∑ 😀 \x7f\"");
}

static void refuses_what_is_not_json(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "[1}",
        "{\"a\":1]",
        "01",
        "-",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "0x1",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "tru",
        "True",
        "nulll",
        "1 2",
        "{} {}",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"a\tb\"",
        "\"\x01\"",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xc3\"",
        "\xef\xbb\xbf{}",
        "[1]]",
        "/* */ 1",
        "\f1",
        "0123456789abcdef0123456789abcdef",
        "\"0123456789abcdef\x1f\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refuses(bad[i]);
    refuses_n("\"a\0b\"", 5);
    refuses_n("1\0", 2);
}

static void replaces_half_a_surrogate_pair(void **state)
{
    gives("\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\"");
    gives("\"\\ud83d\"", "\"\\ufffd\"");
    gives("\"\\ude00 x\"", "\"\\ufffd x\"");
    gives("\"\\ud83d\\ud83d\\ude00\"", "\"\\ufffd\\ud83d\\ude00\"");
    gives("\"\\ud83d\\u0041\"", "\"\\ufffd\\u0041\"");
    gives("\"\\ud83d\\n\"", "\"\\ufffd\\n\"");
    gives("{\"\\uDfff\" : 1}", "{\"\\ufffd\":1}");
    refuses("\"\\ud83d\\u12\"");
    refuses("\"\\ud83d\\ude0");
}

static void depth_is_128(void **state)
{
    char text[2 * 129];
    for (size_t i = 0; i < 128; i++) {
        text[i] = '[';
        text[128 + i] = ']';
    }
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(compact(&b, text, 256), 0);
    assert_int_equal(b.len, 256);
    buf_done(&b);
    memset(text, '[', 129);
    memset(text + 129, ']', 129);
    refuses_n(text, 258);
}

static void ceiling_is_for_the_result(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    buf_append_str(&b, "1234");
    assert_int_equal(compact(&b, "[ 1 ,      2 ]", 14), 0);
    assert_string_equal(b.ptr, "1234[1,2]");
    assert_int_equal(compact(&b, "22", 2), -ERR_TOO_LARGE);
    assert_string_equal(b.ptr, "1234[1,2]");
    assert_int_equal(compact(&b, "3", 1), 0);
    assert_int_equal(compact(&b, "3", 1), -ERR_TOO_LARGE);
    assert_int_equal(b.len, 10);
    buf_done(&b);
}

static void a_line_is_json_without_newlines(void **state)
{
    static const char *const lines[] = {"{\"a\" : [1,\t2]}", "\"\\n \\ud83d\\ude00\"", " 1 "};
    static const char *const others[] = {"{\n}", "[1,\r2]", "1\n",   "\"\\ud83d\"",
                                         "",     "{",       "\"\n\""};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_true(jsonx_is_line(slice_str(lines[i])));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(jsonx_is_line(slice_str(others[i])));
}

/* Every place of every special byte relative to the 16-byte steps and the copy windows. */
static void long_strings_with_a_special_byte_anywhere(void **state)
{
    static const char *const specials[] = {"\\n", "é", "😀", "\\ud83d\\ude00", ""};
    enum { LEN = 40000 };
    char *text = malloc(LEN + 64);
    for (size_t k = 0; k < ARRAY_LEN(specials); k++) {
        for (size_t at = 1; at < LEN; at += at < 100 || (at > 16300 && at < 16500) ? 1 : 997) {
            size_t n = strlen(specials[k]);
            memset(text, 'x', LEN);
            text[0] = '"';
            memcpy(text + at, specials[k], n);
            text[at + n] = 'y';
            memset(text + at + n + 1, 'z', 33);
            text[at + n + 34] = '"';
            struct buf b;
            buf_init(&b, LEN * 2);
            assert_int_equal(jsonx_compact(&b, slice_make(text, at + n + 35)), 0);
            assert_int_equal(b.len, at + n + 35);
            assert_memory_equal(b.ptr, text, b.len);
            buf_clear(&b);
            text[at] = '\x1f';
            assert_int_equal(jsonx_compact(&b, slice_make(text, at + n + 35)), -ERR_INVALID);
            buf_done(&b);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drops_blanks_outside_strings_only),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(replaces_half_a_surrogate_pair),
        cmocka_unit_test(depth_is_128),
        cmocka_unit_test(ceiling_is_for_the_result),
        cmocka_unit_test(a_line_is_json_without_newlines),
        cmocka_unit_test(long_strings_with_a_special_byte_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
