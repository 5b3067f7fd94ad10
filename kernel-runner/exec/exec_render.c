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
#include "lib/base/utf8.h"

#include <uthash.h>

#define SCAN_BYTES_PER_PULL MIB(8)
#define SLICES_PER_STEP     16
#define PIECE_BYTES         2048 /* of what is read bit by bit */
#define PIECE_MAX           KIB(16)

struct update {
    struct slice id; /* JSON string, in the log */
    struct slice data, metadata;
    UT_hash_handle hh;
};

enum section {
    SCAN,
    HEAD,
    CODE,
    DATES,
    OUTPUTS,
    STDOUT_HEAD,
    STDOUT,
    STDERR_HEAD,
    STDERR,
    RESULT,
    ERROR,
    LATE_HEAD,
    LATE,
    TAIL,
    EXPRESSIONS,
    FINISHED
};

struct exec_render {
    const struct exec *e;
    struct spill_view log;
    enum section section;
    uint64_t pos;    /* in the log, of the walk */
    uint64_t start;  /* where outputs begin */
    bool clear_next; /* clear_output(wait=true) came: the next output clears */
    struct update *updates;
    struct slice result_line; /* the last execute_result */
    bool summary;             /* for lists */
    bool failed;              /* what is kept could not be read: what is given is not whole */
    char *head, *error;
    struct buf piece; /* of what is read bit by bit, until the next */
    size_t code_pos;
    uint64_t range_pos, late_pos;
    bool late_comma;
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

static void step_head(struct exec_render *r)
{
    const struct exec *e = r->e;
    struct buf b;
    buf_init(&b, KIB(4));
    buf_printf(&b, "{\"id\":\"%s\",\"status\":", e->id);
    buf_printf(&b, e->status ? "\"%s\"" : "null", e->status ? e->status : "");
    buf_printf(&b, ",\"state\":\"%s\",\"kernel_id\":\"%s\",\"generation\":%u,\"code\":\"",
               exec_state_name(e->state), e->kernel_id, e->generation);
    size_t len = b.len;
    r->head = buf_take(&b);
    emit(r, slice_make(r->head, len));
    r->section = CODE;
}

/* A piece of the code, escaped. */
static void step_code(struct exec_render *r)
{
    char raw[PIECE_BYTES];
    ssize_t n = exec_read_code(r->e, r->code_pos, raw, sizeof(raw));
    if (n <= 0) {
        r->failed = n < 0;
        r->section = DATES;
        return;
    }
    struct slice piece = slice_make(raw, (size_t)n);
    bool last = r->code_pos + piece.len >= r->e->request->code_len;
    if (!last)
        piece.len = MAX(utf8_cut(piece, piece.len - 3), (size_t)1);
    r->code_pos += piece.len;
    buf_clear(&r->piece);
    jsonx_append_string(&r->piece, piece);
    emit(r, slice_make(r->piece.ptr + 1, r->piece.len - 2));
}

static void step_dates(struct exec_render *r)
{
    const struct exec *e = r->e;
    struct buf *b = &r->piece;
    buf_clear(b);
    if (e->execution_count >= 0)
        buf_printf(b, "\",\"execution_count\":%lld", (long long)e->execution_count);
    else
        buf_append_str(b, "\",\"execution_count\":null");
    put_time(b, "created_at", e->created_at);
    put_time(b, "started_at", e->started_at);
    put_time(b, "ended_at", e->ended_at);
    if (e->started_us)
        buf_printf(b, ",\"duration_ms\":%.3f", exec_duration_ms(e));
    else
        buf_append_str(b, ",\"duration_ms\":null");
    buf_append_str(b, r->summary ? ",\"error\":" : ",\"outputs\":[");
    emit(r, buf_slice(b));
    r->pos = r->start;
    r->section = r->summary ? ERROR : OUTPUTS;
}

/* The text/plain of the last execute_result, as JSON. */
static struct slice result_text(const struct exec_render *r)
{
    struct slice data = r->result_line.len ? jsonx_find(r->result_line, "data") : r->result_line;
    struct slice text = data.len ? jsonx_find(data, "text/plain") : data;
    return text.len && text.ptr[0] == '"' ? text : slice_str("null");
}

static void step_result(struct exec_render *r)
{
    emit(r, slice_str("\",\"result\":"));
    emit(r, result_text(r));
    emit(r, slice_str(",\"error\":"));
    r->section = ERROR;
}

/* A piece of a range of the log, as it stands there; false at its end. */
static bool put_range(struct exec_render *r, const struct exec_range *range)
{
    char raw[PIECE_BYTES];
    uint64_t left = range->len - r->range_pos;
    if (left == 0) {
        r->range_pos = 0;
        return false;
    }
    ssize_t n = event_log_read(r->e->log, range->offset + r->range_pos, raw,
                               (size_t)MIN(left, (uint64_t)sizeof(raw)));
    if (n <= 0) {
        r->failed = true;
        r->range_pos = 0;
        return false;
    }
    r->range_pos += (uint64_t)n;
    buf_clear(&r->piece);
    buf_append(&r->piece, raw, (size_t)n);
    emit(r, buf_slice(&r->piece));
    return true;
}

static void step_error(struct exec_render *r)
{
    const struct exec *e = r->e;
    if (e->state == EXEC_DONE && put_range(r, &e->error_at))
        return;
    if (e->state != EXEC_DONE) {
        free(r->error);
        r->error = mem_dup_str(e->error_json ? e->error_json : "null"); /* it may change */
        emit(r, slice_str(r->error));
    }
    r->late_pos = e->code_kept;
    r->section = r->summary ? TAIL : LATE_HEAD;
}

/* A piece of the late outputs: one object a line; the last newline is no separator. */
static void step_late(struct exec_render *r)
{
    char raw[PIECE_BYTES];
    ssize_t n = spill_read(&r->e->kept, r->late_pos, raw, sizeof(raw));
    if (r->e->state != EXEC_DONE || n <= 0) {
        r->failed = r->failed || n < 0;
        r->section = TAIL;
        return;
    }
    buf_clear(&r->piece);
    for (ssize_t i = 0; i < n; i++) {
        if (r->late_comma)
            buf_append_char(&r->piece, ',');
        r->late_comma = raw[i] == '\n';
        if (!r->late_comma)
            buf_append_char(&r->piece, raw[i]);
    }
    r->late_pos += (uint64_t)n;
    emit(r, buf_slice(&r->piece));
}

static void step_tail(struct exec_render *r)
{
    buf_clear(&r->piece);
    buf_printf(&r->piece, "%s,\"truncated_bytes\":%llu", r->summary ? "" : "]",
               (unsigned long long)r->e->truncated_bytes);
    buf_append_str(&r->piece, r->summary ? "}" : ",\"user_expressions\":");
    emit(r, buf_slice(&r->piece));
    r->section = r->summary ? FINISHED : EXPRESSIONS;
}

static void step_expressions(struct exec_render *r)
{
    bool done = r->e->state == EXEC_DONE;
    if (done && put_range(r, &r->e->expressions_at))
        return;
    emit(r, slice_str(done ? "}" : "{}}"));
    r->section = FINISHED;
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
    case FINISHED:
        return;
    case HEAD:
        step_head(r);
        return;
    case CODE:
        step_code(r);
        return;
    case DATES:
        step_dates(r);
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
        step_text(r, EXEC_EVENT_STDERR, RESULT);
        return;
    case RESULT:
        step_result(r);
        return;
    case ERROR:
        step_error(r);
        return;
    case LATE_HEAD:
        emit(r, slice_str(",\"late_outputs\":["));
        r->section = LATE;
        return;
    case LATE:
        step_late(r);
        return;
    case TAIL:
        step_tail(r);
        return;
    case EXPRESSIONS:
        step_expressions(r);
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
        if (!r->summary && !scan(r))
            return EXEC_RENDER_AGAIN;
        /* A wish to clear that no output followed clears nothing. */
        r->section = HEAD;
    }
    size_t n = 0;
    for (uint64_t from = r->pos; n < max;) {
        if (r->q_len == 0) {
            if (r->section == FINISHED)
                break;
            if (n == 0 && r->pos > from + SCAN_BYTES_PER_PULL)
                return EXEC_RENDER_AGAIN;
            step(r);
        }
        if (r->failed)
            return EXEC_RENDER_FAILED;
        n += drain(r, out + n, max - n);
    }
    return n ? (ssize_t)n : EXEC_RENDER_END;
}

