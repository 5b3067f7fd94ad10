/*
 * Lays out JSON text without reading it into a tree, so that numbers and escapes stay as somebody
 * wrote them. Works on text that was found well-formed, and so need not look at what tokens mean.
 */
#include "lib/json/json_scan.h"
#include "lib/json/jsonx.h"

static int put_line(struct buf *out, unsigned depth)
{
    int r = buf_reserve(out, depth + 1);
    if (r < 0)
        return r;
    out->ptr[out->len] = '\n';
    memset(out->ptr + out->len + 1, ' ', depth);
    out->len += depth + 1;
    return 0;
}

/* Behind the closing quote; `p` is at the opening one. */
static const char *skip_string(const char *p, const char *end)
{
    for (p = json_scan_quote(p + 1, end); *p == '\\'; p = json_scan_quote(p + 2, end))
        ;
    return p + 1;
}

static const char *skip_scalar(const char *p, const char *end)
{
    if (*p == '"')
        return skip_string(p, end);
    while (p < end && !strchr(" \t\r\n,:]}", *p))
        p++;
    return p;
}

/* At an opening bracket; an empty pair is written whole. Returns the read position behind it. */
static const char *open_level(struct buf *out, const char *p, const char *end, unsigned *depth,
                              int *ret)
{
    const char *inner = json_skip_space(p + 1, end);
    *ret = buf_append_char(out, *p);
    if (*inner == ']' || *inner == '}') {
        if (*ret == 0)
            *ret = buf_append_char(out, *inner);
        return inner + 1;
    }
    ++*depth;
    if (*ret == 0)
        *ret = put_line(out, *depth);
    return inner;
}

static const char *step(struct buf *out, const char *p, const char *end, unsigned *depth, int *ret)
{
    switch (*p) {
    case '{':
    case '[':
        return open_level(out, p, end, depth, ret);
    case '}':
    case ']':
        --*depth;
        *ret = put_line(out, *depth);
        if (*ret == 0)
            *ret = buf_append_char(out, *p);
        return p + 1;
    case ',':
        *ret = buf_append_char(out, ',');
        if (*ret == 0)
            *ret = put_line(out, *depth);
        return p + 1;
    case ':':
        *ret = buf_append(out, ": ", 2);
        return p + 1;
    default: {
        const char *behind = skip_scalar(p, end);
        *ret = buf_append(out, p, (size_t)(behind - p));
        return behind;
    }
    }
}

int jsonx_indent(struct buf *out, struct slice text)
{
    if (!jsonx_valid(text))
        return -ERR_INVALID;
    size_t before = out->len;
    unsigned depth = 0;
    int r = 0;
    const char *end = text.ptr + text.len;
    for (const char *p = json_skip_space(text.ptr, end); p < end && r == 0;
         p = json_skip_space(p, end))
        p = step(out, p, end, &depth, &r);
    if (r < 0)
        out->len = before;
    if (out->ptr)
        out->ptr[out->len] = '\0';
    return r;
}
