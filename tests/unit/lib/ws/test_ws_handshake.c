/* The strings of the opening handshake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "lib/ws/ws_handshake.h"

static void accept_of_the_rfc(void **state)
{
    char out[WS_ACCEPT_SIZE];
    assert_true(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", out));
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void key_must_be_sixteen_bytes(void **state)
{
    char out[WS_ACCEPT_SIZE];
    assert_false(ws_accept(NULL, out));
    assert_false(ws_accept("", out));
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25jZQ=", out));
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25jZQ== ", out));
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25jZSE=", out)); /* 17 bytes */
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25jZSEh", out)); /* 18 bytes */
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25j", out));     /* 15 bytes */
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25j!Q==", out));
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25j\nQ==", out));
    assert_false(ws_accept("===="
                           "dGhlIHNhbXBsZSBub25j",
                           out));
}

static void new_keys_are_keys_and_differ(void **state)
{
    char a[WS_KEY_SIZE], b[WS_KEY_SIZE], out[WS_ACCEPT_SIZE];
    ws_new_key(a);
    ws_new_key(b);
    assert_int_equal(strlen(a), WS_KEY_SIZE - 1);
    assert_string_not_equal(a, b);
    assert_true(ws_accept(a, out) && ws_accept(b, out));
}

static void tokens_in_lists(void **state)
{
    assert_true(ws_list_has("Upgrade", "upgrade"));
    assert_true(ws_list_has("keep-alive, Upgrade", "upgrade"));
    assert_true(ws_list_has("a,\tUPGRADE \t,b", "upgrade"));
    assert_true(ws_list_has(",,upgrade", "upgrade"));
    assert_false(ws_list_has(NULL, "upgrade"));
    assert_false(ws_list_has("", "upgrade"));
    assert_false(ws_list_has(" , ,", "upgrade"));
    assert_false(ws_list_has("upgrades, upgrad, up grade", "upgrade"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_of_the_rfc),
        cmocka_unit_test(key_must_be_sixteen_bytes),
        cmocka_unit_test(new_keys_are_keys_and_differ),
        cmocka_unit_test(tokens_in_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
