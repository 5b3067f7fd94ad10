/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "attach/attach_http.h"

#include "lib/base/macros.h"
#include "lib/crypto/crypto.h"

#include <string.h>

static void assert_error(int status, const char *body, enum err_code code, const char *text)
{
    struct err err = {0};
    assert_int_equal(attach_http_error(&err, "it", status, slice_str(body), NULL), -(int)code);
    assert_string_equal(err.text, text);
}

static void says_what_the_server_says(void **state)
{
    assert_error(401, "{\"detail\":\"no such token\"}", ERR_UNAUTHORIZED,
                 "it: the token is not accepted: no such token");
    assert_error(403, "{\"message\":\"Forbidden\",\"reason\":null}", ERR_FORBIDDEN,
                 "it: this caller may not use it: Forbidden");
    assert_error(404, "", ERR_NOT_FOUND, "it is not there");
    assert_error(404, "<html>", ERR_NOT_FOUND, "it is not there");
    assert_error(410, "{\"title\":\"Gone\\nfor good\"}", ERR_NOT_FOUND,
                 "it is not there: Gone for good");
    assert_error(500, "{\"detail\":5}", ERR_UNAVAILABLE, "it: the server answered with status 500");
    assert_error(200, "", ERR_UNAVAILABLE, "it: the server answered with status 200");
    struct err err = {0}, cause = {.code = ERR_TIMEOUT, .text = "no answer within 5 s"};
    assert_int_equal(attach_http_error(&err, "it", 0, slice_str(""), &cause), -ERR_TIMEOUT);
    assert_string_equal(err.text, "it: no answer within 5 s");
}

static void long_words_are_left_out(void **state)
{
    char body[2000];
    struct err err = {0};
    memset(body, 'x', sizeof(body));
    memcpy(body, "{\"detail\":\"", 11);
    memcpy(body + sizeof(body) - 2, "\"}", 2);
    attach_http_error(&err, "it", 404, slice_make(body, sizeof(body)), NULL);
    assert_string_equal(err.text, "it is not there");
}

static void tells_what_passes_from_what_does_not(void **state)
{
    static const int passing[] = {0, 408, 409, 425, 429, 500, 502, 503, 504};
    static const int final[] = {401, 403, 404, 410};
    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        assert_true(attach_http_passing(passing[i]) && !attach_http_final(passing[i]));
    for (size_t i = 0; i < ARRAY_LEN(final); i++)
        assert_true(attach_http_final(final[i]) && !attach_http_passing(final[i]));
    assert_false(attach_http_passing(200) || attach_http_passing(400));
}

static void waits_longer_each_time_up_to_a_ceiling(void **state)
{
    assert_int_equal(crypto_init(NULL), 0);
    static const struct {
        unsigned n;
        int64_t ms;
    } waits[] = {{0, 100}, {1, 200}, {5, 3200}, {7, 10000}, {16, 10000}, {1000000, 10000}};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++)
        for (int k = 0; k < 100; k++)
            assert_in_range(attach_backoff_ms(waits[i].n, 10000), waits[i].ms / 2, waits[i].ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_the_server_says),
        cmocka_unit_test(long_words_are_left_out),
        cmocka_unit_test(tells_what_passes_from_what_does_not),
        cmocka_unit_test(waits_longer_each_time_up_to_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
