#pragma once
/*
 * A runner that has one execution's log and breaks its connections where the test says. It answers
 * every request with the events after `?after`, as NDJSON or SSE.
 */
#include "tests/unit/controller/exec/raw_peer.h"

#include <stdint.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"

#define NDJSON                                                                                     \
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nLocation: /executions/e\r\n"         \
    "Transfer-Encoding: chunked\r\n\r\n"
#define SSE                                                                                        \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"                        \
    "Transfer-Encoding: chunked\r\n\r\n"
#define WHOLE SIZE_MAX

/* What the runner does; set before peer_start(). */
static struct {
    const char *lines[4]; /* events 1, 2, … */
    size_t big;     /* when not 0, in place of `lines`: one event above 256 KiB, then others */
    size_t cuts[8]; /* the n-th connection closes after so many bytes */
    const char *answers[8]; /* the n-th connection says this instead */
    unsigned n;             /* connections */
    bool gates[8];          /* the n-th connection waits for the test before it closes */
    char afters[8][32];     /* what they asked for */
} plan _unused_;

static const char *const short_log[] = {
    "{\"seq\":1,\"type\":\"started\"}\n",
    "{\"seq\":2,\"type\":\"output\",\"output\":{\"text\":\"\\n\"}}\n",
    "{\"seq\":3,\"type\":\"done\",\"status\":\"ok\"}\n",
};

static inline void use_short_log(void)
{
    memset(&plan, 0, sizeof(plan));
    for (unsigned i = 0; i < ARRAY_LEN(short_log); i++)
        plan.lines[i] = short_log[i];
    for (unsigned i = 0; i < ARRAY_LEN(plan.cuts); i++)
        plan.cuts[i] = WHOLE;
}

static inline void add_event(struct buf *out, bool sse, unsigned seq, const char *line)
{
    if (sse)
        buf_printf(out, "id: %u\ndata: ", seq);
    buf_append_str(out, line);
    if (sse)
        buf_append_char(out, '\n');
}

static inline char *big_line(unsigned seq)
{
    struct buf b;
    buf_init(&b, MIB(2));
    buf_printf(&b, "{\"seq\":%u,\"type\":\"output\",\"x\":\"", seq);
    buf_reserve(&b, plan.big);
    for (size_t i = 0; i < plan.big; i++)
        b.ptr[b.len + i] = (char)('a' + (i * 7 + seq) % 26);
    b.len += plan.big;
    buf_append_str(&b, "\"}\n");
    return buf_take(&b);
}

/* The events after `after`, each by `add` (a chunk of the answer, or text). */
static inline void each_event(uint64_t after, struct buf *out, bool sse,
                              void (*add)(struct buf *out, bool sse, unsigned seq,
                                          const char *line))
{
    for (unsigned seq = (unsigned)after + 1; seq <= ARRAY_LEN(plan.lines); seq++) {
        _cleanup_(freep) char *big = plan.big && seq < 4 ? big_line(seq) : NULL;
        const char *line = big ? big : plan.lines[seq - 1];
        if (plan.big && seq == 4)
            line = "{\"seq\":4,\"type\":\"done\",\"status\":\"ok\"}\n";
        if (line)
            add(out, sse, seq, line);
    }
}

static inline void add_chunk(struct buf *out, bool sse, unsigned seq, const char *line)
{
    struct buf event;
    buf_init(&event, MIB(2));
    add_event(&event, sse, seq, line);
    buf_printf(out, "%zx\r\n", event.len);
    buf_append_slice(out, buf_slice(&event));
    buf_append_str(out, "\r\n");
    buf_done(&event);
}

static inline char *want(bool sse, uint64_t after)
{
    struct buf b;
    buf_init(&b, MIB(8));
    each_event(after, &b, sse, add_event);
    return buf_take(&b);
}

/* Head and body of the answer as they go over the wire. */
static inline struct buf wire(bool sse, uint64_t after)
{
    struct buf b;
    buf_init(&b, MIB(8));
    buf_append_str(&b, sse ? SSE : NDJSON);
    each_event(after, &b, sse, add_chunk);
    buf_append_str(&b, "0\r\n\r\n");
    return b;
}

static inline void log_runner(struct peer *p)
{
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        unsigned n = plan.n++ % 8;
        if (hear(p, fd)) {
            const char *head = p->request[(p->n_requests - 1) % 4];
            const char *at = strstr(head, "after=");
            bool sse = strstr(head, "event-stream") != NULL;
            snprintf(plan.afters[n], sizeof(plan.afters[n]), "%.*s",
                     (int)(at ? strcspn(at + 6, " &") : 1), at ? at + 6 : "-");
            struct buf b = wire(sse, at ? strtoull(at + 6, NULL, 10) : 0);
            if (plan.answers[n])
                says(fd, plan.answers[n]);
            else
                say(fd, b.ptr, MIN(b.len, plan.cuts[n]));
            buf_done(&b);
        }
        if (plan.gates[n])
            peer_wait(p);
        close(fd);
    }
}
