#include "controller/auth/hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/macros.h"
#include "lib/base/mem.h"

static struct hosts *make(const char *listen_host, const char *const *allow)
{
    const struct hosts_cfg cfg = {.listen_host = listen_host, .allow = allow};
    struct hosts *h = NULL;
    struct err err = {0};

    if (hosts_new(&h, &cfg, &err) < 0)
        fail_msg("%s", err.text);
    return h;
}

static const struct {
    const char *authority;
    int r;
} cases[] = {
    {NULL, 0}, /* HTTP/1.0 */
    {"127.0.0.1", 0},
    {"127.0.0.1:8080", 0},
    {"10.244.3.17:8080", 0}, /* a kubelet's probe */
    {"0.0.0.0", 0},
    {"[::1]", 0},
    {"[::1]:8080", 0},
    {"[2001:DB8::1]:", 0},
    {"localhost", 0},
    {"LOCALHOST:1", 0},
    {"localhost.", 0},
    {"py.localhost:8080", 0},
    {"a.b.LocalHost.", 0},
    {"box", 0},
    {"BOX.:8080", 0},
    {"public.example", 0},
    {"Public.Example.:443", 0},
    {"dotted.example", 0},

    {"evil.example", -ERR_FORBIDDEN},
    {"evil.example:8080", -ERR_FORBIDDEN},
    {"localhost.evil.example", -ERR_FORBIDDEN},
    {"notlocalhost", -ERR_FORBIDDEN},
    {"127.0.0.1.evil.example", -ERR_FORBIDDEN},
    {"127.1", -ERR_FORBIDDEN}, /* no browser sends it: they write addresses out */
    {"2130706433", -ERR_FORBIDDEN},
    {"0x7f.0.0.1", -ERR_FORBIDDEN},
    {"public.example.evil", -ERR_FORBIDDEN},
    {"sub.public.example", -ERR_FORBIDDEN},
    {"box..", -ERR_FORBIDDEN},
    {"boxx", -ERR_FORBIDDEN},
    {".localhost", -ERR_FORBIDDEN},
    {".", -ERR_FORBIDDEN},

    {"", -ERR_INVALID},
    {":8080", -ERR_INVALID},
    {" localhost", -ERR_INVALID},
    {"localhost ", -ERR_INVALID},
    {"local host", -ERR_INVALID},
    {"localhost, evil.example", -ERR_INVALID},
    {"user@localhost", -ERR_INVALID},
    {"localhost/", -ERR_INVALID},
    {"http://localhost", -ERR_INVALID},
    {"localhost:80:80", -ERR_INVALID},
    {"localhost:http", -ERR_INVALID},
    {"localhost:65536", -ERR_INVALID},
    {"localhost:-1", -ERR_INVALID},
    {"::1", -ERR_INVALID},
    {"[::1", -ERR_INVALID},
    {"[]", -ERR_INVALID},
    {"[localhost]", -ERR_INVALID},
    {"[127.0.0.1]", -ERR_INVALID},
    {"[::1]x", -ERR_INVALID},
    {"[fe80::1%25lo]", -ERR_INVALID},
    {"[v1.x]", -ERR_INVALID},
    {"l\xc3\xb6"
     "calhost",
     -ERR_INVALID},
    {"%6cocalhost", -ERR_INVALID},
};

static void names_pass_or_not(void **state)
{
    static const char *const allow[] = {"public.example", "DOTTED.example.", NULL};
    struct hosts *h = make("box", allow);
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err = (struct err){0};
        int r = hosts_check(h, cases[i].authority, &err);
        if (r != cases[i].r)
            fail_msg("\"%s\": %d (%s)", cases[i].authority, r, err.text);
        if (r == -ERR_FORBIDDEN)
            assert_non_null(strstr(err.text, "--allow-host"));
    }
    hosts_free(h);
}

static void a_long_name_is_refused_within_bounds(void **state)
{
    struct hosts *h = make("127.0.0.1", NULL);
    struct err err;
    char *name = mem_printf("%0250d", 1);

    assert_int_equal(hosts_check(h, name, &err), -ERR_FORBIDDEN);
    free(name);
    name = mem_printf("%0254d", 1);
    assert_int_equal(hosts_check(h, name, &err), -ERR_INVALID);
    free(name);
    hosts_free(h);
}

static void all_pass_where_it_was_said_or_on_a_unix_socket(void **state)
{
    static const char *const star[] = {"a", "*", NULL};
    struct hosts *some[] = {make(NULL, NULL), make("127.0.0.1", star)};

    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        assert_int_equal(hosts_check(some[i], "evil.example", NULL), 0);
        assert_int_equal(hosts_check(some[i], "%2Frun%2Fcaesarion.sock", NULL), 0);
        assert_int_equal(hosts_check(some[i], "", NULL), 0);
        hosts_free(some[i]);
    }
}

static void what_is_no_name_is_refused_at_the_start(void **state)
{
    static const char *const bad[] = {"",     "a:80",       "http://a", "*.a", "a b",
                                      "[::1", "[::1]:8080", "a/",       "ä",   "a,b"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *const allow[] = {bad[i], NULL};
        const struct hosts_cfg cfg = {.listen_host = "127.0.0.1", .allow = allow};
        struct hosts *h = NULL;
        struct err err = {0};
        assert_int_equal(hosts_new(&h, &cfg, &err), -ERR_INVALID);
        assert_null(h);
        assert_non_null(strstr(err.text, "--allow-host"));
    }
}

static void an_address_given_at_the_start_is_no_obstacle(void **state)
{
    static const char *const allow[] = {"[::1]", "192.0.2.1", NULL};
    struct hosts *h = make("::1", allow);

    assert_int_equal(hosts_check(h, "[::1]:80", NULL), 0);
    assert_int_equal(hosts_check(h, "evil.example", NULL), -ERR_FORBIDDEN);
    hosts_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_pass_or_not),
        cmocka_unit_test(a_long_name_is_refused_within_bounds),
        cmocka_unit_test(all_pass_where_it_was_said_or_on_a_unix_socket),
        cmocka_unit_test(what_is_no_name_is_refused_at_the_start),
        cmocka_unit_test(an_address_given_at_the_start_is_no_obstacle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
