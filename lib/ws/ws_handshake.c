/* The strings of the opening handshake. Nothing here keeps state. */
#include "lib/ws/ws_handshake.h"

#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <string.h>
#include <strings.h>

#include "lib/base/slice.h"
#include "lib/crypto/crypto.h"

#define KEY_BYTES 16

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

void ws_new_key(char out[WS_KEY_SIZE])
{
    uint8_t bytes[KEY_BYTES];
    crypto_random(bytes, sizeof(bytes));
    base64_encode_raw(out, sizeof(bytes), bytes);
    out[WS_KEY_SIZE - 1] = '\0';
}

static bool is_key(const char *key)
{
    if (!key || strlen(key) != WS_KEY_SIZE - 1)
        return false;
    struct base64_decode_ctx decode;
    uint8_t bytes[BASE64_DECODE_LENGTH(WS_KEY_SIZE - 1)];
    size_t len = sizeof(bytes);
    base64_decode_init(&decode);
    return base64_decode_update(&decode, &len, bytes, WS_KEY_SIZE - 1, key) == 1 &&
           base64_decode_final(&decode) == 1 && len == KEY_BYTES;
}

bool ws_accept(const char *key, char out[WS_ACCEPT_SIZE])
{
    if (!is_key(key))
        return false;
    struct sha1_ctx sha;
    uint8_t digest[SHA1_DIGEST_SIZE];
    sha1_init(&sha);
    sha1_update(&sha, WS_KEY_SIZE - 1, (const uint8_t *)key);
    sha1_update(&sha, sizeof(guid) - 1, (const uint8_t *)guid);
    sha1_digest(&sha, sizeof(digest), digest);
    base64_encode_raw(out, sizeof(digest), digest);
    out[WS_ACCEPT_SIZE - 1] = '\0';
    return true;
}

bool ws_list_has(const char *header, const char *token)
{
    size_t n = strlen(token);
    for (const char *p = header; p && *p;) {
        size_t len = strcspn(p, ",");
        struct slice item = slice_trim(slice_make(p, len), " \t");
        if (item.len == n && strncasecmp(item.ptr, token, n) == 0)
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}
