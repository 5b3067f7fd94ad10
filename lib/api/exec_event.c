/*
 * One place writes the lines of the event log, and one reads their beginnings back: rendering an
 * execution copies escaped text from the log without parsing or escaping it again.
 */
#include "lib/api/exec_event.h"

#include "lib/json/jsonx.h"

#include <inttypes.h>

int exec_event_queued(struct buf *out, uint64_t seq, const char *id, unsigned position)
{
    return buf_printf(
        out, "{\"seq\":%" PRIu64 ",\"type\":\"queued\",\"execution_id\":\"%s\",\"position\":%u}\n",
        seq, id, position);
}

static const char *int_or_null(int64_t n, char text[24])
{
    if (n < 0)
        return "null";
    snprintf(text, 24, "%" PRId64, n);
    return text;
}

int exec_event_started(struct buf *out, uint64_t seq, const char *id, int64_t count,
                       const char *kernel_id, unsigned generation)
{
    char n[24];
    return buf_printf(out,
                      "{\"seq\":%" PRIu64 ",\"type\":\"started\",\"execution_id\":\"%s\","
                      "\"execution_count\":%s,\"kernel_id\":\"%s\",\"generation\":%u}\n",
                      seq, id, int_or_null(count, n), kernel_id, generation);
}

static int put3(struct buf *out, const char *head, struct slice body, const char *tail)
{
    size_t len = strlen(head) + body.len + strlen(tail);
    int r = buf_reserve(out, len);
    if (r < 0)
        return r;
    buf_append_str(out, head);
    buf_append_slice(out, body);
    return buf_append_str(out, tail);
}

#define STREAM_HEAD "\"type\":\"output\",\"output\":{\"output_type\":\"stream\",\"name\":\""

int exec_event_stream(struct buf *out, uint64_t seq, const char *name, struct slice escaped)
{
    char head[160];
    snprintf(head, sizeof(head), "{\"seq\":%" PRIu64 "," STREAM_HEAD "%s\",\"text\":\"", seq, name);
    return put3(out, head, escaped, "\"}}\n");
}

int exec_event_output(struct buf *out, uint64_t seq, struct slice output)
{
    char head[80];
    snprintf(head, sizeof(head), "{\"seq\":%" PRIu64 ",\"type\":\"output\",\"output\":", seq);
    return put3(out, head, output, "}\n");
}

int exec_event_update_display(struct buf *out, uint64_t seq, struct slice display_id,
                              struct slice data, struct slice metadata)
{
    int r = buf_reserve(out, display_id.len + data.len + metadata.len + 128);
    if (r < 0)
        return r;
    buf_printf(out, "{\"seq\":%" PRIu64 ",\"type\":\"update_display\",\"display_id\":", seq);
    buf_append_slice(out, display_id);
    buf_append_str(out, ",\"data\":");
    buf_append_slice(out, data);
    buf_append_str(out, ",\"metadata\":");
    buf_append_slice(out, metadata);
    return buf_append_str(out, "}\n");
}

int exec_event_clear_output(struct buf *out, uint64_t seq, bool wait)
{
    return buf_printf(out, "{\"seq\":%" PRIu64 ",\"type\":\"clear_output\",\"wait\":%s}\n", seq,
                      wait ? "true" : "false");
}

int exec_event_input_request(struct buf *out, uint64_t seq, struct slice prompt, bool password)
{
    char head[80];
    snprintf(head, sizeof(head),
             "{\"seq\":%" PRIu64 ",\"type\":\"input_request\",\"prompt\":", seq);
    return put3(out, head, prompt, password ? ",\"password\":true}\n" : ",\"password\":false}\n");
}

int exec_event_truncated(struct buf *out, uint64_t seq, uint64_t after_bytes)
{
    return buf_printf(out,
                      "{\"seq\":%" PRIu64 ",\"type\":\"truncated\",\"after_bytes\":%" PRIu64 "}\n",
                      seq, after_bytes);
}

int exec_event_done(struct buf *out, uint64_t seq, const struct exec_done *d)
{
    int r = buf_reserve(out, d->error_json.len + d->user_expressions_json.len + 512);
    if (r < 0)
        return r;
    char n[24], duration[40] = "null", generation[24] = "null";
    if (d->duration_ms >= 0)
        snprintf(duration, sizeof(duration), "%.3f", d->duration_ms);
    if (d->generation > 0)
        snprintf(generation, sizeof(generation), "%u", d->generation);
    buf_printf(out,
               "{\"seq\":%" PRIu64 ",\"type\":\"done\",\"status\":\"%s\",\"execution_count\":%s,"
               "\"duration_ms\":%s,\"generation\":%s,\"truncated_bytes\":%" PRIu64 ",\"error\":",
               seq, d->status, int_or_null(d->execution_count, n), duration, generation,
               d->truncated_bytes);
    buf_append_slice(out, d->error_json.len ? d->error_json : slice_str("null"));
    buf_append_str(out, ",\"user_expressions\":");
    buf_append_slice(out,
                     d->user_expressions_json.len ? d->user_expressions_json : slice_str("{}"));
    return buf_append_str(out, "}\n");
}

static struct slice after(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return slice_make(s.ptr + n, s.len - n);
}

static struct slice without_tail(struct slice s, size_t tail)
{
    return slice_make(s.ptr, s.len > tail ? s.len - tail : 0);
}

enum exec_event_kind exec_event_classify(struct slice line, struct slice *ret_body)
{
    static const struct {
        const char *head;
        enum exec_event_kind kind;
        size_t tail; /* bytes to cut at the end to get the body */
    } kinds[] = {
        {STREAM_HEAD "stdout\",\"text\":\"", EXEC_EVENT_STDOUT, 3},
        {STREAM_HEAD "stderr\",\"text\":\"", EXEC_EVENT_STDERR, 3},
        {"\"type\":\"output\",\"output\":", EXEC_EVENT_OUTPUT, 1},
        {"\"type\":\"update_display\",", EXEC_EVENT_UPDATE, 0},
        {"\"type\":\"clear_output\",\"wait\":true", EXEC_EVENT_CLEAR_WAIT, 0},
        {"\"type\":\"clear_output\",", EXEC_EVENT_CLEAR, 0},
        {"\"type\":\"done\",", EXEC_EVENT_DONE, 0},
    };
    *ret_body = line;
    const char *comma = memchr(line.ptr, ',', MIN(line.len, 40));
    if (!comma)
        return EXEC_EVENT_OTHER;
    struct slice rest = slice_make(comma + 1, line.len - (size_t)(comma + 1 - line.ptr));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!slice_starts(rest, kinds[i].head))
            continue;
        if (kinds[i].tail)
            *ret_body = without_tail(after(rest, kinds[i].head), kinds[i].tail);
        return kinds[i].kind;
    }
    return EXEC_EVENT_OTHER;
}
