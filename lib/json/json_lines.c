/* `partial` holds the beginning of the one line whose end has not come yet, at most max_line. */
#include "lib/json/json_lines.h"

void json_lines_init(struct json_lines *l, size_t max_line, json_lines_fn fn, void *ctx)
{
    *l = (struct json_lines){.max_line = max_line, .fn = fn, .ctx = ctx};
    buf_init(&l->partial, max_line);
}

void json_lines_done(struct json_lines *l)
{
    buf_done(&l->partial);
}

static int too_long(struct json_lines *l, struct err *err)
{
    l->failed = true;
    buf_done(&l->partial);
    return err_set(err, ERR_TOO_LARGE, "a line is longer than %zu bytes", l->max_line);
}

static int deliver(struct json_lines *l, struct slice line)
{
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line.len ? l->fn(l->ctx, line) : 0;
}

/* The line that began in an earlier push. Its bytes are moved out first: fn may free l. */
static int deliver_partial(struct json_lines *l)
{
    struct buf line = l->partial;
    buf_init(&l->partial, l->max_line);
    int r = deliver(l, buf_slice(&line));
    if (r == 0) {
        buf_clear(&line);
        buf_done(&l->partial);
        l->partial = line;
    } else {
        buf_done(&line);
    }
    return r;
}

int json_lines_push(struct json_lines *l, struct slice bytes, struct err *err)
{
    if (l->failed)
        return too_long(l, err);
    while (bytes.len) {
        const char *nl = memchr(bytes.ptr, '\n', bytes.len);
        size_t n = nl ? (size_t)(nl - bytes.ptr) : bytes.len;
        struct slice part = slice_make(bytes.ptr, n);
        bytes.ptr += nl ? n + 1 : n;
        bytes.len -= nl ? n + 1 : n;
        if (n > l->max_line - l->partial.len)
            return too_long(l, err);
        int r;
        if (!nl)
            r = buf_append_slice(&l->partial, part);
        else if (l->partial.len == 0)
            r = deliver(l, part);
        else if ((r = buf_append_slice(&l->partial, part)) == 0)
            r = deliver_partial(l);
        if (r != 0)
            return r;
    }
    return 0;
}

bool json_lines_pending(const struct json_lines *l)
{
    return l->partial.len > 0;
}
