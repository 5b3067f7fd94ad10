#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/mem.h"
#include "lib/http/http_router.h"

static const struct http_route routes[] = {
    {"GET", "/", HTTP_BODY_NONE, 0, NULL, 0},
    {"GET", "/items", HTTP_BODY_NONE, 0, NULL, 1},
    {"POST", "/items", HTTP_BODY_NONE, 0, NULL, 2},
    {"GET", "/items/{id}", HTTP_BODY_NONE, 0, NULL, 3},
    {"DELETE", "/items/{id}", HTTP_BODY_NONE, 0, NULL, 4},
    {"POST", "/items/upload", HTTP_BODY_NONE, 0, NULL, 5},
    {"GET", "/items/{id}/parts/{part}", HTTP_BODY_NONE, 0, NULL, 6},
    {"GET", "/items/{id}/files", HTTP_BODY_NONE, 0, NULL, 7},
    {"PUT", "/items/{id}/files/{path...}", HTTP_BODY_NONE, 0, NULL, 8},
    {"*", "/proxy/{path...}", HTTP_BODY_NONE, 0, NULL, 9},
    {"OPTIONS", "/items", HTTP_BODY_NONE, 0, NULL, 10},
};

struct row {
    const char *method, *path;
    int flags; /* -1: path unknown, -2: method not allowed */
    const char *p0, *p1;
};

static const struct row rows[] = {
    {"GET", "/", 0, NULL, NULL},
    {"HEAD", "/", 0, NULL, NULL},
    {"GET", "", -1, NULL, NULL},
    {"GET", "*", -1, NULL, NULL},
    {"GET", "/items", 1, NULL, NULL},
    {"GET", "/items/", -1, NULL, NULL},
    {"GET", "//items", -1, NULL, NULL},
    {"POST", "/items", 2, NULL, NULL},
    {"OPTIONS", "/items", 10, NULL, NULL},
    {"PATCH", "/items", -2, NULL, NULL},
    {"get", "/items", -2, NULL, NULL},
    {"GET", "/it%65ms", 1, NULL, NULL},
    {"GET", "/ITEMS", -1, NULL, NULL},
    {"GET", "/items/a", 3, "a", NULL},
    {"GET", "/items/a%20b%C3%A9", 3, "a b\xC3\xA9", NULL},
    {"GET", "/items/..", 3, "..", NULL},
    {"GET", "/items/a%2Fb", -1, NULL, NULL},
    {"GET", "/items/a%2fb", -1, NULL, NULL},
    {"GET", "/items/a%00b", -1, NULL, NULL},
    {"GET", "/items/a%", -1, NULL, NULL},
    {"GET", "/items/a%4", -1, NULL, NULL},
    {"GET", "/items/%zz", -1, NULL, NULL},
    {"DELETE", "/items/a", 4, "a", NULL},
    {"POST", "/items/upload", 5, NULL, NULL},
    {"GET", "/items/upload", 3, "upload", NULL},
    {"PUT", "/items/upload", -2, NULL, NULL},
    {"GET", "/items/a/parts/7", 6, "a", "7"},
    {"GET", "/items/upload/parts/7", 6, "upload", "7"},
    {"GET", "/items/a/parts/", -1, NULL, NULL},
    {"GET", "/items//parts/7", -1, NULL, NULL},
    {"GET", "/items/a/parts/7/8", -1, NULL, NULL},
    {"GET", "/items/a/files", 7, "a", NULL},
    {"PUT", "/items/a/files", -2, NULL, NULL},
    {"PUT", "/items/a/files/", 8, "a", ""},
    {"PUT", "/items/a/files/x/y%2F%zz//z", 8, "a", "x/y%2F%zz//z"},
    {"PUT", "/items/a/files/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", 8, "a",
     "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18"},
    {"GET", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", -1, NULL, NULL},
    {"FOO", "/proxy/x", 9, "x", NULL},
    {"GET", "/proxy/", 9, "", NULL},
    {"GET", "/proxy", -1, NULL, NULL},
    {"GET", "/prox", -1, NULL, NULL},
};

static void match_table(void **state)
{
    struct http_router *r = http_router_new(routes, ARRAY_LEN(routes));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *row = &rows[i];
        /* An exact allocation: a byte too far is a finding. */
        char *scratch = mem_alloc(http_router_scratch(row->path));
        struct http_match m;
        http_router_match(r, row->method, row->path, scratch, &m);
        int got = m.route ? (int)m.route->flags : m.path_known ? -2 : -1;
        if (got != row->flags)
            fail_msg("%s %s: %d instead of %d", row->method, row->path, got, row->flags);
        if (row->p0)
            assert_string_equal(m.params[0].text, row->p0);
        if (row->p1)
            assert_string_equal(m.params[1].text, row->p1);
        free(scratch);
    }
    http_router_free(r);
}

static void allow_names_every_method(void **state)
{
    struct http_router *r = http_router_new(routes, ARRAY_LEN(routes));
    char scratch[256];
    struct http_match m;
    http_router_match(r, "PATCH", "/items", scratch, &m);
    assert_string_equal(m.allow, "GET, HEAD, POST, OPTIONS");
    http_router_match(r, "PUT", "/items/upload", scratch, &m);
    assert_string_equal(m.allow, "GET, HEAD, POST, DELETE");
    http_router_free(r);
}

static void raw_parameter_keeps_escapes(void **state)
{
    struct http_router *r = http_router_new(routes, ARRAY_LEN(routes));
    char scratch[256];
    struct http_match m;
    http_router_match(r, "GET", "/items/a%20b/parts/%41", scratch, &m);
    assert_int_equal(m.n_params, 2);
    assert_string_equal(m.params[0].raw, "a%20b");
    assert_string_equal(m.params[1].raw, "%41");
    assert_string_equal(m.params[1].text, "A");
    assert_true(slice_eq_str(m.params[1].name, "part"));
    http_router_free(r);
}

static void empty_table_matches_nothing(void **state)
{
    struct http_router *r = http_router_new(NULL, 0);
    char scratch[64];
    struct http_match m;
    http_router_match(r, "GET", "/", scratch, &m);
    assert_null(m.route);
    assert_false(m.path_known);
    http_router_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(match_table),
        cmocka_unit_test(allow_names_every_method),
        cmocka_unit_test(raw_parameter_keeps_escapes),
        cmocka_unit_test(empty_table_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
