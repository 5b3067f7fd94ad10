/* The layout is Python's, and no token changes. */
#include "lib/json/jsonx.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static void expect(const char *text, const char *want)
{
    struct buf out;
    buf_init(&out, KIB(64));
    assert_int_equal(jsonx_indent(&out, slice_str(text)), 0);
    assert_string_equal(out.ptr, want);
    buf_done(&out);
}

static void members_and_items_stand_in_lines(void **state)
{
    expect("{\"a\":[1,2],\"b\":{\"c\":null}}", "{\n \"a\": [\n  1,\n  2\n ],\n \"b\": {\n"
                                               "  \"c\": null\n }\n}");
    expect("[[1],[2,[3]]]", "[\n [\n  1\n ],\n [\n  2,\n  [\n   3\n  ]\n ]\n]");
}

static void empty_ones_stay_together(void **state)
{
    expect("{}", "{}");
    expect(" [ \n ] ", "[]");
    expect("{\"a\":{ },\"b\":[\t]}", "{\n \"a\": {},\n \"b\": []\n}");
}

static void blanks_of_the_text_are_dropped(void **state)
{
    expect("\n{ \"a\" : 1 ,\r\n\t\"b\" : [ true , false ] }\n",
           "{\n \"a\": 1,\n \"b\": [\n  true,\n  false\n ]\n}");
}

static void scalars_stand_alone(void **state)
{
    expect("1", "1");
    expect(" \"x\" ", "\"x\"");
    expect("null", "null");
}

static void no_token_changes(void **state)
{
    expect("[1.10,1e+05,-0.0,12345678901234567890123,0.1e-7]",
           "[\n 1.10,\n 1e+05,\n -0.0,\n 12345678901234567890123,\n 0.1e-7\n]");
    expect("[\"\\u00e9\\/\\\\\\\"\",\"\xC3\xA9\",\"\\ud800\"]",
           "[\n \"\\u00e9\\/\\\\\\\"\",\n \"\xC3\xA9\",\n \"\\ud800\"\n]");
    expect("{\"a:b,{[\":\"]}, \\\\\"}", "{\n \"a:b,{[\": \"]}, \\\\\"\n}");
}

static void twice_is_as_once(void **state)
{
    struct buf once, twice;
    buf_init(&once, KIB(4));
    buf_init(&twice, KIB(4));
    assert_int_equal(jsonx_indent(&once, slice_str("{\"a\":[1,{}],\"b\":\"\"}")), 0);
    assert_int_equal(jsonx_indent(&twice, buf_slice(&once)), 0);
    assert_string_equal(once.ptr, twice.ptr);
    buf_done(&once);
    buf_done(&twice);
}

static void what_is_malformed_is_refused(void **state)
{
    static const char *const bad[] = {"",      "{",        "[1,]", "{\"a\"}", "\"a",      "[1] 2",
                                      "{a:1}", "\"\xff\"", "01",   "]",       "[\"\\x\"]"};
    struct buf out;
    buf_init(&out, KIB(4));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(jsonx_indent(&out, slice_str(bad[i])), -ERR_INVALID);
        assert_int_equal(out.len, 0);
    }
    buf_done(&out);
}

static void the_ceiling_of_the_output_holds(void **state)
{
    struct buf out;
    buf_init(&out, 2 + 8);
    assert_int_equal(buf_append_str(&out, "x:"), 0);
    assert_int_equal(jsonx_indent(&out, slice_str("[1234]")), -ERR_TOO_LARGE); /* 9 bytes */
    assert_int_equal(out.len, 2);
    assert_int_equal(jsonx_indent(&out, slice_str("[123]")), 0);
    assert_string_equal(out.ptr, "x:[\n 123\n]");
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_and_items_stand_in_lines),
        cmocka_unit_test(empty_ones_stay_together),
        cmocka_unit_test(blanks_of_the_text_are_dropped),
        cmocka_unit_test(scalars_stand_alone),
        cmocka_unit_test(no_token_changes),
        cmocka_unit_test(twice_is_as_once),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(the_ceiling_of_the_output_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
