/* What a reader takes of an answer, and what it may know of it. How much it takes sets the pace. */
#include "controller/exec/runner_ask.h"

#include "controller/exec/runner_ask_internal.h"
#include "lib/httpc/httpc.h"

static void ask_for_more(struct runner_ask *a)
{
    if (a->recv_paused && a->call && stream_tail_wants_more(&a->tail)) {
        a->recv_paused = false;
        httpc_resume_recv(a->call);
    }
}

ssize_t runner_ask_read(struct runner_ask *a, char *out, size_t max)
{
    size_t n = stream_tail_pull(&a->tail, out, max);
    ask_for_more(a);
    if (n > 0 || a->state != RUNNER_ASK_OVER)
        return (ssize_t)n;
    if (a->end == RUNNER_ASK_ENDED || (a->end == RUNNER_ASK_LOST && a->tail.format != STREAM_RAW))
        return RUNNER_ASK_READ_END;
    return RUNNER_ASK_READ_CUT;
}

char *runner_ask_take(struct runner_ask *a, size_t *ret_len)
{
    *ret_len = a->tail.buf.len;
    char *bytes = buf_take(&a->tail.buf);
    stream_tail_end(&a->tail);
    return bytes;
}

bool runner_ask_event(struct runner_ask *a, struct stream_event *ret)
{
    return stream_tail_event(&a->tail, ret);
}

void runner_ask_took(struct runner_ask *a, const struct stream_event *e)
{
    stream_tail_took(&a->tail, e);
    ask_for_more(a);
}

int runner_ask_status(const struct runner_ask *a)
{
    return a->first.status;
}

const char *runner_ask_type(const struct runner_ask *a)
{
    return a->first.type;
}

int64_t runner_ask_length(const struct runner_ask *a)
{
    return a->first.length;
}

bool runner_ask_is_whole(const struct runner_ask *a)
{
    return a->state == RUNNER_ASK_OVER && a->end == RUNNER_ASK_ENDED;
}

enum stream_format runner_ask_format(const struct runner_ask *a)
{
    return a->tail.format;
}

bool runner_ask_header(const struct runner_ask *a, size_t *at, struct slice *name,
                       struct slice *value)
{
    const struct buf *b = &a->first.headers;
    if (*at >= b->len)
        return false;
    *name = slice_str(b->ptr + *at);
    *value = slice_str(name->ptr + name->len + 1);
    *at += name->len + value->len + 2;
    return true;
}

bool runner_ask_is_open(const struct runner_ask *a)
{
    return a->state != RUNNER_ASK_OVER && !a->tail.done && !a->gone.code;
}

unsigned runner_ask_times(const struct runner_ask *a)
{
    return a->times;
}
