#pragma once
#include <stdbool.h>

/* The opening handshake's strings (RFC 6455 4). Pure, but for the key's random bytes. */
#define WS_KEY_SIZE    25 /* base64 of 16 bytes, with the NUL */
#define WS_ACCEPT_SIZE 29 /* base64 of a SHA-1, with the NUL */

void ws_new_key(char out[WS_KEY_SIZE]);
/* Sec-WebSocket-Accept of a Sec-WebSocket-Key; false when the key is not base64 of 16 bytes. */
bool ws_accept(const char *key, char out[WS_ACCEPT_SIZE]);
/* Is `token` in the comma-separated list, in any case of letters? header NULL: no. */
bool ws_list_has(const char *header, const char *token);
