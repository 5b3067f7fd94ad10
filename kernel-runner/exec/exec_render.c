/*
 * Rendering walks the log's lines. A first walk (SCAN) finds where `outputs` begins after the last
 * clear_output, the newest content of each updated display, and the result. Then each section of
 * the object is a walk of its own, which emits slices: of the log, of literals, or of strings this
 * object owns. Nothing is copied but into the caller's buffer.
 */
#include "kernel-runner/exec/exec_render.h"

#include "lib/api/exec_event.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

#include <uthash.h>

#define SCAN_BYTES_PER_PULL MIB(8)
#define SLICES_PER_STEP     16

struct update {
    struct slice id; /* JSON string, in the log */
    struct slice data, metadata;
    UT_hash_handle hh;
};

enum section { SCAN, HEAD, OUTPUTS, STDOUT_HEAD, STDOUT, STDERR_HEAD, STDERR, TAIL, FINISHED };

struct exec_render {
    const struct exec *e;
    struct spill_view log;
    enum section section;
    uint64_t pos;    /* in the log, of the walk */
    uint64_t start;  /* where outputs begin */
    bool clear_next; /* clear_output(wait=true) came: the next output clears */
    struct update *updates;
    struct slice result_line; /* the last execute_result */
    char *head, *tail;
    enum exec_event_kind open; /* of the stream output that is being merged, or OTHER */
    bool any;
    struct slice queue[SLICES_PER_STEP];
    size_t q_pos, q_len;
};

static void emit(struct exec_render *r, struct slice s)
{
    if (s.len)
        r->queue[r->q_len++] = s;
}

static bool next_line(struct exec_render *r, struct slice *ret)
{
    struct slice rest = spill_view_from(&r->log, r->pos);
    if (rest.len == 0)
        return false;
    const char *nl = memchr(rest.ptr, '\n', rest.len);
    size_t len = nl ? (size_t)(nl - rest.ptr) : rest.len;
    *ret = slice_make(rest.ptr, len);
    r->pos += len + 1;
    return true;
}

/* ---- the first walk ---- */

static void note_update(struct exec_render *r, struct slice line)
{
    struct slice id = jsonx_find(line, "display_id");
    struct update *u = NULL;
    HASH_FIND(hh, r->updates, id.ptr, id.len, u);
    if (!u) {
        u = MEM_NEW(struct update);
        u->id = id;
        HASH_ADD_KEYPTR(hh, r->updates, u->id.ptr, u->id.len, u);
    }
    u->data = jsonx_find(line, "data");
    u->metadata = jsonx_find(line, "metadata");
}

static void note_output(struct exec_render *r, uint64_t line_start)
{
    if (!r->clear_next)
        return;
    r->start = line_start;
    r->clear_next = false;
}

static void scan_line(struct exec_render *r, struct slice line)
{
    struct slice body;
    uint64_t line_start = r->pos - line.len - 1;
    switch (exec_event_classify(line, &body)) {
    case EXEC_EVENT_OUTPUT:
        note_output(r, line_start);
        if (slice_starts(body, "{\"output_type\":\"execute_result\""))
            r->result_line = body;
        return;
    case EXEC_EVENT_STDOUT:
    case EXEC_EVENT_STDERR:
        note_output(r, line_start);
        return;
    case EXEC_EVENT_UPDATE:
        note_update(r, line);
        return;
    case EXEC_EVENT_CLEAR:
        r->start = r->pos;
        r->clear_next = false;
        return;
    case EXEC_EVENT_CLEAR_WAIT:
        r->clear_next = true;
        return;
    case EXEC_EVENT_OTHER:
    case EXEC_EVENT_DONE:
        return;
    }
}

static bool scan(struct exec_render *r)
{
    uint64_t until = r->pos + SCAN_BYTES_PER_PULL;
    struct slice line;
    while (r->pos < until) {
        if (!next_line(r, &line))
            return true;
        scan_line(r, line);
    }
    return false;
}

/* ---- what is around the outputs ---- */

static void put_time(struct buf *b, const char *key, int64_t at)
{
    char text[CLK_RFC3339_SIZE];
    if (at)
        buf_printf(b, ",\"%s\":\"%s\"", key, clk_rfc3339(at, text));
    else
        buf_printf(b, ",\"%s\":null", key);
}

