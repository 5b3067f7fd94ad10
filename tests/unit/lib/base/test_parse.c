#include "lib/base/parse.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static struct err err;

static void whole_numbers_within_their_bounds(void **state)
{
    uint64_t n = 7;
    assert_int_equal(parse_u64("0", 0, 10, &n, &err), 0);
    assert_int_equal(n, 0);
    assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &n, &err), 0);
    assert_true(n == UINT64_MAX);
    assert_int_equal(parse_u64("007", 0, 10, &n, &err), 0);
    assert_int_equal(n, 7);
    assert_int_equal(parse_u64("10", 3, 10, &n, &err), 0);
    assert_int_equal(parse_u64("11", 3, 10, &n, &err), -ERR_INVALID);
    assert_string_equal(err.text, "11 is not between 3 and 10");
    assert_int_equal(parse_u64("2", 3, 10, &n, &err), -ERR_INVALID);
    assert_int_equal(n, 10); /* left alone */
    static const char *const bad[] = {"",   " 1", "1 ",  "+1",  "-1",
                                      "1x", "x",  "0x1", "1.0", "18446744073709551616"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_u64(bad[i], 0, UINT64_MAX, &n, &err), -ERR_INVALID);
}

static void sizes_with_binary_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t n;
    } good[] = {{"0", 0},         {"1024", 1024},   {"64Ki", 65536},
                {"2Mi", 2 << 20}, {"1Gi", 1 << 30}, {"17179869183Gi", 17179869183ULL << 30}};
    uint64_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(parse_size(good[i].text, &n, &err), 0);
        assert_true(n == good[i].n);
    }
    static const char *const bad[] = {"",     "Ki",    "1K", "1KB",  "1ki",          "1 Ki",
                                      "-1Ki", "1.5Gi", "1G", "1Ki ", "17179869184Gi"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_size(bad[i], &n, &err), -ERR_INVALID);
}

static void durations_need_their_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},       {"250ms", 250},  {"300s", 300000},
                {"5m", 300000}, {"1h", 3600000}, {"0s", 0}};
    int64_t ms = 0;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(parse_duration_ms(good[i].text, &ms, &err), 0);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"",    "10", "s",    "1d", "1 s",
                                      "-1s", "1S", "1.5s", "00", "99999999999999999999h"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_duration_ms(bad[i], &ms, &err), -ERR_INVALID);
    assert_int_equal(parse_duration_ms("9223372036854ms", &ms, &err), 0);
    assert_int_equal(parse_duration_ms("9223372036855ms", &ms, &err), -ERR_INVALID);
}

static void truth_in_four_words(void **state)
{
    static const char *const yes[] = {"1", "true", "TRUE", "yes", "on"};
    static const char *const no[] = {"0", "false", "No", "off"};
    static const char *const bad[] = {"", "2", "t", "truee", " true"};
    bool b = false;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++, b = false) {
        assert_int_equal(parse_bool(yes[i], &b, &err), 0);
        assert_true(b);
    }
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        b = true;
        assert_int_equal(parse_bool(no[i], &b, &err), 0);
        assert_false(b);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse_bool(bad[i], &b, &err), -ERR_INVALID);
}

static void percent(const char *in, const char *expected)
{
    char out[64];
    size_t len = 0;
    int r = parse_percent(in, strlen(in), out, &len, &err);
    if (!expected) {
        assert_int_equal(r, -ERR_INVALID);
        return;
    }
    assert_int_equal(r, 0);
    assert_string_equal(out, expected);
    assert_int_equal(len, strlen(expected));
}

static void percent_escapes_are_resolved_once(void **state)
{
    percent("", "");
    percent("plain", "plain");
    percent("a%20b", "a b");
    percent("%41%62", "Ab");
    percent("%2F%2f", "//");
    percent("%252F", "%2F");
    percent("a+b", "a+b");
    percent("%C3%A4", "ä");
    percent("%ff", "\xff");
    percent("%", NULL);
    percent("%4", NULL);
    percent("a%4", NULL);
    percent("%4g", NULL);
    percent("%g4", NULL);
    percent("%%41", NULL);
    percent("%00", NULL);
    percent("a%00b", NULL);
}

static void percent_reads_no_further_than_its_length(void **state)
{
    char out[8];
    size_t len = 0;
    assert_int_equal(parse_percent("%41", 2, out, &len, &err), -ERR_INVALID);
    assert_int_equal(parse_percent("a\0b", 3, out, &len, &err), -ERR_INVALID);
    assert_int_equal(parse_percent("ab%41", 2, out, &len, &err), 0);
    assert_string_equal(out, "ab");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_within_their_bounds),
        cmocka_unit_test(sizes_with_binary_units),
        cmocka_unit_test(durations_need_their_unit),
        cmocka_unit_test(truth_in_four_words),
        cmocka_unit_test(percent_escapes_are_resolved_once),
        cmocka_unit_test(percent_reads_no_further_than_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
