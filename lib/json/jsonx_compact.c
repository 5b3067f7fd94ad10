/*
 * Checks and copies JSON text in one pass without building a tree. The grammar is RFC 8259's; the
 * nesting is kept as one bit a level (array or object), so the stack has a fixed size.
 *
 * What is to be copied is pending between `run` and the read position and is flushed in windows
 * that fit the first-level cache: scanning and copying then cost one pass over the memory. With no
 * output (jsonx_valid) the same code only checks.
 */
#include "lib/base/utf8.h"
#include "lib/json/json_scan.h"
#include "lib/json/jsonx.h"

enum { DEPTH_MAX = 128, WINDOW = 16384 };

struct compactor {
    const char *p, *end; /* read position */
    const char *run;     /* first byte not yet copied */
    char *out, *out_end; /* NULL: check only */
    bool full;
    bool rough; /* a newline between tokens, or half a surrogate pair: not a line as it stands */
    unsigned depth;
    uint64_t is_object[DEPTH_MAX / 64];
};

/* Copies the pending bytes up to `upto`. */
static bool flush(struct compactor *c, const char *upto)
{
    size_t n = (size_t)(upto - c->run);
    const char *from = c->run;
    c->run = upto;
    if (!c->out || n == 0)
        return true;
    size_t room = (size_t)(c->out_end - c->out);
    if (n > room) {
        c->full = true;
        return false;
    }
    /* Most runs are a few bytes between two blanks: a copy of fixed size is two instructions. */
    if (n <= 32 && room >= 32 && c->end - from >= 32)
        memcpy(c->out, from, 32);
    else
        memcpy(c->out, from, n);
    c->out += n;
    return true;
}

static bool emit(struct compactor *c, const char *text, size_t n)
{
    if (!c->out)
        return true;
    if (n > (size_t)(c->out_end - c->out)) {
        c->full = true;
        return false;
    }
    memcpy(c->out, text, n);
    c->out += n;
    return true;
}

static bool skip_space(struct compactor *c)
{
    if (c->p == c->end || (unsigned char)*c->p > ' ')
        return true;
    if (!flush(c, c->p))
        return false;
    const char *from = c->p;
    c->p = c->run = json_skip_space(c->p, c->end);
    for (; !c->out && from < c->p; from++)
        c->rough = c->rough || *from == '\n' || *from == '\r';
    return true;
}

/* At the character behind a backslash. */
static bool pass_escape(struct compactor *c)
{
    const char *slash = c->p - 1;
    if (c->p == c->end)
        return false;
    switch (*c->p++) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return true;
    case 'u':
        break;
    default:
        return false;
    }
    int u = json_hex4(c->p, c->end);
    if (u < 0)
        return false;
    c->p += 4;
    if (u < 0xD800 || u > 0xDFFF)
        return true;
    if (json_is_high_surrogate(u) && c->end - c->p >= 6 && c->p[0] == '\\' && c->p[1] == 'u' &&
        json_is_low_surrogate(json_hex4(c->p + 2, c->end))) {
        c->p += 6;
        return true;
    }
    c->rough = true;
    /* Half a pair: Python makes these, most parsers refuse the whole text for one. */
    if (!flush(c, slash) || !emit(c, "\\ufffd", 6))
        return false;
    c->run = c->p;
    return true;
}

/* At the opening quote. */
static bool pass_string(struct compactor *c)
{
    c->p++;
    for (;;) {
        const char *limit = c->end - c->p > WINDOW ? c->p + WINDOW : c->end;
        c->p = json_scan_plain(c->p, limit);
        if (c->p - c->run >= WINDOW && !flush(c, c->p))
            return false;
        if (c->p == c->end)
            return false;
        if (c->p == limit)
            continue;
        unsigned char ch = (unsigned char)*c->p;
        if (ch == '"') {
            c->p++;
            return true;
        }
        if (ch == '\\') {
            c->p++;
            if (!pass_escape(c))
                return false;
            continue;
        }
        if (ch < 0x20)
            return false;
        while (c->p < c->end && (unsigned char)*c->p >= 0x80) {
            size_t n = utf8_char_len(c->p, (size_t)(c->end - c->p));
            if (n == 0)
                return false;
            c->p += n;
            if (c->p - c->run >= WINDOW && !flush(c, c->p))
                return false;
        }
    }
}

