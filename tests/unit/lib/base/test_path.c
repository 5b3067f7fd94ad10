#include "lib/base/path.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static struct err err;

static int check(const char *path)
{
    return path_check_relative(path, strlen(path), &err);
}

static void ordinary_paths_pass(void **state)
{
    static const char *const good[] = {"a",  "a/b/c.txt", ".hidden", "...", "a..b", "a b",
                                       "ä€", "a/.b/..c",  "-",       "~",   "a\\b", "%2e%2e"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(check(good[i]), 0);
}

static void what_could_lead_elsewhere_is_refused(void **state)
{
    static const char *const bad[] = {"",       "/",    "/a",    "a/",   "a//b", ".",
                                      "..",     "./a",  "../a",  "a/..", "a/.",  "a/./b",
                                      "a/../b", "a\nb", "a\x7f", "\x01", "\xff", "\xC0\xAE/a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(check(bad[i]), -ERR_INVALID);
        assert_string_equal(err.field, "path");
    }
    assert_int_equal(path_check_relative("a\0b", 3, &err), -ERR_INVALID);
}

static void a_part_has_a_ceiling(void **state)
{
    char path[600];
    memset(path, 'x', sizeof(path));
    assert_int_equal(path_check_relative(path, PATH_PART_MAX, &err), 0);
    assert_int_equal(path_check_relative(path, PATH_PART_MAX + 1, &err), -ERR_INVALID);
    path[PATH_PART_MAX] = '/';
    assert_int_equal(path_check_relative(path, 2 * PATH_PART_MAX + 1, &err), 0);
    assert_int_equal(path_check_relative(path, 2 * PATH_PART_MAX + 2, &err), -ERR_INVALID);
}

static void the_whole_has_a_ceiling(void **state)
{
    char path[PATH_USER_MAX + 1];
    for (size_t i = 0; i < sizeof(path); i++)
        path[i] = i % 100 == 99 ? '/' : 'x';
    assert_int_equal(path_check_relative(path, PATH_USER_MAX, &err), 0);
    assert_int_equal(path_check_relative(path, PATH_USER_MAX + 1, &err), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_paths_pass),
        cmocka_unit_test(what_could_lead_elsewhere_is_refused),
        cmocka_unit_test(a_part_has_a_ceiling),
        cmocka_unit_test(the_whole_has_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
