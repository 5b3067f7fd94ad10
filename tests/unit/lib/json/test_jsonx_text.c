/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/json/jsonx.h"

static void append_string_gives(struct slice in, const char *expected)
{
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(jsonx_append_string(&b, in), 0);
    assert_string_equal(b.ptr, expected);
    buf_done(&b);
}

static void append_string_escapes_what_must_be(void **state)
{
    append_string_gives(slice_str(""), "\"\"");
    append_string_gives(slice_str("plain é 😀 long enough for a vector"),
                        "\"plain é 😀 long enough for a vector\"");
    append_string_gives(slice_str("a\"b\\c/\b\f\n\r\t\x1f\x7f"),
                        "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u001f\x7f\"");
    append_string_gives(slice_make("\0", 1), "\"\\u0000\"");
    append_string_gives(slice_str("a\xff"
                                  "b\xc3"),
                        "\"a\xEF\xBF\xBD"
                        "b\xEF\xBF\xBD\"");
    append_string_gives(slice_str("\xed\xa0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void append_string_leaves_a_full_buffer_alone(void **state)
{
    struct buf b;
    buf_init(&b, 5);
    buf_append_char(&b, 'x');
    assert_int_equal(jsonx_append_string(&b, slice_str("abc")), -ERR_TOO_LARGE);
    assert_string_equal(b.ptr, "x");
    assert_int_equal(jsonx_append_string(&b, slice_str("ab")), 0);
    assert_string_equal(b.ptr, "x\"ab\"");
    buf_done(&b);
}

static void finds(const char *object, const char *key, const char *expected)
{
    size_t len = strlen(object);
    char *copy = malloc(len ? len : 1);
    memcpy(copy, object, len);
    struct slice v = jsonx_find(slice_make(copy, len), key);
    if (expected) {
        assert_int_equal(v.len, strlen(expected));
        assert_memory_equal(v.ptr, expected, v.len);
    } else {
        assert_int_equal(v.len, 0);
    }
    free(copy);
}

static void find_gives_the_raw_value(void **state)
{
    const char *o =
        " { \"a\" : 1 , \"b\":\"x,\\\"}\" ,\"c\": {\"a\": [\"]\", {}]} , \"d\" :[1, 2]\n,"
        "\"e\":null,\"f\":-1.5e3}";
    finds(o, "a", "1");
    finds(o, "b", "\"x,\\\"}\"");
    finds(o, "c", "{\"a\": [\"]\", {}]}");
    finds(o, "d", "[1, 2]");
    finds(o, "e", "null");
    finds(o, "f", "-1.5e3");
    finds(o, "g", NULL);
    finds("{}", "a", NULL);
    finds("", "a", NULL);
    finds("[1]", "a", NULL);
    finds("{\"x\":{\"a\":1}}", "a", NULL);
}

static void find_is_safe_on_malformed_text(void **state)
{
    static const char *const bad[] = {"{",        "{\"",       "{\"a",        "{\"a\"",
                                      "{\"a\":",  "{\"a\":\"", "{\"a\":\"\\", "{\"a\":[",
                                      "{\"a\":]", "{\"a\":}",  "{\"x\":1,",   "{\"x\":1,}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        finds(bad[i], "a", NULL);
}

static void iterator_walks_all_members(void **state)
{
    struct slice k, v;
    int n = 0;
    for (struct jsonx_iter it = jsonx_iter(slice_str("{\"a\":1, \"b\":[2], \"c\":{}}"));
         jsonx_iter_next(&it, &k, &v); n++) {
        assert_int_equal(k.len, 1);
        assert_int_equal(k.ptr[0], 'a' + n);
    }
    assert_int_equal(n, 3);
}

static void decode_undoes_escapes(void **state)
{
    char out[32];
    assert_int_equal(jsonx_decode(slice_str("\"plain\""), out, sizeof(out)), 0);
    assert_string_equal(out, "plain");
    assert_int_equal(jsonx_decode(slice_str("\"\""), out, sizeof(out)), 0);
    assert_string_equal(out, "");
    assert_int_equal(jsonx_decode(slice_str("\"a\\n\\\"\\\\\\/\\u00e9\\ud83d\\ude00\\ud83d\""), out,
                                  sizeof(out)),
                     0);
    assert_string_equal(out, "a\n\"\\/é😀\xEF\xBF\xBD");
    assert_int_equal(jsonx_decode(slice_str("\"abc\""), out, 4), 0);
    assert_int_equal(jsonx_decode(slice_str("\"abcd\""), out, 4), -ERR_TOO_LARGE);
    assert_int_equal(jsonx_decode(slice_str("\"ab\\u00e9\""), out, 4), -ERR_TOO_LARGE);
    static const char *const bad[] = {"",       "\"",      "1",         "null",    "\"a\\u0000\"",
                                      "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"a\"b\""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(jsonx_decode(slice_str(bad[i]), out, sizeof(out)), -ERR_INVALID);
    assert_int_equal(jsonx_decode(slice_make("\"\0\"", 3), out, sizeof(out)), -ERR_INVALID);
}

static void append_decoded_keeps_nul(void **state)
{
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(jsonx_append_decoded(&b, slice_str("\"a\\u0000\\n\"")), 0);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.ptr, "a\0\n", 3);
    assert_int_equal(jsonx_append_decoded(&b, slice_str("\"123456\"")), -ERR_TOO_LARGE);
    assert_int_equal(jsonx_append_decoded(&b, slice_str("\"x\\q\"")), -ERR_INVALID);
    assert_int_equal(b.len, 3);
    buf_done(&b);
}

static void uint_takes_whole_numbers_only(void **state)
{
    int64_t n = -1;
    assert_true(jsonx_uint(slice_make("7}", 1), &n));
    assert_int_equal(n, 7);
    assert_true(jsonx_uint(slice_str("0"), &n));
    assert_int_equal(n, 0);
    assert_true(jsonx_uint(slice_str("99999999999999999"), &n));
    assert_int_equal(n, 99999999999999999);
    static const char *const bad[] = {
        "", "-1", "1.0", "1e3", "null", "{}", "1 ", "\"1\"", "100000000000000000"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(jsonx_uint(slice_str(bad[i]), &n));
    assert_int_equal(n, 99999999999999999);
}

static void items_are_walked(void **state)
{
    static const char *const want[] = {"1", "\"a,]\"", "[2,[3]]", "{\"b\":[4]}", "null"};
    struct jsonx_iter it = jsonx_items(slice_str(" [1, \"a,]\" ,[2,[3]],{\"b\":[4]}, null ] "));
    struct slice value;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(jsonx_items_next(&it, &value));
        assert_true(slice_eq_str(value, want[i]));
    }
    assert_false(jsonx_items_next(&it, &value));
    it = jsonx_items(slice_str("[ ]"));
    assert_false(jsonx_items_next(&it, &value));
    it = jsonx_items(slice_str("{\"a\":1}"));
    assert_false(jsonx_items_next(&it, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_string_escapes_what_must_be),
        cmocka_unit_test(append_string_leaves_a_full_buffer_alone),
        cmocka_unit_test(find_gives_the_raw_value),
        cmocka_unit_test(find_is_safe_on_malformed_text),
        cmocka_unit_test(iterator_walks_all_members),
        cmocka_unit_test(decode_undoes_escapes),
        cmocka_unit_test(append_decoded_keeps_nul),
        cmocka_unit_test(uint_takes_whole_numbers_only),
        cmocka_unit_test(items_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