static bool pass_digits(struct compactor *c)
{
    const char *start = c->p;
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
        c->p++;
    return c->p > start;
}

static bool pass_number(struct compactor *c)
{
    if (*c->p == '-')
        c->p++;
    const char *first = c->p;
    if (!pass_digits(c) || (*first == '0' && c->p > first + 1))
        return false;
    if (c->p < c->end && *c->p == '.') {
        c->p++;
        if (!pass_digits(c))
            return false;
    }
    if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
            c->p++;
        if (!pass_digits(c))
            return false;
    }
    return true;
}

static bool pass_word(struct compactor *c, const char *word, size_t len)
{
    if ((size_t)(c->end - c->p) < len || memcmp(c->p, word, len) != 0)
        return false;
    c->p += len;
    return true;
}

static bool pass_scalar(struct compactor *c)
{
    switch (*c->p) {
    case '"':
        return pass_string(c);
    case 't':
        return pass_word(c, "true", 4);
    case 'f':
        return pass_word(c, "false", 5);
    case 'n':
        return pass_word(c, "null", 4);
    default:
        return pass_number(c);
    }
}

static bool push(struct compactor *c, bool object)
{
    if (c->depth == DEPTH_MAX)
        return false;
    uint64_t bit = 1ULL << (c->depth % 64);
    if (object)
        c->is_object[c->depth / 64] |= bit;
    else
        c->is_object[c->depth / 64] &= ~bit;
    c->depth++;
    return true;
}

static bool in_object(const struct compactor *c)
{
    unsigned d = c->depth - 1;
    return (c->is_object[d / 64] >> (d % 64)) & 1;
}

/* A member's key and its colon. */
static bool pass_key(struct compactor *c)
{
    if (!skip_space(c) || c->p == c->end || *c->p != '"' || !pass_string(c) || !skip_space(c) ||
        c->p == c->end || *c->p != ':')
        return false;
    c->p++;
    return true;
}

/* Behind a value: closes what ends here; true when a value is to follow, *done at the very end. */
static bool pass_after_value(struct compactor *c, bool *done)
{
    for (;;) {
        if (!skip_space(c))
            return false;
        if (c->depth == 0) {
            *done = true;
            return c->p == c->end;
        }
        if (c->p == c->end)
            return false;
        bool object = in_object(c);
        char ch = *c->p++;
        if (ch == ',')
            return !object || pass_key(c);
        if (ch != (object ? '}' : ']'))
            return false;
        c->depth--;
    }
}

static bool pass_text(struct compactor *c)
{
    for (bool done = false; !done;) {
        if (!skip_space(c) || c->p == c->end)
            return false;
        char open = *c->p;
        if (open == '{' || open == '[') {
            c->p++;
            if (!push(c, open == '{') || !skip_space(c) || c->p == c->end)
                return false;
            if (*c->p != (open == '{' ? '}' : ']')) {
                if (open == '{' && !pass_key(c))
                    return false;
                continue;
            }
        } else if (!pass_scalar(c)) {
            return false;
        }
        if (!pass_after_value(c, &done))
            return false;
    }
    return flush(c, c->p);
}

int jsonx_compact(struct buf *out, struct slice text)
{
    if (text.len == 0)
        return -ERR_INVALID;
    /* The result is never longer than the text, but it may fit where the text would not. */
    size_t room = MIN(text.len, out->max - out->len);
    int r = buf_reserve(out, room);
    if (r < 0)
        return r;
    char *start = out->ptr + out->len;
    struct compactor c = {
        .p = text.ptr,
        .end = text.ptr + text.len,
        .run = text.ptr,
        .out = start,
        .out_end = start + room,
    };
    bool ok = pass_text(&c);
    if (ok)
        out->len += (size_t)(c.out - start);
    out->ptr[out->len] = '\0';
    if (ok)
        return 0;
    return c.full ? -ERR_TOO_LARGE : -ERR_INVALID;
}

bool jsonx_valid(struct slice text)
{
    if (text.len == 0)
        return false;
    struct compactor c = {.p = text.ptr, .end = text.ptr + text.len, .run = text.ptr};
    return pass_text(&c);
}

bool jsonx_is_line(struct slice text)
{
    if (text.len == 0)
        return false;
    struct compactor c = {.p = text.ptr, .end = text.ptr + text.len, .run = text.ptr};
    return pass_text(&c) && !c.rough;
}
