/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/crypto/crypto.h"

#include <string.h>

static void sha256_of_known_text(void **state)
{
    char hex[CRYPTO_HEX_SIZE];
    crypto_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hmac_of_rfc4231(void **state)
{
    struct crypto_hmac h;
    char hex[CRYPTO_HEX_SIZE];
    crypto_hmac_init(&h, "Jefe", 4);
    crypto_hmac_update(&h, "what do ya want ", 16);
    crypto_hmac_update(&h, NULL, 0);
    crypto_hmac_update(&h, "for nothing?", 12);
    crypto_hmac_hex(&h, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    /* the same state again, without a new key */
    crypto_hmac_update(&h, "what do ya want for nothing?", 28);
    crypto_hmac_hex(&h, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");

    char key[131];
    memset(key, 0xAA, sizeof(key));
    crypto_hmac_init(&h, key, sizeof(key));
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    crypto_hmac_update(&h, text, strlen(text));
    crypto_hmac_hex(&h, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypto_hmac_done(&h);
}

static void equal_compares_any_length(void **state)
{
    assert_true(crypto_equal("", ""));
    assert_true(crypto_equal("secret", "secret"));
    assert_false(crypto_equal("secret", "secreT"));
    assert_false(crypto_equal("secret", "secre"));
    assert_false(crypto_equal("secret", "secrett"));
    assert_false(crypto_equal("", "x"));
    assert_true(crypto_equal_bytes("abc", "abd", 2));
    assert_false(crypto_equal_bytes("abc", "abd", 3));
    assert_true(crypto_equal_bytes(NULL, NULL, 0));
}

static void sandbox_token_is_known_by_its_hash(void **state)
{
    uint8_t key[CRYPTO_KEY_SIZE] = {1, 2, 3};
    char a[CRYPTO_HEX_SIZE], again[CRYPTO_HEX_SIZE], other[CRYPTO_HEX_SIZE], hash[CRYPTO_HEX_SIZE];
    const char *id = "sb-00000000-0000-4000-8000-000000000000";
    crypto_token_derive(key, id, a);
    crypto_token_derive(key, id, again);
    assert_string_equal(a, again);
    crypto_token_derive(key, "sb-00000000-0000-4000-8000-000000001000", other);
    assert_string_not_equal(a, other);
    key[31] = 1;
    crypto_token_derive(key, id, other);
    assert_string_not_equal(a, other);

    crypto_token_hash(a, hash);
    assert_int_equal(strlen(hash), 64);
    assert_string_not_equal(hash, a);
    assert_true(crypto_token_matches(a, hash));
    assert_false(crypto_token_matches(other, hash));
    assert_false(crypto_token_matches(hash, hash));
    assert_false(crypto_token_matches("", hash));
    assert_false(crypto_token_matches(a, ""));
    hash[63] = '\0';
    assert_false(crypto_token_matches(a, hash));
}

static void new_ids_have_their_form_and_differ(void **state)
{
    char u[2][ID_UUID_SIZE], s[2][ID_SANDBOX_SIZE], t[2][CRYPTO_TOKEN_SIZE];
    for (int i = 0; i < 2; i++) {
        crypto_new_uuid(u[i]);
        crypto_new_sandbox_id(s[i]);
        crypto_new_token(t[i]);
        assert_true(id_is_uuid(u[i]));
        assert_true(id_is_sandbox(s[i]));
        assert_int_equal(strlen(t[i]), 48);
        assert_int_equal(strspn(t[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789-_"),
                         48);
    }
    assert_string_not_equal(u[0], u[1]);
    assert_string_not_equal(s[0], s[1]);
    assert_string_not_equal(t[0], t[1]);
}

static int setup(void **state)
{
    return crypto_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_of_known_text),
        cmocka_unit_test(hmac_of_rfc4231),
        cmocka_unit_test(equal_compares_any_length),
        cmocka_unit_test(sandbox_token_is_known_by_its_hash),
        cmocka_unit_test(new_ids_have_their_form_and_differ),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
