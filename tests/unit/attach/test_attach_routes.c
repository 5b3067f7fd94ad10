/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "attach/attach_routes.h"

#include "lib/base/mem.h"

#include <stdio.h>

static struct attach_routes *routes;
static struct jp_request req;
static struct attach_route route;

static int setup(void **state)
{
    routes = attach_routes_new();
    return 0;
}

static int teardown(void **state)
{
    attach_routes_free(routes);
    return 0;
}

static void put(const char *type, unsigned n, const char *ident)
{
    memset(&req, 0, sizeof(req));
    req.msg.channel = JP_SHELL;
    snprintf(req.msg.msg_type, sizeof(req.msg.msg_type), "%s", type);
    snprintf(req.msg.msg_id, sizeof(req.msg.msg_id), "%s-%u", type, n);
    req.idents[0] = slice_str(ident);
    req.n_idents = 1;
    attach_routes_put(routes, &req);
}

static bool find(const char *type, unsigned n)
{
    char id[JP_ID_SIZE];
    snprintf(id, sizeof(id), "%s-%u", type, n);
    return attach_routes_find(routes, id, &route);
}

static void finds_who_asked(void **state)
{
    put("execute_request", 1, "alice");
    put("execute_request", 2, "bob");
    assert_true(find("execute_request", 1));
    assert_int_equal(route.n_idents, 1);
    assert_true(slice_eq_str(route.idents[0], "alice"));
    assert_int_equal(route.channel, JP_SHELL);
    assert_true(find("execute_request", 1)); /* asking does not take it */
    assert_true(find("execute_request", 2));
    assert_true(slice_eq_str(route.idents[0], "bob"));
    assert_false(find("execute_request", 3));
    assert_false(attach_routes_find(routes, "", &route));
}

static void keeps_all_identity_frames(void **state)
{
    char longest[JP_IDENT_MAX];
    memset(longest, 'x', sizeof(longest));
    memset(&req, 0, sizeof(req));
    strcpy(req.msg.msg_id, "m");
    req.msg.channel = JP_CONTROL;
    req.idents[0] = slice_make(longest, sizeof(longest));
    req.idents[1] = slice_make("\0", 1);
    req.idents[2] = slice_make(NULL, 0);
    req.idents[3] = slice_str("last");
    req.n_idents = JP_IDENTS_MAX;
    attach_routes_put(routes, &req);
    assert_true(attach_routes_find(routes, "m", &route));
    assert_int_equal(route.channel, JP_CONTROL);
    assert_int_equal(route.n_idents, JP_IDENTS_MAX);
    for (size_t i = 0; i < JP_IDENTS_MAX; i++)
        assert_true(slice_eq(route.idents[i], req.idents[i]));
}

static void the_last_to_ask_under_an_id_has_it(void **state)
{
    put("execute_request", 1, "alice");
    put("execute_request", 1, "bob");
    assert_int_equal(attach_routes_count(routes), 1);
    assert_true(find("execute_request", 1));
    assert_true(slice_eq_str(route.idents[0], "bob"));
}

static void the_oldest_go(void **state)
{
    for (unsigned n = 0; n < ATTACH_ROUTES_MAX; n++)
        put("execute_request", n, "c");
    assert_true(find("execute_request", 0));
    put("execute_request", 1, "again"); /* no new entry: nobody goes, and it is young now */
    assert_true(find("execute_request", 0));
    put("execute_request", ATTACH_ROUTES_MAX, "c");
    assert_false(find("execute_request", 0));
    put("execute_request", ATTACH_ROUTES_MAX + 1, "c");
    assert_true(find("execute_request", 1));
    assert_false(find("execute_request", 2));
    assert_int_equal(attach_routes_count(routes), ATTACH_ROUTES_MAX);
}

static void comms_do_not_push_out_requests(void **state)
{
    put("execute_request", 1, "c");
    put("comm_info_request", 1, "c"); /* is answered: a request */
    for (unsigned n = 0; n < ATTACH_ROUTES_MAX + ATTACH_COMMS_MAX; n++)
        put("comm_msg", n, "slider");
    assert_true(find("execute_request", 1));
    assert_true(find("comm_info_request", 1));
    assert_true(find("comm_msg", ATTACH_ROUTES_MAX + ATTACH_COMMS_MAX - 1));
    assert_true(find("comm_msg", ATTACH_ROUTES_MAX));
    assert_false(find("comm_msg", ATTACH_ROUTES_MAX - 1));
    assert_int_equal(attach_routes_count(routes), 2 + ATTACH_COMMS_MAX);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_who_asked),
        TEST(keeps_all_identity_frames),
        TEST(the_last_to_ask_under_an_id_has_it),
        TEST(the_oldest_go),
        TEST(comms_do_not_push_out_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
