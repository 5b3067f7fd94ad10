/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/json/jsonx.h"

static json_t *parse(const char *text)
{
    json_t *j = NULL;
    struct err err = {0};
    if (jsonx_parse(&j, slice_str(text), &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return j;
}

static void refuses(const char *text, const char *in_error)
{
    json_t *j = NULL;
    struct err err = {0};
    assert_int_equal(jsonx_parse(&j, slice_str(text), &err), -ERR_INVALID);
    assert_null(j);
    assert_non_null(strstr(err.text, in_error));
}

static void parse_takes_one_well_formed_text(void **state)
{
    _cleanup_(json_decrefp) json_t *j = parse(" {\"a\": [1, 2.5, \"é\"]} ");
    _cleanup_(freep) char *s = jsonx_dump(j);
    assert_string_equal(s, "{\"a\":[1,2.5,\"é\"]}");
}

static void parse_names_what_is_wrong(void **state)
{
    refuses("", "empty");
    refuses("{\n \"a\": x}", "line 2");
    refuses("{} {}", "line 1");
    refuses("{\"a\":1,\"a\":2}", "duplicate");
    refuses("\"a\\u0000b\"", "line 1");
    refuses("\"\xff\"", "line 1");
    refuses("\"\\ud800\"", "line 1");
    refuses("[NaN]", "line 1");
}

static void parse_refuses_nul_bytes(void **state)
{
    json_t *j = NULL;
    assert_int_equal(jsonx_parse(&j, slice_make("1\0", 2), NULL), -ERR_INVALID);
    assert_int_equal(jsonx_parse(&j, slice_make("[1\0]", 4), NULL), -ERR_INVALID);
}

static void parse_depth_is_64(void **state)
{
    char text[2 * 65 + 1];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = '\0';
    _cleanup_(json_decrefp) json_t *j = parse(text);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = '\0';
    refuses(text, "64 levels");
    /* brackets within strings do not count */
    char str[200] = "[\"\\\"";
    memset(str + 4, '[', 100);
    memcpy(str + 104, "\"]", 3);
    _cleanup_(json_decrefp) json_t *k = parse(str);
}

static void getters_read_and_name_the_field(void **state)
{
    _cleanup_(json_decrefp) json_t *j =
        parse("{\"s\":\"abc\",\"t\":true,\"n\":3,\"w\":4.0,\"f\":0.0011,\"z\":null,\"big\":1e300,"
              "\"m\":{\"A\":\"1\"},\"zero\":0,\"half\":2.5}");
    struct err err = {0};
    const char *s = "default";
    bool b = false;
    int64_t n = 7;
    json_t *m = NULL;
    assert_int_equal(jsonx_get_string(j, "absent", 1, &s, &err), 0);
    assert_int_equal(jsonx_get_string(j, "z", 1, &s, &err), 0);
    assert_string_equal(s, "default");
    assert_int_equal(jsonx_get_string(j, "s", 3, &s, &err), 0);
    assert_string_equal(s, "abc");
    assert_int_equal(jsonx_get_string(j, "s", 2, &s, &err), -ERR_TOO_LARGE);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_string_equal(err.field, "s");
    assert_int_equal(jsonx_get_string(j, "n", 3, &s, &err), -ERR_INVALID);
    assert_string_equal(err.field, "n");

    assert_int_equal(jsonx_get_bool(j, "t", &b, &err), 0);
    assert_true(b);
    assert_int_equal(jsonx_get_bool(j, "n", &b, &err), -ERR_INVALID);

    assert_int_equal(jsonx_get_int(j, "absent", 0, 1, &n, &err), 0);
    assert_int_equal(n, 7);
    assert_int_equal(jsonx_get_int(j, "n", 0, 3, &n, &err), 0);
    assert_int_equal(n, 3);
    assert_int_equal(jsonx_get_int(j, "w", 0, 4, &n, &err), 0);
    assert_int_equal(n, 4);
    assert_int_equal(jsonx_get_int(j, "n", 0, 2, &n, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_int(j, "n", 4, 9, &n, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_int(j, "t", 0, 9, &n, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_int(j, "half", 0, 9, &n, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_int(j, "big", 0, INT64_MAX, &n, &err), -ERR_INVALID);

    assert_int_equal(jsonx_get_seconds(j, "f", 10, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_int_equal(jsonx_get_seconds(j, "n", 3, &n, &err), 0);
    assert_int_equal(n, 3000);
    assert_int_equal(jsonx_get_seconds(j, "zero", 3, &n, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_seconds(j, "big", 86400, &n, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_seconds(j, "s", 86400, &n, &err), -ERR_INVALID);

    assert_int_equal(jsonx_get_string_map(j, "m", 1, 1, &m, &err), 0);
    assert_int_equal(json_object_size(m), 1);
    assert_int_equal(jsonx_get_string_map(j, "m", 0, 1, &m, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_string_map(j, "m", 1, 0, &m, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_string_map(j, "s", 1, 1, &m, &err), -ERR_INVALID);
    assert_int_equal(jsonx_get_string_map(j, "absent", 1, 1, &m, &err), 0);
}

static void only_finds_the_unknown_field(void **state)
{
    static const char *const known[] = {"a", "b", NULL};
    _cleanup_(json_decrefp) json_t *ok = parse("{\"b\":1}");
    _cleanup_(json_decrefp) json_t *bad = parse("{\"a\":1,\"c\":1}");
    struct err err = {0};
    assert_int_equal(jsonx_only(ok, known, &err), 0);
    assert_int_equal(jsonx_only(bad, known, &err), -ERR_INVALID);
    assert_string_equal(err.field, "c");
    assert_int_equal(jsonx_object(ok, &err), 0);
    _cleanup_(json_decrefp) json_t *list = parse("[]");
    assert_int_equal(jsonx_object(list, &err), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_takes_one_well_formed_text),
        cmocka_unit_test(parse_names_what_is_wrong),
        cmocka_unit_test(parse_refuses_nul_bytes),
        cmocka_unit_test(parse_depth_is_64),
        cmocka_unit_test(getters_read_and_name_the_field),
        cmocka_unit_test(only_finds_the_unknown_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
