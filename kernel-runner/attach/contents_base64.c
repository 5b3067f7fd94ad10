/*
 * Files that are not text travel as base64 in JSON. lib/crypto's decoder is for tokens: it takes no
 * line ends, and it is not made for megabytes.
 */
#include "kernel-runner/attach/contents_base64.h"

#include <stdint.h>
#include <string.h>

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

/* What a character stands for: 0…63, or one of these. */
enum { OTHER = 0x80, BLANK = 0x81, PAD = 0x82 };

static void make_values(uint8_t values[256])
{
    memset(values, OTHER, 256);
    for (int i = 0; i < 64; i++)
        values[(unsigned char)digits[i]] = (uint8_t)i;
    for (const char *p = "\n\r\t "; *p; p++)
        values[(unsigned char)*p] = BLANK;
    values['='] = PAD;
}

static void put_three(char *out, uint32_t v)
{
    out[0] = (char)(v >> 16 & 255);
    out[1] = (char)(v >> 8 & 255);
    out[2] = (char)(v & 255);
}

/* Most of a text: whole groups of four. Moves both positions behind them. */
static void decode_groups(const uint8_t values[256], const char *text, size_t len, size_t *from,
                          char *out, size_t *to)
{
    for (; len - *from >= 4; *from += 4, *to += 3) {
        const unsigned char *p = (const unsigned char *)text + *from;
        unsigned a = values[p[0]], b = values[p[1]], c = values[p[2]], d = values[p[3]];
        if ((a | b | c | d) >= OTHER)
            return;
        put_three(out + *to, a << 18 | b << 12 | c << 6 | d);
    }
}

int contents_base64_decode(char *text, size_t len, size_t *ret_len, struct err *err)
{
    uint8_t values[256];
    size_t to = 0, seen = 0, pads = 0;
    uint32_t v = 0;
    make_values(values);
    for (size_t i = 0; i < len; i++) {
        if (seen == 0 && pads == 0)
            decode_groups(values, text, len, &i, text, &to);
        unsigned d = i < len ? values[(unsigned char)text[i]] : BLANK;
        if (d == BLANK)
            continue;
        pads += d == PAD;
        if (d == OTHER || (pads > 0 && d != PAD) || pads > 2)
            return err_field(err, "content", "the content is not base64");
        v = v << 6 | (d == PAD ? 0 : d);
        if (++seen < 4)
            continue;
        put_three(text + to, v);
        to += 3;
        v = 0;
        seen = 0;
    }
    if (seen > 0)
        return err_field(err, "content", "the content is not base64: its end is missing");
    *ret_len = to - pads;
    return 0;
}
