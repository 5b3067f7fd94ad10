/*
 * Files that are not text travel as base64 in JSON. lib/crypto's decoder is for tokens: it takes no
 * line ends, and it is not made for megabytes.
 */
#include "kernel-runner/attach/contents_base64.h"

#include <stdbool.h>
#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int contents_base64_append(struct buf *out, struct slice data)
{
    int r = buf_reserve(out, (data.len + 2) / 3 * 4);
    if (r < 0)
        return r;
    char *to = out->ptr + out->len;
    for (size_t i = 0; i < data.len; i += 3) {
        size_t n = MIN(data.len - i, (size_t)3);
        uint32_t v = (uint32_t)(unsigned char)data.ptr[i] << 16;
        v |= n > 1 ? (uint32_t)(unsigned char)data.ptr[i + 1] << 8 : 0;
        v |= n > 2 ? (unsigned char)data.ptr[i + 2] : 0;
        *to++ = digits[v >> 18];
        *to++ = digits[v >> 12 & 63];
        *to++ = n > 1 ? digits[v >> 6 & 63] : '=';
        *to++ = n > 2 ? digits[v & 63] : '=';
    }
    out->len = (size_t)(to - out->ptr);
    *to = '\0';
    return 0;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool is_blank(char c)
{
    return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

int contents_base64_decode(char *text, size_t len, size_t *ret_len, struct err *err)
{
    size_t to = 0, digits_seen = 0, pads = 0;
    uint32_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (is_blank(text[i]))
            continue;
        int d = text[i] == '=' ? 0 : value_of(text[i]);
        pads += text[i] == '=';
        if (d < 0 || (pads > 0 && text[i] != '=') || pads > 2)
            return err_field(err, "content", "the content is not base64");
        v = v << 6 | (uint32_t)d;
        if (++digits_seen % 4 != 0)
            continue;
        text[to++] = (char)(v >> 16 & 255);
        text[to++] = (char)(v >> 8 & 255);
        text[to++] = (char)(v & 255);
        v = 0;
    }
    if (digits_seen % 4 != 0)
        return err_field(err, "content", "the content is not base64: its end is missing");
    *ret_len = to - pads;
    return 0;
}
