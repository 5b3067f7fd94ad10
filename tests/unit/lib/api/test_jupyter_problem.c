/* Which errors Jupyter clients get, and what is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/api/jupyter_problem.h"
#include "lib/base/cleanup.h"
#include "lib/base/macros.h"

static void paths(void **state)
{
    static const struct {
        const char *path;
        bool is;
    } cases[] = {
        {"/jupyter/", true},
        {"/jupyter/api/kernels", true},
        {"/api/sandboxes/sb-1/jupyter/api", true},
        {"/jupyter", false},
        {"/jupyterhub/", false},
        {"/api/sandboxes/jupyter/api", false},
        {"/api/sandboxes/sb-1/files/jupyter/api", false},
        {"/api/sandboxes/sb-1", false},
        {"/api/sandboxes/", false},
        {"/", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(jupyter_path(cases[i].path), cases[i].is);
}

static const char *of(const json_t *problem, const char *key)
{
    return json_string_value(json_object_get(problem, key));
}

static void members(void **state)
{
    _cleanup_(json_decrefp) json_t *p =
        json_pack("{s:s,s:s}", "title", "Not found", "detail", "there is no kernel x");
    jupyter_problem(p);
    assert_string_equal(of(p, "message"), "there is no kernel x");
    assert_string_equal(of(p, "reason"), "Not found");
    _cleanup_(json_decrefp) json_t *bare = json_pack("{s:s}", "title", "Not found");
    jupyter_problem(bare);
    assert_string_equal(of(bare, "message"), "Not found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(paths), cmocka_unit_test(members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
