/* base64url (RFC 4648, section 5) for paths, which may hold any byte but NUL. */
#include "kernel-runner/files/file_token.h"

#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int file_token_format(struct slice path, struct buf *out)
{
    int r = 0;
    for (size_t i = 0; i < path.len && r == 0; i += 3) {
        size_t n = MIN(path.len - i, (size_t)3);
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < n ? (unsigned char)path.ptr[i + k] : 0);
        for (size_t k = 0; k <= n && r == 0; k++)
            r = buf_append_char(out, digits[bits >> (18 - 6 * k) & 63]);
    }
    return r;
}

static int put_byte(char *out, size_t size, size_t *n, unsigned char byte)
{
    if (byte == 0 || *n + 1 >= size)
        return -1;
    out[(*n)++] = (char)byte;
    return 0;
}

int file_token_parse(const char *token, char *out, size_t size, struct err *err)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (const char *p = token; *p; p++) {
        const char *digit = strchr(digits, *p);
        if (!digit)
            goto bad;
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (put_byte(out, size, &n, (unsigned char)(bits >> have & 0xFF)) < 0)
            goto bad;
    }
    if (n == 0 || have >= 6 || (bits & ((1U << have) - 1)))
        goto bad;
    out[n] = '\0';
    return 0;
bad:
    return err_field(err, "continue", "it is not the \"continue\" of an earlier answer");
}
