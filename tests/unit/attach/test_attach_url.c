/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "attach/attach_url.h"

#include "lib/base/macros.h"

#include <string.h>

static void reads_where_it_is(void **state)
{
    static const struct {
        const char *text, *base, *unix_path;
    } good[] = {
        {"http://127.0.0.1:8080", "http://127.0.0.1:8080", NULL},
        {"http://127.0.0.1:8080/", "http://127.0.0.1:8080", NULL},
        {"https://host/hub//", "https://host/hub", NULL},
        {"http://[::1]:8080/a/b", "http://[::1]:8080/a/b", NULL},
        {"https://host/@", "https://host/@", NULL},
        {"http+unix:///run/c.sock", "http://localhost", "/run/c.sock"},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct attach_url u;
        struct err err = {0};
        assert_int_equal(attach_url_parse(&u, good[i].text, &err), 0);
        assert_string_equal(u.base, good[i].base);
        if (good[i].unix_path)
            assert_string_equal(u.unix_path, good[i].unix_path);
        else
            assert_null(u.unix_path);
        attach_url_done(&u);
        assert_null(u.base);
    }
}

static void refuses_the_rest(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "is not a URL"},
        {"127.0.0.1:8080", "is not a URL"},
        {"ftp://host", "is not a URL"},
        {"http://", "is not a URL"},
        {"http:///path", "is not a URL"},
        {"http://host/a b", "is not a URL"},
        {"http://host\r\nX: y", "is not a URL"},
        {"http+unix://relative", "is not a URL"},
        {"http://user:word@host/", "CAESARION_TOKEN"},
        {"http://127.0.0.1:8080/?token=secret", "CAESARION_TOKEN"},
        {"http://host/#x", "CAESARION_TOKEN"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct attach_url u;
        struct err err = {0};
        assert_int_equal(attach_url_parse(&u, bad[i].text, &err), -ERR_INVALID);
        assert_non_null(strstr(err.text, bad[i].why));
        assert_null(strstr(err.text, "secret"));
        assert_null(u.base);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_where_it_is),
        cmocka_unit_test(refuses_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