int exec_render_new(struct exec_render **ret, const struct exec *e, struct err *err)
{
    struct exec_render *render = MEM_NEW(struct exec_render);
    int r = event_log_view(e->log, &render->log, err);
    if (r < 0) {
        free(render);
        return r;
    }
    render->e = e;
    buf_init(&render->piece, PIECE_MAX);
    *ret = render;
    return 0;
}

struct exec_render *exec_render_new_summary(const struct exec *e)
{
    struct exec_render *render = MEM_NEW(struct exec_render);
    render->e = e;
    render->summary = true;
    buf_init(&render->piece, PIECE_MAX);
    return render;
}

static void render_done(struct exec_render *r)
{
    struct update *u, *next;
    HASH_ITER (hh, r->updates, u, next) {
        HASH_DEL(r->updates, u);
        free(u);
    }
    free(r->head);
    free(r->error);
    buf_done(&r->piece);
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

bool exec_render_is_small(const struct exec *e)
{
    uint64_t len = event_log_bytes(e->log);
    return len == event_log_memory(e->log) && e->kept.fd < 0 &&
           len + e->request->code_len + spill_len(&e->kept) <= EXEC_RENDER_AT_ONCE_BYTES;
}

char *exec_render_text(const struct exec *e, size_t *ret_len)
{
    struct exec_render r = {.e = e};
    struct buf b;
    (void)event_log_view(e->log, &r.log, NULL); /* only files can fail */
    buf_init(&r.piece, PIECE_MAX);
    buf_init(&b, MIB(64));
    for (;;) {
        buf_reserve(&b, b.len < KIB(4) ? KIB(4) : b.len);
        ssize_t n = exec_render_pull(&r, b.ptr + b.len, b.cap - b.head - b.len - 1);
        if (n < 0)
            break;
        b.len += (size_t)n;
    }
    render_done(&r);
    *ret_len = b.len;
    return buf_take(&b);
}
