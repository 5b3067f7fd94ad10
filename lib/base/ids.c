/* The forms of ids (pure; randomness comes from lib/crypto). */
#include "lib/base/ids.h"

#include <stdio.h>
#include <string.h>

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

void id_uuid_format(const uint8_t b[16], char out[ID_UUID_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    size_t o = 0;
    for (size_t i = 0; i < 16; i++) {
        uint8_t v = b[i];
        if (i == 6)
            v = (uint8_t)((v & 0x0F) | 0x40);
        if (i == 8)
            v = (uint8_t)((v & 0x3F) | 0x80);
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[o++] = '-';
        out[o++] = hex[v >> 4];
        out[o++] = hex[v & 15];
    }
    out[o] = '\0';
}

bool id_is_uuid(const char *s)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !is_hex(s[i]))
            return false;
    }
    return s[36] == '\0';
}

bool id_is_sandbox(const char *s)
{
    return strncmp(s, "sb-", 3) == 0 && id_is_uuid(s + 3) && strcmp(s + 36, "000") == 0;
}

bool id_is_exec(const char *s)
{
    size_t i = 0;
    for (; s[i]; i++) {
        char c = s[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || (c == '.' && i > 0);
        if (!ok || i >= ID_EXEC_MAX)
            return false;
    }
    return i > 0;
}

void id_sandbox_format(const uint8_t bytes[16], char out[ID_SANDBOX_SIZE])
{
    memcpy(out, "sb-", 3);
    id_uuid_format(bytes, out + 3);
    memcpy(out + 36, "000", 4);
}

const char *id_main_kernel(const char *sandbox_id)
{
    return sandbox_id + 3;
}

void id_kernel_format(const char *sandbox_id, unsigned n, char out[ID_UUID_SIZE])
{
    snprintf(out, ID_UUID_SIZE, "%.33s%03x", id_main_kernel(sandbox_id), n & 0xFFFU);
}

bool id_kernel_sandbox(const char *kernel_id, char out[ID_SANDBOX_SIZE])
{
    if (!id_is_uuid(kernel_id))
        return false;
    snprintf(out, ID_SANDBOX_SIZE, "sb-%.33s000", kernel_id);
    return true;
}

#define VERSION_AT 14 /* of a UUID's text */

void id_session_format(const char *sandbox_id, unsigned n, char out[ID_UUID_SIZE])
{
    id_kernel_format(sandbox_id, n, out);
    out[VERSION_AT] = '8';
}

bool id_session_sandbox(const char *session_id, char out[ID_SANDBOX_SIZE])
{
    if (!id_is_uuid(session_id) || session_id[VERSION_AT] != '8')
        return false;
    id_kernel_sandbox(session_id, out);
    out[3 + VERSION_AT] = '4';
    return true;
}
