/*
 * JSON text without a tree: writing strings, and reading members of an object as raw slices. The
 * readers are safe on any bytes, but only well-formed text gives a meaningful answer.
 */
#include "lib/base/utf8.h"
#include "lib/json/json_scan.h"
#include "lib/json/jsonx.h"

static int append_escape(struct buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    if (c >= 0x20)
        return buf_append(out, (char[2]){'\\', (char)c}, 2);
    if (letters[c])
        return buf_append(out, (char[2]){'\\', letters[c]}, 2);
    return buf_append(out, (char[6]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

/* Length of the well-formed UTF-8 at p, up to the first ASCII character. */
static size_t utf8_run(const char *p, const char *end)
{
    const char *q = p;
    while (q < end && (unsigned char)*q >= 0x80) {
        size_t n = utf8_char_len(q, (size_t)(end - q));
        if (n == 0)
            break;
        q += n;
    }
    return (size_t)(q - p);
}

static int append_body(struct buf *out, const char *p, const char *end)
{
    int r = 0;
    while (p < end && r == 0) {
        const char *q = json_scan_plain(p, end);
        q += utf8_run(q, end);
        if (q > p) {
            r = buf_append(out, p, (size_t)(q - p));
        } else if ((unsigned char)*p >= 0x80) {
            r = buf_append(out, "\xEF\xBF\xBD", 3);
            q = p + 1;
        } else {
            r = append_escape(out, (unsigned char)*p);
            q = p + 1;
        }
        p = q;
    }
    return r;
}

int jsonx_append_string(struct buf *out, struct slice s)
{
    size_t before = out->len;
    int r = buf_append_char(out, '"');
    if (r == 0 && s.len)
        r = append_body(out, s.ptr, s.ptr + s.len);
    if (r == 0)
        r = buf_append_char(out, '"');
    if (r < 0 && out->ptr) {
        out->len = before;
        out->ptr[before] = '\0';
    }
    return r;
}

/* From behind an opening quote to behind the closing one; NULL when there is none. */
static const char *skip_string(const char *p, const char *end)
{
    for (;;) {
        p = json_scan_quote(p, end);
        if (p == end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if (end - p < 2)
            return NULL;
        p += 2;
    }
}

static bool ends_scalar(char c)
{
    return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;
    while (p && p < end) {
        char c = *p;
        if (c == '"') {
            p = skip_string(p + 1, end);
        } else if (c == '{' || c == '[') {
            depth++;
            p++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return NULL;
            depth--;
            p++;
        } else if (depth == 0) {
            while (p < end && !ends_scalar(*p))
                p++;
        } else {
            p++;
            continue;
        }
        if (depth == 0)
            return p;
    }
    return NULL;
}

static struct jsonx_iter iter_from(struct slice text, char open)
{
    const char *end = text.ptr + text.len;
    const char *p = text.len ? json_skip_space(text.ptr, end) : end;
    if (p == end || *p != open)
        return (struct jsonx_iter){0};
    return (struct jsonx_iter){.p = p + 1, .end = end};
}

struct jsonx_iter jsonx_iter(struct slice object)
{
    return iter_from(object, '{');
}

struct jsonx_iter jsonx_items(struct slice array)
{
    return iter_from(array, '[');
}

/* At a value; leaves `it` behind its comma, or at the end. */
static bool take_value(struct jsonx_iter *it, const char *p, const char *end, struct slice *value)
{
    const char *v = json_skip_space(p, end);
    p = skip_value(v, end);
    if (!p || p == v)
        return false;
    *value = slice_make(v, (size_t)(p - v));
    p = json_skip_space(p, end);
    if (p < end && *p == ',') {
        it->p = p + 1;
        it->end = end;
    }
    return true;
}

bool jsonx_items_next(struct jsonx_iter *it, struct slice *value)
{
    const char *p = it->p, *end = it->end;
    it->p = it->end = NULL;
    return p && take_value(it, p, end, value);
}

bool jsonx_iter_next(struct jsonx_iter *it, struct slice *key, struct slice *value)
{
    const char *p = it->p, *end = it->end;
    it->p = it->end = NULL;
    if (!p)
        return false;
    p = json_skip_space(p, end);
    if (p == end || *p != '"')
        return false;
    const char *k = p + 1;
    p = skip_string(k, end);
    if (!p)
        return false;
    *key = slice_make(k, (size_t)(p - 1 - k));
    p = json_skip_space(p, end);
    if (p == end || *p != ':')
        return false;
    return take_value(it, p + 1, end, value);
}

struct slice jsonx_find(struct slice object, const char *key)
{
    struct slice k, v;
    for (struct jsonx_iter it = jsonx_iter(object); jsonx_iter_next(&it, &k, &v);)
        if (slice_eq_str(k, key))
            return v;
    return slice_make(NULL, 0);
}

static size_t put_utf8(char out[4], unsigned u)
{
    if (u < 0x80) {
        out[0] = (char)u;
        return 1;
    }
    if (u < 0x800) {
        out[0] = (char)(0xC0 | u >> 6);
        out[1] = (char)(0x80 | (u & 0x3F));
        return 2;
    }
    if (u < 0x10000) {
        out[0] = (char)(0xE0 | u >> 12);
        out[1] = (char)(0x80 | (u >> 6 & 0x3F));
        out[2] = (char)(0x80 | (u & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | u >> 18);
    out[1] = (char)(0x80 | (u >> 12 & 0x3F));
    out[2] = (char)(0x80 | (u >> 6 & 0x3F));
    out[3] = (char)(0x80 | (u & 0x3F));
    return 4;
}

/* Decodes the escape behind a backslash; returns the bytes it took, 0 when it is malformed. */
static size_t decode_escape(const char *p, const char *end, char out[4], size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    *n = 1;
    if (p == end)
        return 0;
    if (*p != 'u') {
        const char *at = memchr(from, *p, sizeof(from) - 1);
        if (!at)
            return 0;
        out[0] = to[at - from];
        return 1;
    }
    int u = json_hex4(p + 1, end);
    if (u < 0)
        return 0;
    if (json_is_high_surrogate(u) && end - p >= 11 && p[5] == '\\' && p[6] == 'u') {
        int low = json_hex4(p + 7, end);
        if (json_is_low_surrogate(low)) {
            *n =
                put_utf8(out, 0x10000U + (((unsigned)u - 0xD800U) << 10) + (unsigned)low - 0xDC00U);
            return 11;
        }
    }
    if (u >= 0xD800 && u <= 0xDFFF)
        u = 0xFFFD;
    *n = put_utf8(out, (unsigned)u);
    return 5;
}

int jsonx_append_decoded(struct buf *out, struct slice value)
{
    if (value.len < 2 || value.ptr[0] != '"' || value.ptr[value.len - 1] != '"')
        return -ERR_INVALID;
    const char *p = value.ptr + 1, *end = value.ptr + value.len - 1;
    size_t before = out->len;
    int r = buf_reserve(out, 0);
    while (p < end && r == 0) {
        const char *q = json_scan_quote(p, end);
        r = buf_append(out, p, (size_t)(q - p));
        if (r < 0 || q == end)
            break;
        char c[4];
        size_t n, used = *q == '"' ? 0 : decode_escape(q + 1, end, c, &n);
        r = used ? buf_append(out, c, n) : -ERR_INVALID;
        p = q + 1 + used;
    }
    if (r < 0 && out->ptr) {
        out->len = before;
        out->ptr[before] = '\0';
    }
    return r;
}

int jsonx_decode(struct slice value, char *out, size_t size)
{
    char c[4];
    size_t len = 0;
    if (value.len < 2 || value.ptr[0] != '"' || value.ptr[value.len - 1] != '"')
        return -ERR_INVALID;
    const char *p = value.ptr + 1, *end = value.ptr + value.len - 1;
    size_t plain = (size_t)(json_scan_quote(p, end) - p);
    if (plain < size && !memchr(p, '\0', plain)) {
        memcpy(out, p, plain);
        len = plain;
        p += plain;
    }
    while (p < end) {
        size_t n = 1;
        c[0] = *p;
        if (*p == '"' || *p == '\0')
            return -ERR_INVALID;
        if (*p++ == '\\') {
            size_t used = decode_escape(p, end, c, &n);
            if (used == 0 || c[0] == '\0')
                return -ERR_INVALID;
            p += used;
        }
        if (n >= size - len)
            return -ERR_TOO_LARGE;
        memcpy(out + len, c, n);
        len += n;
    }
    out[len] = '\0';
    return 0;
}

bool jsonx_uint(struct slice value, int64_t *ret)
{
    int64_t n = 0;
    if (value.len == 0 || value.len > 17)
        return false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
        n = n * 10 + (value.ptr[i] - '0');
    }
    *ret = n;
    return true;
}

size_t jsonx_cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    size_t i = 0;
    while (i < max) {
        const char *esc = memchr(s.ptr + i, '\\', max - i);
        if (!esc) {
            i = max;
            break;
        }
        size_t at = (size_t)(esc - s.ptr);
        size_t len = s.ptr[at + 1] == 'u' ? 6 : 2;
        /* A surrogate pair stays together. */
        if (len == 6 && (s.ptr[at + 2] | 0x20) == 'd' && strchr("89abAB", s.ptr[at + 3]))
            len = 12;
        if (at + len > max)
            return at ? at : len;
        i = at + len;
    }
    while (i > 0 && ((unsigned char)s.ptr[i] & 0xC0) == 0x80)
        i--;
    return i;
}
