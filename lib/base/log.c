/*
 * Structured logs: one JSON object a line, written with one write(2), so that lines of several
 * processes on one file do not mix. Values are escaped here; no other module knows the format.
 */
#include "lib/base/log.h"

#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192
#define TAIL_MAX_BYTES KIB(64) /* of the lines that survive a cut */

static const char *program_name = "caesarion";
static enum log_level max_level = LOG_INFO;
static uint64_t max_file_bytes;
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

static void begin(struct line *l, enum log_level level, const char *event)
{
    char now[CLK_RFC3339_SIZE];

    l->len = 0;
    put(l, "{", 1);
    put_pair(l, "time", clk_rfc3339(clk_wall_us(), now));
    put_pair(l, "level", level_names[level]);
    put_pair(l, "program", program_name);
    put_pair(l, "event", event);
}

static void put_out(const char *text, size_t len)
{
    ssize_t n;

    do
        n = write(STDERR_FILENO, text, len);
    while (n < 0 && errno == EINTR);
}

/* The last whole lines of the file, at most `max` bytes; returns how many. */
static size_t read_tail(char *out, size_t max, off_t size)
{
    off_t from = MAX(size - (off_t)max, 0);
    ssize_t n = pread(STDERR_FILENO, out, max, from);

    if (n <= 0 || from == 0)
        return n > 0 ? (size_t)n : 0;
    const char *newline = memchr(out, '\n', (size_t)n);
    size_t skip = newline ? (size_t)(newline + 1 - out) : (size_t)n;
    memmove(out, out + skip, (size_t)n - skip);
    return (size_t)n - skip;
}

/* Makes room for a line of `len` bytes; what cannot be cut is not written to any more. */
static bool make_room(size_t len)
{
    struct stat st;

    if (max_file_bytes == 0 || fstat(STDERR_FILENO, &st) < 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size + len <= max_file_bytes)
        return true;
    size_t keep = (size_t)MIN(max_file_bytes / 4, TAIL_MAX_BYTES);
    _cleanup_(freep) char *tail = MEM_NEW_N(char, keep);
    keep = read_tail(tail, keep, st.st_size);
    if (ftruncate(STDERR_FILENO, 0) < 0)
        return false;
    struct line l;
    char bytes[24];
    snprintf(bytes, sizeof(bytes), "%" PRIu64, (uint64_t)st.st_size - keep);
    begin(&l, LOG_WARN, "log_cut");
    put_pair(&l, "bytes", bytes);
    put(&l, "}\n", 2);
    put_out(l.text, l.len);
    put_out(tail, keep);
    return true;
}

void log_set_max(uint64_t bytes)
{
    max_file_bytes = bytes ? MAX(bytes, (uint64_t)LOG_MAX_AT_LEAST) : 0;
}

void log_event(enum log_level level, const char *event, ...)
{
    if (level > max_level)
        return;
    struct line l;
    begin(&l, level, event);
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
    put(&l, "}\n", 2);
    if (make_room(l.len))
        put_out(l.text, l.len);
}
