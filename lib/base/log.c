/*
 * Structured logs: one JSON object a line, written with one write(2), so that lines of several
 * processes on one file do not mix. Values are escaped here; no other module knows the format.
 */
#include "lib/base/log.h"

#include "lib/base/clk.h"
#include "lib/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192

static const char *program_name = "caesarion";
static enum log_level max_level = LOG_INFO;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    max_level = level;
}

enum log_level log_level_get(void)
{
    return max_level;
}

int log_level_parse(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcmp(s, level_names[i]) == 0)
            return (int)i;
    return -1;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

/* What may stand before a value is cut, so that the mark and the ends of string and line fit. */
static const char cut_mark[] = "…";
#define LINE_ROOM (LINE_MAX_BYTES - (sizeof(cut_mark) - 1) - strlen("\"}\n"))

static void put(struct line *l, const char *s, size_t len)
{
    memcpy(l->text + l->len, s, len);
    l->len += len;
}

static size_t escape(const char *s, size_t len, char out[8], size_t *ret_used)
{
    unsigned char c = (unsigned char)s[0];
    size_t n = utf8_char_len(s, len);
    *ret_used = n ? n : 1;
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c < 0x20 || n == 0)
        return (size_t)snprintf(out, 8, "\\u%04x", c < 0x20 ? c : 0xFFFDU);
    memcpy(out, s, n);
    return n;
}

static void put_escaped(struct line *l, const char *s)
{
    size_t len = strlen(s);
    for (size_t i = 0, used; i < len; i += used) {
        char out[8];
        size_t n = escape(s + i, len - i, out, &used);
        if (l->len + n > LINE_ROOM) {
            put(l, cut_mark, sizeof(cut_mark) - 1);
            return;
        }
        put(l, out, n);
    }
}

/* Keys are the program's own and need no escapes. A pair that would lose its value is left out. */
static void put_pair(struct line *l, const char *key, const char *value)
{
    size_t len = strlen(key);
    if (l->len + len + strlen(",\"\":\"") + 6 > LINE_ROOM)
        return;
    if (l->len > 1)
        put(l, ",", 1);
    put(l, "\"", 1);
    put(l, key, len);
    put(l, "\":\"", 3);
    put_escaped(l, value);
    put(l, "\"", 1);
}

void log_event(enum log_level level, const char *event, ...)
{
    if (level > max_level)
        return;
    struct line l;
    l.len = 0;
    put(&l, "{", 1);
    char now[CLK_RFC3339_SIZE];
    put_pair(&l, "time", clk_rfc3339(clk_wall_us(), now));
    put_pair(&l, "level", level_names[level]);
    put_pair(&l, "program", program_name);
    put_pair(&l, "event", event);
    va_list ap;
    va_start(ap, event);
    for (;;) {
        const char *key = va_arg(ap, const char *);
        if (!key)
            break;
        const char *value = va_arg(ap, const char *);
        if (value)
            put_pair(&l, key, value);
    }
    va_end(ap);
    memcpy(l.text + l.len, "}\n", 2);
    ssize_t n;
    do
        n = write(STDERR_FILENO, l.text, l.len + 2);
    while (n < 0 && errno == EINTR);
}
