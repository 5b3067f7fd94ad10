/* LINK: lib_base */
/*
 * Targets: parse_percent(), path_check_relative(). Input: a raw request path. Properties: decoding
 * never grows, agrees with a second decoder and leaves no NUL; encoding everything and decoding it
 * gives the bytes back; a path that passes the check is UTF-8 within the ceilings, and walking its
 * parts never leaves the root; what the check says does not depend on what stands behind the path.
 */
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/base/path.h"
#include "lib/base/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* One byte of raw text; returns how many bytes it took, 0 when malformed. */
static size_t model_byte(const char *s, size_t len, unsigned *ret)
{
    char hex[3] = "";
    if (s[0] != '%') {
        *ret = (unsigned char)s[0];
        return *ret ? 1 : 0;
    }
    if (len < 3 || !strchr("0123456789abcdefABCDEF", s[1]) || !s[1] ||
        !strchr("0123456789abcdefABCDEF", s[2]) || !s[2])
        return 0;
    memcpy(hex, s + 1, 2);
    *ret = (unsigned)strtoul(hex, NULL, 16);
    return *ret ? 3 : 0;
}

static void check_decoded(const char *raw, size_t raw_len, const char *out, size_t len, int r)
{
    size_t i = 0, n = 0;
    while (i < raw_len) {
        unsigned byte = 0;
        size_t used = model_byte(raw + i, raw_len - i, &byte);
        if (used == 0) {
            must(r == -ERR_INVALID);
            return;
        }
        if (r == 0)
            must(n < len && (unsigned char)out[n] == byte);
        i += used;
        n++;
    }
    must(r == 0 && n == len && len <= raw_len && strlen(out) == len);
}

static void check_round_trip(const char *path, size_t len)
{
    char *raw = mem_alloc(3 * len + 1);
    char *back = mem_alloc(3 * len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        snprintf(raw + 3 * i, 4, "%%%02x", (unsigned char)path[i]);
    must(parse_percent(raw, 3 * len, back, &n, NULL) == 0);
    must(n == len && memcmp(back, path, len) == 0);
    free(raw);
    free(back);
}

static void check_accepted(const char *path, size_t len)
{
    must(len >= 1 && len <= PATH_USER_MAX);
    must(utf8_valid(slice_make(path, len)));
    int depth = 0;
    for (size_t i = 0, start = 0; i <= len; i++) {
        must(i == len || ((unsigned char)path[i] >= 0x20 && path[i] != 0x7F));
        if (i < len && path[i] != '/')
            continue;
        struct slice part = slice_make(path + start, i - start);
        must(part.len >= 1 && part.len <= PATH_PART_MAX && !slice_eq_str(part, "."));
        depth += slice_eq_str(part, "..") ? -1 : 1;
        must(depth > 0);
        start = i + 1;
    }
}

static void check_path(const char *path, size_t len)
{
    struct err err = {0};
    int r = path_check_relative(path, len, &err);
    must(r == 0 || (r == -ERR_INVALID && strcmp(err.field, "path") == 0 && err.text[0]));
    if (r == 0)
        check_accepted(path, len);
    char *longer = mem_printf("%.*s/..", (int)len, path);
    must(path_check_relative(longer, len, NULL) == r);
    must(path_check_relative(longer, len + 3, NULL) < 0);
    free(longer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 3 * PATH_USER_MAX + 16)
        return 0;
    /* Copies of exact size, so that a read past the end is seen. */
    char *raw = mem_alloc(size);
    memcpy(raw, data, size);
    char *path = mem_alloc(size + 1);
    size_t len = 0;
    int r = parse_percent(raw, size, path, &len, NULL);
    check_decoded(raw, size, path, len, r);
    if (r == 0) {
        check_round_trip(path, len);
        check_path(path, len);
    }
    free(path);
    free(raw);
    return 0;
}
