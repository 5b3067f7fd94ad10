#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controller/relay/relay_head.h"
#include "lib/base/mem.h"

#define ID "sb-12345678-1234-4234-8234-123456789000"

static void targets(void **state)
{
    static const struct {
        const char *path, *query, *want;
    } cases[] = {
        {"/api/sandboxes/" ID "/files/a", "", "/files/a"},
        {"/api/sandboxes/" ID "/files/a%2Fb/../c", "", "/files/a%2Fb/../c"},
        {"/api/sandboxes/%73b-x/files/a", "", "/files/a"},
        {"/api/sandboxes/" ID, "", "/"},
        {"/api/sandboxes/" ID "/", "", "/"},
        {"/elsewhere", "", "/"},
        {"/api/sandboxes/x/f", "a=1&b", "/f?a=1&b"},
        {"/api/sandboxes/x/f", "token=T", "/f"},
        {"/api/sandboxes/x/f", "a=1&token=T&b", "/f?a=1&b"},
        {"/api/sandboxes/x/f", "token&a", "/f?a"},
        {"/api/sandboxes/x/f", "t%6fken=T&tokens=1&atoken=2", "/f?tokens=1&atoken=2"},
        {"/api/sandboxes/x/f", "%74%6f%6b%65%6e=T", "/f"},
        {"/api/sandboxes/x/f", "&&a&", "/f?a"},
        {"/api/sandboxes/x/f", "Token=1", "/f?Token=1"},
        {"/jupyter/api/kernels/k", "token=t&1795421544360", "/jupyter/api/kernels/k?1795421544360"},
        {"/jupyterhub/api", "", "/"},
        {"/api/sandboxes/x/a b#c\x01\xC3\xA9", "q=\"x\" y", "/a%20b%23c%01%C3%A9?q=\"x\"%20y"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 1000);
        assert_int_equal(relay_target(&out, cases[i].path, cases[i].query, NULL), 0);
        assert_string_equal(out.ptr, cases[i].want);
        buf_done(&out);
    }
}

static void a_target_has_a_ceiling(void **state)
{
    struct buf out;
    struct err err = {0};
    buf_init(&out, 10);
    assert_int_equal(relay_target(&out, "/api/sandboxes/x/23456789A", "", &err), 0);
    buf_clear(&out);
    assert_int_equal(relay_target(&out, "/api/sandboxes/x/23456789AB", "", &err),
                     -ERR_URI_TOO_LONG);
    buf_clear(&out);
    assert_int_equal(relay_target(&out, "/api/sandboxes/x/2", "3456789A", &err), -ERR_URI_TOO_LONG);
    buf_done(&out);
}

static void headers_that_pass(void **state)
{
    static const char *const up[] = {"Accept", "content-type", "RANGE", "Last-Event-ID", "Prefer"};
    static const char *const not_up[] = {"Authorization",     "Cookie",         "Host",
                                         "Connection",        "Origin",         "Upgrade",
                                         "X-Request-Id",      "X-Execution-Id", "Content-Length",
                                         "Transfer-Encoding", "Expect",         ""};
    static const char *const down[] = {"ETag", "content-range", "Retry-After", "X-Anything"};
    static const char *const not_down[] = {
        "connection",   "Transfer-Encoding",          "Set-Cookie", "Date", "Content-Length",
        "X-Request-Id", "access-control-allow-origin"};
    for (size_t i = 0; i < ARRAY_LEN(up); i++)
        assert_true(relay_passes_to_runner(up[i]));
    for (size_t i = 0; i < ARRAY_LEN(not_up); i++)
        assert_false(relay_passes_to_runner(not_up[i]));
    for (size_t i = 0; i < ARRAY_LEN(down); i++)
        assert_true(relay_passes_to_client(slice_str(down[i])));
    for (size_t i = 0; i < ARRAY_LEN(not_down); i++)
        assert_false(relay_passes_to_client(slice_str(not_down[i])));
}

static void locations(void **state)
{
    static const char *const cases[][3] = {
        {"/executions/e", "/api/sandboxes/" ID "/executions/e", "/api/sandboxes/" ID "/execute"},
        {"/jupyter/api/sessions/s", "/api/sandboxes/" ID "/jupyter/api/sessions/s",
         "/api/sandboxes/" ID "/jupyter/api/sessions"},
        {"/jupyter/api/sessions/s", "/jupyter/api/sessions/s", "/jupyter/api/sessions"},
        {"http://x/y", "http://x/y", "/api/sandboxes/" ID "/execute"},
        {"", "", "/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 1000);
        assert_int_equal(relay_location(&out, ID, cases[i][2], slice_str(cases[i][0])), 0);
        _cleanup_(freep) char *got = buf_take(&out);
        assert_string_equal(got, cases[i][1]);
    }
}

static void execution_ids(void **state)
{
    char a[ID_EXEC_MAX + 1], b[ID_EXEC_MAX + 1];
    relay_execution_id(ID, "k", a);
    assert_true(id_is_exec(a));
    relay_execution_id(ID, "k", b);
    assert_string_equal(a, b);
    relay_execution_id(ID, "l", b);
    assert_string_not_equal(a, b);
    relay_execution_id("sb-other", "k", b);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets),           cmocka_unit_test(a_target_has_a_ceiling),
        cmocka_unit_test(headers_that_pass), cmocka_unit_test(locations),
        cmocka_unit_test(execution_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
