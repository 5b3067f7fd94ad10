/*
 * Randomness and constant-time compare come from libsodium; SHA-256 and HMAC from nettle, whose
 * build picks the CPU's SHA instructions at run time. libsodium 1.0.18 has none: 20 MB, the
 * size of one big output that must be verified, took it 80 ms, and nettle 13 ms.
 */
#include "lib/crypto/crypto.h"

#include <nettle/hmac.h>
#include <nettle/sha2.h>
#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(struct hmac_sha256_ctx) <= sizeof(((struct crypto_hmac *)0)->opaque),
               "struct crypto_hmac holds nettle's state");
_Static_assert(_Alignof(struct hmac_sha256_ctx) <= _Alignof(struct crypto_hmac),
               "struct crypto_hmac is aligned for nettle's state");

static struct hmac_sha256_ctx *state(struct crypto_hmac *h)
{
    return (struct hmac_sha256_ctx *)(void *)h->opaque;
}

static void to_hex(const uint8_t digest[SHA256_DIGEST_SIZE], char out[CRYPTO_HEX_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_DIGEST_SIZE; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[CRYPTO_HEX_SIZE - 1] = '\0';
}

static void sha256(const void *data, size_t len, uint8_t digest[SHA256_DIGEST_SIZE])
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    sha256_update(&ctx, len, data);
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, digest);
}

int crypto_init(struct err *err)
{
    if (sodium_init() < 0)
        return err_set(err, ERR_INTERNAL, "no source of random numbers");
    return 0;
}

void crypto_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

void crypto_new_uuid(char out[ID_UUID_SIZE])
{
    uint8_t bytes[16];
    crypto_random(bytes, sizeof(bytes));
    id_uuid_format(bytes, out);
}

void crypto_new_sandbox_id(char out[ID_SANDBOX_SIZE])
{
    uint8_t bytes[16];
    crypto_random(bytes, sizeof(bytes));
    id_sandbox_format(bytes, out);
}

void crypto_new_token(char out[CRYPTO_TOKEN_SIZE])
{
    uint8_t bytes[36];
    crypto_random(bytes, sizeof(bytes));
    sodium_bin2base64(out, CRYPTO_TOKEN_SIZE, bytes, sizeof(bytes),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof(bytes));
}

void crypto_sha256_hex(const void *data, size_t len, char out[CRYPTO_HEX_SIZE])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256(data, len, digest);
    to_hex(digest, out);
}

void crypto_hmac_init(struct crypto_hmac *h, const void *key, size_t len)
{
    hmac_sha256_set_key(state(h), len, key);
}

void crypto_hmac_update(struct crypto_hmac *h, const void *data, size_t len)
{
    if (len)
        hmac_sha256_update(state(h), len, data);
}

void crypto_hmac_hex(struct crypto_hmac *h, char out[CRYPTO_HEX_SIZE])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    hmac_sha256_digest(state(h), sizeof(digest), digest);
    to_hex(digest, out);
}

void crypto_hmac_done(struct crypto_hmac *h)
{
    sodium_memzero(h, sizeof(*h));
}

bool crypto_equal_bytes(const void *a, const void *b, size_t len)
{
    return len == 0 || sodium_memcmp(a, b, len) == 0;
}

bool crypto_equal(const char *a, const char *b)
{
    uint8_t da[SHA256_DIGEST_SIZE], db[SHA256_DIGEST_SIZE];
    sha256(a, strlen(a), da);
    sha256(b, strlen(b), db);
    return sodium_memcmp(da, db, sizeof(da)) == 0;
}

void crypto_token_derive(const uint8_t key[CRYPTO_KEY_SIZE], const char *sandbox_id,
                         char out[CRYPTO_HEX_SIZE])
{
    /* The purpose in front keeps other uses of the same key apart. */
    static const char purpose[] = "caesarion sandbox token\n";
    struct crypto_hmac h;
    crypto_hmac_init(&h, key, CRYPTO_KEY_SIZE);
    crypto_hmac_update(&h, purpose, sizeof(purpose) - 1);
    crypto_hmac_update(&h, sandbox_id, strlen(sandbox_id));
    crypto_hmac_hex(&h, out);
    crypto_hmac_done(&h);
}

void crypto_token_hash(const char *token, char out[CRYPTO_HEX_SIZE])
{
    crypto_sha256_hex(token, strlen(token), out);
}

bool crypto_token_matches(const char *token, const char *hash_hex)
{
    char hash[CRYPTO_HEX_SIZE];
    crypto_token_hash(token, hash);
    return strlen(hash_hex) == CRYPTO_HEX_SIZE - 1 &&
           crypto_equal_bytes(hash, hash_hex, CRYPTO_HEX_SIZE - 1);
}
