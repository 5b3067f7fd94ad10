/*
 * Why: a reader must never see half an event nor a stream without its end, and the controller must
 * not parse what a kernel printed. So only the first bytes of each line are kept (they are the
 * runner's own: `{"seq":N,"type":"…"`), and an event is held back until its end has come. So a
 * source that broke can be followed by another that begins behind the last whole event.
 *
 * Invariants: ready <= scanned == buf.len between calls; a full buffer has ready bytes, because
 * an event longer than STREAM_TAIL_HOLD_MAX goes through in parts. Of such a one `event_len` bytes
 * are out, and as many are left away when it comes again.
 */
#include "controller/exec/stream_tail.h"

#include <string.h>

#include "lib/api/exec_event.h"
#include "lib/json/jsonx.h"

void stream_tail_init(struct stream_tail *t, enum stream_format format, uint64_t last_seq)
{
    memset(t, 0, sizeof(*t));
    /* The terminal event must fit behind a full buffer. */
    buf_init(&t->buf, STREAM_TAIL_MAX + KIB(64));
    t->format = format;
    t->last_seq = last_seq;
}

void stream_tail_done(struct stream_tail *t)
{
    buf_done(&t->buf);
}

static bool skip(const char **p, const char *end, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(end - *p) < n || memcmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

static bool read_number(const char **p, const char *end, uint64_t *ret)
{
    uint64_t n = 0;
    const char *start = *p;
    for (; *p < end && **p >= '0' && **p <= '9' && *p - start < 18; (*p)++)
        n = n * 10 + (uint64_t)(**p - '0');
    if (*p == start)
        return false;
    *ret = n;
    return true;
}

/* What the beginning of a line says about its event. */
static void read_head(struct stream_tail *t)
{
    const char *p = t->head, *end = t->head + MIN(t->line_len, sizeof(t->head));
    uint64_t seq = 0;
    if (t->format == STREAM_SSE) {
        if (skip(&p, end, "id: ") && read_number(&p, end, &seq))
            t->event_seq = seq;
        if (!skip(&p, end, "data: "))
            return;
    }
    if (!skip(&p, end, "{\"seq\":") || !read_number(&p, end, &seq))
        return;
    t->event_seq = seq;
    t->event_done = skip(&p, end, ",\"type\":\"done\"");
}

static void add_to_line(struct stream_tail *t, const char *p, size_t len)
{
    if (t->line_len < sizeof(t->head))
        memcpy(t->head + t->line_len, p, MIN(len, sizeof(t->head) - t->line_len));
    t->line_len += len;
}

/* A line ended: true when an event (or a keep-alive) ended with it. */
static bool end_line(struct stream_tail *t)
{
    bool blank = t->line_len == 0 || (t->line_len == 1 && t->head[0] == '\r');
    bool comment = t->line_len > 0 && t->head[0] == ':';
    read_head(t);
    t->line_len = 0;
    if (t->format == STREAM_SSE && !blank) {
        t->in_event = t->in_event || !comment;
        return !t->in_event;
    }
    if (t->event_seq)
        t->last_seq = t->event_seq;
    t->done = t->done || t->event_done;
    t->event_seq = 0;
    t->event_done = t->in_event = false;
    return true;
}

static void scan(struct stream_tail *t)
{
    const char *base = t->buf.ptr, *p = base + t->scanned, *end = base + t->buf.len;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        add_to_line(t, p, (size_t)((nl ? nl : end) - p));
        t->event_len += (size_t)((nl ? nl + 1 : end) - p);
        if (!nl)
            break;
        p = nl + 1;
        if (end_line(t)) {
            t->ready = (size_t)(p - base);
            t->event_len = 0;
            t->in_parts = false;
        }
    }
    t->scanned = t->buf.len;
    if (t->in_parts || t->buf.len - t->ready > STREAM_TAIL_HOLD_MAX) {
        t->in_parts = t->ready < t->buf.len || t->in_parts;
        t->ready = t->buf.len;
    }
}

bool stream_tail_push(struct stream_tail *t, const char *p, size_t len)
{
    size_t known = MIN(len, t->skip);
    if (t->buf.len + len - known > STREAM_TAIL_MAX ||
        buf_append(&t->buf, p + known, len - known) < 0)
        return false;
    t->skip -= known;
    if (t->format == STREAM_RAW)
        t->ready = t->scanned = t->buf.len;
    else
        scan(t);
    return true;
}

static void drop(struct stream_tail *t, size_t n)
{
    buf_consume(&t->buf, n);
    t->ready -= n;
    t->scanned -= n;
}

size_t stream_tail_pull(struct stream_tail *t, char *out, size_t max)
{
    size_t n = MIN(max, t->ready);
    if (n == 0)
        return 0;
    memcpy(out, t->buf.ptr, n);
    drop(t, n);
    return n;
}

bool stream_tail_wants_more(const struct stream_tail *t)
{
    return t->ready == 0 || t->buf.len <= STREAM_TAIL_LOW;
}

void stream_tail_end(struct stream_tail *t)
{
    t->ready = t->scanned = t->buf.len;
}

void stream_tail_resume(struct stream_tail *t)
{
    if (t->in_parts) {
        t->skip = t->event_len;
        return;
    }
    t->buf.len = t->scanned = t->ready;
    t->line_len = t->event_len = t->skip = 0;
    t->event_seq = 0;
    t->event_done = t->in_event = false;
}

static void drop_half_event(struct stream_tail *t)
{
    /* What was let through cannot be taken back: end it, so that what follows stands by itself. */
    if (t->in_parts)
        buf_append_str(&t->buf, t->format == STREAM_SSE ? "\n\n" : "\n");
    else
        t->buf.len = t->ready;
}

void stream_tail_lose(struct stream_tail *t, const char *evalue)
{
    struct buf error;
    uint64_t seq = t->last_seq + 1;
    drop_half_event(t);
    buf_init(&error, KIB(32));
    buf_append_str(&error, "{\"ename\":\"SandboxLost\",\"evalue\":");
    jsonx_append_string(&error, slice_str(evalue));
    buf_append_char(&error, '}');
    const struct exec_done event = {.status = "sandbox_lost",
                                    .execution_count = -1,
                                    .duration_ms = -1,
                                    .error_json = buf_slice(&error)};
    if (t->format == STREAM_SSE)
        buf_printf(&t->buf, "id: %llu\ndata: ", (unsigned long long)seq);
    exec_event_done(&t->buf, seq, &event);
    if (t->format == STREAM_SSE)
        buf_append_char(&t->buf, '\n');
    buf_done(&error);
    t->last_seq = seq;
    t->done = true;
    t->in_parts = false;
    stream_tail_end(t);
}

/* ---- event by event ---- */

bool stream_tail_event(struct stream_tail *t, struct stream_event *ret)
{
    for (; t->ready > 0; drop(t, 1)) {
        const char *p = t->buf.ptr, *nl = memchr(p, '\n', t->ready);
        uint64_t seq = 0;
        if (nl == p && !t->taking)
            continue; /* a keep-alive */
        *ret = (struct stream_event){.seq = t->taking,
                                     .bytes = slice_make(p, nl ? (size_t)(nl + 1 - p) : t->ready),
                                     .first = !t->taking,
                                     .last = nl != NULL};
        if (!t->taking && skip(&p, p + t->ready, "{\"seq\":") &&
            read_number(&p, t->buf.ptr + t->ready, &seq))
            ret->seq = seq;
        return true;
    }
    return false;
}

void stream_tail_took(struct stream_tail *t, const struct stream_event *e)
{
    t->taking = e->last ? 0 : e->seq;
    drop(t, e->bytes.len);
}
