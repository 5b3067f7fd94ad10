/* The little of RFC 9112 that an upgraded connection needs. */
#include "lib/httpc/httpc_head.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"

#define CHUNK_DIGITS 7 /* of a chunk's length: 256 MiB, far above any bound here */

static int not_http(struct err *err)
{
    return err_set(err, ERR_SANDBOX_LOST, "the answer is not HTTP/1.1");
}

/* Copies one line as name and value; false: it is not a header. */
static bool take_line(struct httpc_head *h, const char *p, size_t len)
{
    const char *colon = memchr(p, ':', len);
    if (!colon || colon == p)
        return false;
    size_t n = (size_t)(colon - p);
    for (size_t i = 0; i < len; i++)
        if (p[i] == '\0' || p[i] == '\n' || p[i] == '\r' || (i < n && isspace((unsigned char)p[i])))
            return false;
    const char *value = colon + 1, *end = p + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    memcpy(h->lines + h->len, p, n);
    h->len += n;
    h->lines[h->len++] = '\0';
    memcpy(h->lines + h->len, value, (size_t)(end - value));
    h->len += (size_t)(end - value);
    h->lines[h->len++] = '\0';
    return true;
}

int httpc_head_parse(struct httpc_head *ret, const char *text, size_t len, struct err *err)
{
    struct httpc_head h = {0};
    const char *end = text + len;
    const char *line = memmem(text, len, "\r\n", 2);
    bool is_http = line && line - text >= 12 && memcmp(text, "HTTP/1.", 7) == 0 && text[8] == ' ' &&
                   (text[12] == ' ' || text + 12 == line);
    for (int i = 9; is_http && i < 12; i++) {
        is_http = isdigit((unsigned char)text[i]);
        h.status = h.status * 10 + (text[i] - '0');
    }
    if (!is_http || h.status < 100)
        return not_http(err);
    h.lines = mem_alloc(len); /* each line loses at least as much as it gains */
    for (const char *p = line + 2; p < end;) {
        const char *next = memmem(p, (size_t)(end - p), "\r\n", 2);
        if (!next || next == p)
            break;
        if (!take_line(&h, p, (size_t)(next - p))) {
            httpc_head_done(&h);
            return not_http(err);
        }
        p = next + 2;
    }
    *ret = h;
    return 0;
}

const char *httpc_head_get(const struct httpc_head *h, const char *name)
{
    for (size_t at = 0; at < h->len;) {
        const char *key = h->lines + at, *value = key + strlen(key) + 1;
        if (strcasecmp(key, name) == 0)
            return value;
        at += strlen(key) + strlen(value) + 2;
    }
    return NULL;
}

void httpc_head_done(struct httpc_head *h)
{
    free(h->lines);
    *h = (struct httpc_head){0};
}

/* The length of the chunk at p, whose line ends before *ret_data. */
static int chunk_at(const char *p, const char *end, size_t *ret, const char **ret_data)
{
    const char *eol = memmem(p, (size_t)(end - p), "\r\n", 2);
    size_t n = 0, digits = 0;
    if (!eol)
        return end - p > 256 ? -1 : HTTPC_BODY_MORE;
    for (; isxdigit((unsigned char)p[digits]); digits++) {
        int c = tolower((unsigned char)p[digits]);
        n = n * 16 + (size_t)(isdigit(c) ? c - '0' : c - 'a' + 10);
        if (digits >= CHUNK_DIGITS)
            return -1;
    }
    if (digits == 0 || (p[digits] != '\r' && p[digits] != ';' && p[digits] != ' '))
        return -1;
    *ret = n;
    *ret_data = eol + 2;
    return 0;
}

/* Walks the chunks; copies them to `out` unless it is NULL. */
static int walk(const char *body, size_t len, char *out, size_t *ret_len)
{
    const char *p = body, *end = body + len;
    size_t n = 0, total = 0;
    for (;;) {
        int r = chunk_at(p, end, &n, &p);
        if (r != 0)
            return r;
        if (n == 0)
            break; /* trailers are of no interest */
        if ((size_t)(end - p) < n + 2)
            return HTTPC_BODY_MORE;
        if (out)
            memmove(out + total, p, n);
        total += n;
        p += n + 2;
    }
    *ret_len = total;
    return 0;
}

int httpc_body_dechunk(char *body, size_t *len, struct err *err)
{
    size_t total = 0;
    int r = walk(body, *len, NULL, &total);
    if (r < 0)
        return not_http(err);
    if (r == 0)
        (void)walk(body, *len, body, len);
    return r;
}
