#pragma once
#include "lib/base/err.h"
#include "lib/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The only door to the cryptography libraries. Nothing here keeps state between calls. */

#define CRYPTO_HEX_SIZE   65 /* hex of 32 bytes, with the NUL */
#define CRYPTO_TOKEN_SIZE 49 /* url-safe token, with the NUL */
#define CRYPTO_KEY_SIZE   32

/* Once, before anything else here and before threads. */
int crypto_init(struct err *err);

void crypto_random(void *out, size_t len);
void crypto_new_uuid(char out[ID_UUID_SIZE]);
void crypto_new_sandbox_id(char out[ID_SANDBOX_SIZE]);
/* 36 random bytes as 48 characters of [A-Za-z0-9_-]. */
void crypto_new_token(char out[CRYPTO_TOKEN_SIZE]);

/* Lower-case hex SHA-256. */
void crypto_sha256_hex(const void *data, size_t len, char out[CRYPTO_HEX_SIZE]);

/*
 * HMAC-SHA256 over several pieces. The key is scheduled once: after crypto_hmac_hex() the state is
 * ready for the next message with the same key. A key may have any length.
 */
struct crypto_hmac {
    _Alignas(16) unsigned char opaque[352];
};
void crypto_hmac_init(struct crypto_hmac *h, const void *key, size_t len);
void crypto_hmac_update(struct crypto_hmac *h, const void *data, size_t len);
void crypto_hmac_hex(struct crypto_hmac *h, char out[CRYPTO_HEX_SIZE]);
void crypto_hmac_done(struct crypto_hmac *h); /* wipes it */

/* Constant time in the contents; lengths may show. */
bool crypto_equal_bytes(const void *a, const void *b, size_t len);
/* Constant time in contents and lengths: for tokens. */
bool crypto_equal(const char *a, const char *b);

/*
 * A sandbox's token: the controller derives it from its key and the sandbox's id; the sandbox is
 * given crypto_token_hash() of it only, so nothing inside it yields the token.
 */
void crypto_token_derive(const uint8_t key[CRYPTO_KEY_SIZE], const char *sandbox_id,
                         char out[CRYPTO_HEX_SIZE]);
void crypto_token_hash(const char *token, char out[CRYPTO_HEX_SIZE]);
/* hash_hex: 64 lower-case hex digits; anything else matches no token. */
bool crypto_token_matches(const char *token, const char *hash_hex);