static char *make_head(const struct exec *e)
{
    struct buf b;
    buf_init(&b, MIB(16));
    buf_printf(&b, "{\"id\":\"%s\",\"status\":", e->id);
    buf_printf(&b, e->status ? "\"%s\"" : "null", e->status ? e->status : "");
    buf_printf(&b, ",\"state\":\"%s\",\"kernel_id\":\"%s\",\"generation\":%u,\"code\":",
               exec_state_name(e->state), e->kernel_id, e->generation);
    jsonx_append_string(&b, slice_make(e->request->code, e->request->code_len));
    if (e->execution_count >= 0)
        buf_printf(&b, ",\"execution_count\":%lld", (long long)e->execution_count);
    else
        buf_append_str(&b, ",\"execution_count\":null");
    put_time(&b, "created_at", e->created_at);
    put_time(&b, "started_at", e->started_at);
    put_time(&b, "ended_at", e->ended_at);
    if (e->started_us)
        buf_printf(&b, ",\"duration_ms\":%.3f", exec_duration_ms(e));
    else
        buf_append_str(&b, ",\"duration_ms\":null");
    return buf_take(&b);
}

/* The text/plain of the last execute_result, as JSON. */
static struct slice result_text(const struct exec_render *r)
{
    struct slice data = jsonx_find(r->result_line, "data");
    struct slice text = data.len ? jsonx_find(data, "text/plain") : data;
    return text.len && text.ptr[0] == '"' ? text : slice_str("null");
}

static char *make_tail(const struct exec_render *r)
{
    const struct exec *e = r->e;
    struct slice result = r->result_line.len ? result_text(r) : slice_str("null");
    struct buf b;
    buf_init(&b, result.len + e->late.len + MIB(16));
    buf_append_str(&b, "\",\"result\":");
    buf_append_slice(&b, result);
    buf_append_str(&b, ",\"error\":");
    buf_append_str(&b, e->error_json ? e->error_json : "null");
    buf_append_str(&b, ",\"late_outputs\":[");
    struct slice late = buf_slice(&e->late);
    /* One object a line; the last newline is not a separator. */
    for (size_t i = 0; i < late.len; i++)
        if (late.ptr[i] != '\n')
            buf_append_char(&b, late.ptr[i]);
        else if (i + 1 < late.len)
            buf_append_char(&b, ',');
    buf_printf(&b, "],\"truncated_bytes\":%llu,\"user_expressions\":%s}",
               (unsigned long long)e->truncated_bytes,
               e->user_expressions ? e->user_expressions : "{}");
    return buf_take(&b);
}

json_t *exec_summary(const struct exec *e)
{
    _cleanup_(freep) char *head = make_head(e);
    _cleanup_(freep) char *text =
        mem_printf("%s,\"error\":%s,\"truncated_bytes\":%llu}", head,
                   e->error_json ? e->error_json : "null", (unsigned long long)e->truncated_bytes);
    json_t *json = NULL;
    if (jsonx_parse(&json, slice_str(text), NULL) < 0)
        return json_null();
    return json;
}

/* ---- outputs ---- */

static void close_stream(struct exec_render *r)
{
    if (r->open != EXEC_EVENT_OTHER)
        emit(r, slice_str("\"}"));
    r->open = EXEC_EVENT_OTHER;
}

static void begin_item(struct exec_render *r)
{
    close_stream(r);
    if (r->any)
        emit(r, slice_str(","));
    r->any = true;
}

static void put_stream(struct exec_render *r, enum exec_event_kind kind, struct slice text)
{
    if (r->open != kind) {
        begin_item(r);
        emit(r, slice_str(kind == EXEC_EVENT_STDOUT
                              ? "{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\""
                              : "{\"output_type\":\"stream\",\"name\":\"stderr\",\"text\":\""));
        r->open = kind;
    }
    emit(r, text);
}

static struct update *update_of(struct exec_render *r, struct slice transient)
{
    struct update *u = NULL;
    struct slice id = jsonx_find(transient, "display_id");
    if (id.len)
        HASH_FIND(hh, r->updates, id.ptr, id.len, u);
    return u;
}

/* A notebook saves a display with its newest content and without `transient`, our last member. */
static void put_output(struct exec_render *r, struct slice body)
{
    static const char key[] = ",\"transient\":";
    begin_item(r);
    struct slice transient = jsonx_find(body, "transient");
    if (!transient.len) {
        emit(r, body);
        return;
    }
    struct update *u = r->updates ? update_of(r, transient) : NULL;
    size_t end = (size_t)(transient.ptr - body.ptr) - (sizeof(key) - 1);
    struct slice data = jsonx_find(body, "data");
    if (u) {
        emit(r, slice_make(body.ptr, (size_t)(data.ptr - body.ptr)));
        emit(r, u->data);
        emit(r, slice_str(",\"metadata\":"));
        emit(r, u->metadata);
    } else {
        emit(r, slice_make(body.ptr, end));
    }
    emit(r, slice_str("}"));
}

