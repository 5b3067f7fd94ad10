#include "controller/backends/local_uid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void uid_window_of_a_host(void **state)
{
    struct local_uid_window w;

    assert_int_equal(local_uid_parse(&w, "         0          0 4294967295\n", NULL), 0);
    assert_int_equal(w.first, 1900000000);
    assert_int_equal(w.count, 100000);
}

static void uid_window_of_a_container(void **state)
{
    struct local_uid_window w;

    assert_int_equal(local_uid_parse(&w, "0 1000 1\n1 100000 65535\n", NULL), 0);
    assert_int_equal(w.first, 61184);
    assert_int_equal(w.first + w.count, 65519);
    /* 65536 ids less one: ends where the map does */
    assert_int_equal(local_uid_parse(&w, "0 100000 61200\n", NULL), 0);
    assert_int_equal(w.first, 61184);
    assert_int_equal(w.count, 16);
}

static void uid_window_too_small(void **state)
{
    static const char *const maps[] = {"0 1000 1\n", "0 100000 61199\n", "", "what\n"};
    struct local_uid_window w;
    struct err err = {0};

    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        assert_int_equal(local_uid_parse(&w, maps[i], &err), -ERR_UNAVAILABLE);
        assert_non_null(strstr(err.text, "--isolation none"));
    }
}

static bool below(void *ctx, uid_t uid)
{
    const uid_t *limit = ctx;

    return uid < *limit;
}

static void uid_pick_passes_over_what_is_taken(void **state)
{
    struct local_uid_window w = {1900000000U, 20};
    uid_t limit = 1900000019U, uid = 0;

    assert_int_equal(local_uid_pick(&uid, &w, 3, below, &limit, NULL), 0);
    assert_int_equal(uid, 1900000019);
    limit++;
    struct err err = {0};
    assert_int_equal(local_uid_pick(&uid, &w, 3, below, &limit, &err), -ERR_LIMIT);
}

static void uid_pick_passes_over_who_runs(void **state)
{
    struct local_uid_window w = {(uint32_t)getuid(), 1};
    uid_t limit = 0, uid = 0;

    assert_int_equal(local_uid_pick(&uid, &w, 0, below, &limit, NULL), -ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uid_window_of_a_host),
        cmocka_unit_test(uid_window_of_a_container),
        cmocka_unit_test(uid_window_too_small),
        cmocka_unit_test(uid_pick_passes_over_what_is_taken),
        cmocka_unit_test(uid_pick_passes_over_who_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
