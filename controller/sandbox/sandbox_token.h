#pragma once
#include <stdint.h>

/*
 * A sandbox's token is a keyed hash of its id, so any controller with the key knows it; the
 * sandbox itself is given only the hash of the token. Both: 64 hex digits and a NUL.
 */
void sandbox_token_derive(const uint8_t key[32], const char *id, char out[65]);
void sandbox_token_hash(const char *token, char out[65]);