static void step_outputs(struct exec_render *r)
{
    struct slice line, body;
    if (!next_line(r, &line)) {
        close_stream(r);
        r->section = STDOUT_HEAD;
        return;
    }
    enum exec_event_kind kind = exec_event_classify(line, &body);
    if (kind == EXEC_EVENT_STDOUT || kind == EXEC_EVENT_STDERR)
        put_stream(r, kind, body);
    else if (kind == EXEC_EVENT_OUTPUT)
        put_output(r, body);
}

static void step_text(struct exec_render *r, enum exec_event_kind want, enum section next)
{
    struct slice line, body;
    if (!next_line(r, &line))
        r->section = next;
    else if (exec_event_classify(line, &body) == want)
        emit(r, body);
}

static void step(struct exec_render *r)
{
    switch (r->section) {
    case SCAN:
        return;
    case HEAD:
        r->head = make_head(r->e);
        emit(r, slice_str(r->head));
        emit(r, slice_str(",\"outputs\":["));
        r->pos = r->start;
        r->section = OUTPUTS;
        return;
    case OUTPUTS:
        step_outputs(r);
        return;
    case STDOUT_HEAD:
        emit(r, slice_str("],\"stdout\":\""));
        r->pos = 0;
        r->section = STDOUT;
        return;
    case STDOUT:
        step_text(r, EXEC_EVENT_STDOUT, STDERR_HEAD);
        return;
    case STDERR_HEAD:
        emit(r, slice_str("\",\"stderr\":\""));
        r->pos = 0;
        r->section = STDERR;
        return;
    case STDERR:
        step_text(r, EXEC_EVENT_STDERR, TAIL);
        return;
    case TAIL:
        r->tail = make_tail(r);
        emit(r, slice_str(r->tail));
        r->section = FINISHED;
        return;
    case FINISHED:
        return;
    }
}

static size_t drain(struct exec_render *r, char *out, size_t max)
{
    size_t n = 0;
    while (n < max && r->q_pos < r->q_len) {
        struct slice *s = &r->queue[r->q_pos];
        size_t take = MIN(s->len, max - n);
        memcpy(out + n, s->ptr, take);
        n += take;
        *s = slice_make(s->ptr + take, s->len - take);
        if (s->len == 0)
            r->q_pos++;
    }
    if (r->q_pos == r->q_len)
        r->q_pos = r->q_len = 0;
    return n;
}

ssize_t exec_render_pull(struct exec_render *r, char *out, size_t max)
{
    if (r->section == SCAN) {
        if (!scan(r))
            return EXEC_RENDER_AGAIN;
        /* A wish to clear that no output followed clears nothing. */
        r->section = HEAD;
    }
    size_t n = 0;
    while (n < max) {
        if (r->q_len == 0) {
            if (r->section == FINISHED)
                break;
            step(r);
        }
        n += drain(r, out + n, max - n);
    }
    return n ? (ssize_t)n : EXEC_RENDER_END;
}

int exec_render_new(struct exec_render **ret, struct exec *e, struct err *err)
{
    struct exec_render *render = MEM_NEW(struct exec_render);
    int r = event_log_view(e->log, &render->log, err);
    if (r < 0) {
        free(render);
        return r;
    }
    render->e = e;
    *ret = render;
    return 0;
}

static void render_done(struct exec_render *r)
{
    struct update *u, *next;
    HASH_ITER (hh, r->updates, u, next) {
        HASH_DEL(r->updates, u);
        free(u);
    }
    free(r->head);
    free(r->tail);
    spill_view_close(&r->log);
}

struct exec_render *exec_render_free(struct exec_render *r)
{
    if (!r)
        return NULL;
    render_done(r);
    free(r);
    return NULL;
}

char *exec_render_text(const struct exec *e, size_t *ret_len)
{
    struct exec_render r = {.e = e};
    (void)event_log_view(e->log, &r.log, NULL); /* only files can fail */
    struct buf b;
    buf_init(&b, MIB(64));
    for (;;) {
        buf_reserve(&b, b.len < KIB(4) ? KIB(4) : b.len);
        ssize_t n = exec_render_pull(&r, b.ptr + b.len, b.cap - b.head - b.len - 1);
        if (n == EXEC_RENDER_END)
            break;
        b.len += (size_t)n;
    }
    render_done(&r);
    *ret_len = b.len;
    return buf_take(&b);
}
