/* Query strings. Everything lies in one allocation bounded by the length of the URI. */
#include "lib/http/http_query.h"

#include "lib/base/mem.h"
#include "lib/base/parse.h"

#include <string.h>

struct pair {
    const char *name;
    const char *value;
};

struct http_query {
    size_t n;
    struct pair *pairs;
    char *text;
};

/*
 * Writes the decoded bytes and a NUL at `out`; returns how many bytes that took. What cannot be
 * decoded to a string (a broken escape, a NUL) stays as it is: no part of it passes for the whole.
 */
static size_t decode(const char *s, size_t len, char *plain, char *out)
{
    for (size_t i = 0; i < len; i++)
        plain[i] = s[i] == '+' ? ' ' : s[i];
    size_t n = 0;
    if (parse_percent(plain, len, out, &n, NULL) < 0 || memchr(out, '\0', n)) {
        memcpy(out, s, len);
        out[len] = '\0';
        n = len;
    }
    return n + 1;
}

struct http_query *http_query_parse(const char *raw)
{
    struct http_query *q = MEM_NEW(struct http_query);
    size_t len = strlen(raw), n_max = 1;
    for (size_t i = 0; i < len; i++)
        n_max += raw[i] == '&';
    q->pairs = MEM_NEW_N(struct pair, n_max);
    q->text = mem_alloc(len + 2 * n_max);
    _cleanup_(freep) char *plain = mem_alloc(len);
    char *out = q->text;
    for (const char *p = raw; p;) {
        size_t part = strcspn(p, "&");
        const char *eq = memchr(p, '=', part);
        size_t name_len = eq ? (size_t)(eq - p) : part;
        if (part > 0) {
            struct pair *pair = &q->pairs[q->n++];
            pair->name = out;
            out += decode(p, name_len, plain, out);
            pair->value = out;
            out += decode(eq ? eq + 1 : p, eq ? part - name_len - 1 : 0, plain, out);
        }
        p = p[part] ? p + part + 1 : NULL;
    }
    return q;
}

struct http_query *http_query_free(struct http_query *q)
{
    if (!q)
        return NULL;
    free(q->pairs);
    free(q->text);
    free(q);
    return NULL;
}

const char *http_query_get(const struct http_query *q, const char *name)
{
    for (size_t i = 0; i < q->n; i++)
        if (strcmp(q->pairs[i].name, name) == 0)
            return q->pairs[i].value;
    return NULL;
}
