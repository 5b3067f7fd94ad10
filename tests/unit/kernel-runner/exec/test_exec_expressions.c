/* What fits of a reply's user_expressions, and what stands in the place of the rest. */
#include "kernel-runner/exec/exec_expressions.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

static json_t *fit(const char *given, size_t room)
{
    _cleanup_(freep) char *text = exec_expressions_fit(slice_str(given), room);
    json_t *json = NULL;
    struct err err;
    assert_non_null(text);
    if (jsonx_parse(&json, slice_str(text), &err) < 0)
        fail_msg("%s in %s", err.text, text);
    return json;
}

static const char *ename(const json_t *all, const char *key)
{
    return json_string_value(json_object_get(json_object_get(all, key), "ename"));
}

static void what_fits_is_as_it_came(void **state)
{
    static const char given[] =
        "{\"a\\n\":{\"status\":\"ok\",\"data\":{\"text/plain\":\"1\"}},\"b\":2}";
    _cleanup_(freep) char *text = exec_expressions_fit(slice_str(given), sizeof(given) + 1);
    assert_string_equal(text, given);
}

static void what_does_not_fit_is_an_error(void **state)
{
    static const char given[] =
        "{\"a\":\"0123456789\",\"big\":\"0123456789012345678901234567890123\",\"c\":1}";
    _cleanup_(json_decrefp) json_t *all = fit(given, 40);
    assert_string_equal(json_string_value(json_object_get(all, "a")), "0123456789");
    assert_string_equal(ename(all, "big"), "TooLarge");
    const json_t *big = json_object_get(all, "big");
    assert_string_equal(json_string_value(json_object_get(big, "status")), "error");
    assert_true(json_is_array(json_object_get(big, "traceback")));
    assert_int_equal(json_object_size(all), 3);
}

static void without_room_all_are_errors(void **state)
{
    _cleanup_(json_decrefp) json_t *all = fit("{\"a\":1,\"b\":2}", 0);
    assert_string_equal(ename(all, "a"), "TooLarge");
    assert_string_equal(ename(all, "b"), "TooLarge");
}

static void the_ceiling_holds_whatever_the_room(void **state)
{
    struct buf given;
    buf_init(&given, MIB(20));
    buf_append_str(&given, "{\"fits\":\"");
    for (size_t i = 0; i < MIB(7); i += 16)
        buf_append_str(&given, "0123456789abcdef");
    buf_append_str(&given, "\",\"over\":\"");
    for (size_t i = 0; i < MIB(1); i += 16)
        buf_append_str(&given, "0123456789abcdef");
    buf_append_str(&given, "\"}");
    _cleanup_(json_decrefp) json_t *all = fit(given.ptr, SIZE_MAX);
    assert_int_equal(json_string_length(json_object_get(all, "fits")), MIB(7));
    assert_string_equal(ename(all, "over"), "TooLarge");
    buf_done(&given);
}

static void a_forged_reply_has_no_more_than_could_be_asked(void **state)
{
    struct buf given;
    buf_init(&given, MIB(1));
    buf_append_str(&given, "{\"");
    for (unsigned i = 0; i < 2000; i++)
        buf_append_char(&given, 'k');
    buf_append_str(&given, "\":0");
    for (unsigned i = 0; i < 100; i++)
        buf_printf(&given, ",\"%u\":%u", i, i);
    buf_append_char(&given, '}');
    _cleanup_(json_decrefp) json_t *all = fit(given.ptr, MIB(1));
    assert_int_equal(json_object_size(all), LIMIT_USER_EXPRESSIONS);
    assert_int_equal(json_integer_value(json_object_get(all, "31")), 31);
    buf_done(&given);
    assert_null(exec_expressions_fit(slice_str("{}"), 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_as_it_came),
        cmocka_unit_test(what_does_not_fit_is_an_error),
        cmocka_unit_test(without_room_all_are_errors),
        cmocka_unit_test(the_ceiling_holds_whatever_the_room),
        cmocka_unit_test(a_forged_reply_has_no_more_than_could_be_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
