/*
 * Kernel messages become events. Contents are untrusted: what goes into a line is picked member by
 * member from JSON that was checked and compacted, so a forged message can spoil its own
 * execution's output but never the form of the log.
 */
#include "kernel-runner/exec/exec.h"

#include "kernel-runner/exec/exec_expressions.h"
#include "lib/api/exec_event.h"
#include "lib/api/limits.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <assert.h>

/* The kernel's messages are at most this long (jp_client's ceiling). */
#define CONTENT_MAX_BYTES MIB(600)
#define ERROR_MAX_BYTES   MIB(1)
#define PROMPT_MAX_BYTES  MIB(1)
/* Requests for input of one execution for which its log has no room: about 12,000. */
#define QUESTIONS_MAX_BYTES MIB(1)
/* Code and late outputs of one execution that are not worth a file of their own. */
#define KEPT_IN_MEMORY_BYTES KIB(16)

struct exec *exec_new(struct loop *loop, struct spill_store *store, const char *id,
                      struct exec_request *request_take, const struct exec_limits *limits)
{
    struct exec *e = MEM_NEW(struct exec);
    snprintf(e->id, sizeof(e->id), "%s", id);
    e->request = request_take;
    e->limits = *limits;
    e->log = event_log_new(loop, store);
    e->created_at = clk_wall_us();
    e->execution_count = -1;
    e->error_held = e->expressions_held =
        (struct mem_held){.budget = limits->budget, .account = HELD_REPLIES};
    spill_init(&e->kept, store);
    return e;
}

static void drop_error(struct exec *e)
{
    free(e->error_json);
    e->error_json = NULL;
    mem_held_release(&e->error_held);
}

static void drop_expressions(struct exec *e)
{
    free(e->user_expressions);
    e->user_expressions = NULL;
    mem_held_release(&e->expressions_held);
}

struct exec *exec_free(struct exec *e)
{
    if (!e)
        return NULL;
    exec_request_free(e->request);
    event_log_free(e->log);
    spill_done(&e->kept);
    drop_error(e);
    drop_expressions(e);
    free(e->msg_id);
    free(e->status);
    free(e);
    return NULL;
}

struct exec *exec_husk(const struct exec *e)
{
    struct exec *husk = MEM_NEW(struct exec);
    memcpy(husk->id, e->id, sizeof(husk->id));
    memcpy(husk->kernel_id, e->kernel_id, sizeof(husk->kernel_id));
    husk->request = MEM_NEW(struct exec_request);
    husk->request->silent = e->request->silent;
    husk->state = e->state;
    husk->behind = e->behind;
    husk->queue = e->queue;
    return husk;
}

const struct exec_edge *exec_move(struct exec *e, enum exec_event ev)
{
    const struct exec_edge *edge = exec_state_edge(e->state, ev);
    if (!edge) {
        log_event(LOG_WARN, "execution_event_unexpected", "execution", e->id, "state",
                  exec_state_detail(e->state), "what", exec_event_name(ev), NULL);
        assert(!"unexpected execution event");
        return NULL;
    }
    if (edge->to != e->state)
        log_event(LOG_DEBUG, "execution", "execution", e->id, "from", exec_state_detail(e->state),
                  "to", exec_state_detail(edge->to), "by", exec_event_name(ev), NULL);
    e->state = edge->to;
    return edge;
}

void exec_put_back(struct exec *e)
{
    e->rest = EXEC_REST_NONE;
    e->reply_aborted = false;
    e->sent_again++;
    if (!e->started_put)
        e->started_at = e->started_us = 0;
}

static uint64_t next_seq(const struct exec *e)
{
    return event_log_lines(e->log) + 1;
}

/* Control events always go in; only outputs are limited. */
static void append_done(struct exec *e, struct buf *line)
{
    event_log_append_always(e->log, buf_slice(line));
    buf_done(line);
}

static bool fits(const struct exec *e, size_t len)
{
    return !e->truncated && event_log_bytes(e->log) + len <= e->limits.output_bytes;
}

static void truncate_here(struct exec *e)
{
    if (e->truncated)
        return;
    e->truncated = true;
    struct buf mark;
    buf_init(&mark, KIB(1));
    exec_event_truncated(&mark, next_seq(e), event_log_bytes(e->log));
    append_done(e, &mark);
}

/*
 * An output line: within the limit and while the disk has room it is kept, beyond that counted, and
 * the place marked once.
 */
static void append_output(struct exec *e, struct slice line)
{
    struct err err;
    if (fits(e, line.len)) {
        if (event_log_append(e->log, line, &err) == 0)
            return;
        log_event(LOG_WARN, "output_truncated", "execution", e->id, "error", err.text, NULL);
    }
    truncate_here(e);
    e->truncated_bytes += line.len;
}

void exec_put_queued(struct exec *e, unsigned position)
{
    struct buf line;
    buf_init(&line, KIB(1));
    exec_event_queued(&line, next_seq(e), e->id, position);
    append_done(e, &line);
}

void exec_begin(struct exec *e)
{
    if (e->started_us)
        return;
    e->started_at = clk_wall_us();
    e->started_us = clk_mono_us();
}

void exec_put_started(struct exec *e)
{
    if (e->started_put)
        return;
    exec_begin(e);
    e->started_put = true;
    struct buf line;
    buf_init(&line, KIB(1));
    exec_event_started(&line, next_seq(e), e->id, e->execution_count, e->kernel_id, e->generation);
    append_done(e, &line);
}

/* ---- outputs ---- */

/* One output after the end: kept as the output object alone, up to a ceiling. */
static void put_late(struct exec *e, struct slice output)
{
    struct buf line;
    bool room = spill_len(&e->kept) - e->code_kept + output.len < LIMIT_LATE_BYTES;
    buf_init(&line, LIMIT_LATE_BYTES);
    if (room) {
        buf_append_slice(&line, output);
        buf_append_char(&line, '\n');
        room = spill_append(&e->kept, buf_slice(&line), NULL) == 0;
    }
    buf_done(&line);
    e->late_dropped += !room;
}

static void put_output(struct exec *e, struct slice output)
{
    if (e->state == EXEC_DONE) {
        put_late(e, output);
        return;
    }
    struct buf line;
    buf_init(&line, output.len + KIB(1));
    exec_event_output(&line, next_seq(e), output);
    append_output(e, buf_slice(&line));
    buf_done(&line);
}

static bool is_string(struct slice json)
{
    return json.len >= 2 && json.ptr[0] == '"';
}

static struct slice object_or_empty(struct slice json)
{
    return json.len && json.ptr[0] == '{' ? json : slice_str("{}");
}

/* Is it an array of nothing but strings? `json` is well-formed. */
static bool is_strings(struct slice json)
{
    if (json.len < 2 || json.ptr[0] != '[')
        return false;
    for (size_t i = 1; i < json.len - 1; i++) {
        if (strchr(" \t,", json.ptr[i]))
            continue;
        if (json.ptr[i] != '"')
            return false;
        for (i++; json.ptr[i] != '"'; i++)
            i += json.ptr[i] == '\\';
    }
    return true;
}

static struct slice unquote(struct slice json)
{
    return slice_make(json.ptr + 1, json.len - 2);
}

static void put_stream_piece(struct exec *e, const char *name, struct slice text)
{
    struct buf line;
    buf_init(&line, text.len + KIB(1));
    if (e->state == EXEC_DONE) {
        buf_printf(&line, "{\"output_type\":\"stream\",\"name\":\"%s\",\"text\":\"", name);
        buf_append_slice(&line, text);
        buf_append_str(&line, "\"}");
        put_late(e, buf_slice(&line));
    } else {
        exec_event_stream(&line, next_seq(e), name, text);
        append_output(e, buf_slice(&line));
    }
    buf_done(&line);
}

static void on_stream(struct exec *e, struct slice content)
{
    struct slice name = jsonx_find(content, "name");
    struct slice text = jsonx_find(content, "text");
    if (!is_string(text))
        return;
    const char *which = slice_eq_str(name, "\"stderr\"") ? "stderr" : "stdout";
    struct slice rest = unquote(text);
    while (rest.len) {
        size_t n = jsonx_cut(rest, LIMIT_STREAM_EVENT_BYTES);
        put_stream_piece(e, which, slice_make(rest.ptr, n));
        rest = slice_make(rest.ptr + n, rest.len - n);
    }
}

static void on_display(struct exec *e, struct slice content, const char *type)
{
    struct slice data = object_or_empty(jsonx_find(content, "data"));
    struct slice metadata = object_or_empty(jsonx_find(content, "metadata"));
    struct slice transient = jsonx_find(content, "transient");
    struct slice count = jsonx_find(content, "execution_count");
    int64_t ignored;
    struct buf out;
    buf_init(&out, content.len + KIB(1));
    buf_printf(&out, "{\"output_type\":\"%s\"", type);
    if (strcmp(type, "execute_result") == 0) {
        buf_append_str(&out, ",\"execution_count\":");
        buf_append_slice(&out, jsonx_uint(count, &ignored) ? count : slice_str("null"));
    }
    buf_append_str(&out, ",\"data\":");
    buf_append_slice(&out, data);
    buf_append_str(&out, ",\"metadata\":");
    buf_append_slice(&out, metadata);
    if (transient.len > 2 && transient.ptr[0] == '{') {
        buf_append_str(&out, ",\"transient\":");
        buf_append_slice(&out, transient);
    }
    buf_append_char(&out, '}');
    put_output(e, buf_slice(&out));
    buf_done(&out);
}

/* {ename, evalue, traceback} of an error message or reply; "" when it has not these. */
static char *error_members(struct slice content)
{
    struct slice ename = jsonx_find(content, "ename");
    struct slice evalue = jsonx_find(content, "evalue");
    struct slice traceback = jsonx_find(content, "traceback");
    if (!is_string(ename) || !is_string(evalue))
        return NULL;
    if (!is_strings(traceback))
        traceback = slice_str("[]");
    struct buf out;
    buf_init(&out, ename.len + evalue.len + traceback.len + 64);
    buf_append_str(&out, "\"ename\":");
    buf_append_slice(&out, ename);
    buf_append_str(&out, ",\"evalue\":");
    buf_append_slice(&out, evalue);
    buf_append_str(&out, ",\"traceback\":");
    buf_append_slice(&out, traceback);
    return buf_take(&out);
}

static void note_error(struct exec *e, const char *members)
{
    static const char too_large[] =
        "\"ename\":\"TooLarge\",\"evalue\":\"the error is too large to be "
        "kept\",\"traceback\":[]";
    size_t len = strlen(members);
    drop_error(e);
    if (len > ERROR_MAX_BYTES || mem_held_grow(&e->error_held, len, NULL) < 0)
        members = too_large;
    e->error_json = mem_printf("{%s}", members);
}

static void on_error(struct exec *e, struct slice content)
{
    _cleanup_(freep) char *members = error_members(content);
    if (!members)
        return;
    if (e->state != EXEC_DONE)
        note_error(e, members);
    _cleanup_(freep) char *out = mem_printf("{\"output_type\":\"error\",%s}", members);
    put_output(e, slice_str(out));
}

static void on_update(struct exec *e, struct slice content)
{
    struct slice transient = jsonx_find(content, "transient");
    struct slice id = transient.len ? jsonx_find(transient, "display_id") : transient;
    if (!is_string(id) || e->state == EXEC_DONE)
        return;
    struct buf line;
    buf_init(&line, content.len + KIB(1));
    exec_event_update_display(&line, next_seq(e), id, object_or_empty(jsonx_find(content, "data")),
                              object_or_empty(jsonx_find(content, "metadata")));
    append_output(e, buf_slice(&line));
    buf_done(&line);
}

static void on_clear(struct exec *e, struct slice content)
{
    if (e->state == EXEC_DONE)
        return;
    struct buf line;
    buf_init(&line, KIB(1));
    exec_event_clear_output(&line, next_seq(e), slice_eq_str(jsonx_find(content, "wait"), "true"));
    append_output(e, buf_slice(&line));
    buf_done(&line);
}

static void dispatch(struct exec *e, enum jp_kind kind, struct slice content)
{
    switch (kind) {
    case JP_STREAM:
        on_stream(e, content);
        return;
    case JP_DISPLAY_DATA:
        on_display(e, content, "display_data");
        return;
    case JP_EXECUTE_RESULT:
        on_display(e, content, "execute_result");
        return;
    case JP_UPDATE_DISPLAY_DATA:
        on_update(e, content);
        return;
    case JP_ERROR:
        on_error(e, content);
        return;
    case JP_CLEAR_OUTPUT:
        on_clear(e, content);
        return;
    case JP_OTHER:
    case JP_STATUS:
    case JP_EXECUTE_INPUT:
    case JP_EXECUTE_REPLY:
    case JP_KERNEL_INFO_REPLY:
    case JP_INTERRUPT_REPLY:
    case JP_SHUTDOWN_REPLY:
    case JP_INPUT_REQUEST:
    case JP_IOPUB_WELCOME:
        return;
    }
}

/*
 * The content as JSON that may stand in a line. Nearly always that is what came, and nothing is
 * copied; `scratch` is for the rest and is freed by the caller.
 */
static bool usable(struct slice content, struct buf *scratch, struct slice *ret)
{
    buf_init(scratch, CONTENT_MAX_BYTES);
    *ret = content;
    if (jsonx_is_line(content))
        return true;
    if (jsonx_compact(scratch, content) < 0)
        return false;
    *ret = buf_slice(scratch);
    return true;
}

void exec_on_iopub(struct exec *e, const struct jp_msg *msg)
{
    struct buf scratch;
    struct slice content;
    if (usable(msg->content, &scratch, &content)) {
        dispatch(e, msg->kind, content);
    } else if (!e->malformed) {
        e->malformed = true; /* once: user code shall not write the log */
        log_event(LOG_WARN, "kernel_message_malformed", "execution", e->id, "type", msg->msg_type,
                  NULL);
    }
    buf_done(&scratch);
}

static void take_expressions(struct exec *e, struct slice given)
{
    uint64_t room = mem_budget_room(e->limits.budget, HELD_REPLIES);
    room = room > EXEC_EXPRESSIONS_NOTE_BYTES ? room - EXEC_EXPRESSIONS_NOTE_BYTES : 0;
    e->user_expressions = exec_expressions_fit(given, room);
    if (e->user_expressions)
        (void)mem_held_grow(&e->expressions_held, strlen(e->user_expressions), NULL);
}

static void take_reply(struct exec *e, struct slice content)
{
    struct slice status = jsonx_find(content, "status");
    e->reply_aborted = slice_eq_str(status, "\"aborted\"");
    e->reply_failed = slice_eq_str(status, "\"error\"");
    jsonx_uint(jsonx_find(content, "execution_count"), &e->execution_count);
    struct slice expressions = jsonx_find(content, "user_expressions");
    if (expressions.len > 2 && expressions.ptr[0] == '{')
        take_expressions(e, expressions);
    if (!e->reply_failed || e->error_json)
        return;
    _cleanup_(freep) char *members = error_members(content);
    if (members)
        note_error(e, members);
}

void exec_on_reply(struct exec *e, const struct jp_msg *msg)
{
    if (exec_rest_has_reply(e->rest))
        return;
    e->rest = exec_rest_replied(e->rest);
    struct buf scratch;
    struct slice content;
    if (usable(msg->content, &scratch, &content))
        take_reply(e, content);
    buf_done(&scratch);
}

static void put_question(struct exec *e, struct slice line)
{
    if (fits(e, line.len) && event_log_append(e->log, line, NULL) == 0)
        return;
    truncate_here(e);
    if (e->asked_bytes + line.len > QUESTIONS_MAX_BYTES) {
        e->truncated_bytes += line.len; /* it waits in vain, until its timeout */
        return;
    }
    e->asked_bytes += line.len;
    event_log_append_always(e->log, line);
}

void exec_on_input_request(struct exec *e, struct slice asked)
{
    struct buf scratch, line;
    struct slice content, prompt = slice_str("\"\"");
    bool password = false;
    if (usable(asked, &scratch, &content)) {
        struct slice given = jsonx_find(content, "prompt");
        if (is_string(given) && given.len <= PROMPT_MAX_BYTES)
            prompt = given;
        password = slice_eq_str(jsonx_find(content, "password"), "true");
    }
    /* Where output has no room any more a question still has, but not for its words. */
    if (!fits(e, prompt.len + KIB(1)))
        prompt = slice_str("\"\"");
    buf_init(&line, PROMPT_MAX_BYTES + KIB(1));
    exec_event_input_request(&line, next_seq(e), prompt, password);
    put_question(e, buf_slice(&line));
    buf_done(&line);
    buf_done(&scratch);
}

/* ---- the end ---- */

double exec_duration_ms(const struct exec *e)
{
    if (!e->started_us)
        return -1;
    int64_t end = e->ended_us ? e->ended_us : clk_mono_us();
    return (double)(end - e->started_us) / 1000.0;
}

const char *exec_verdict(const struct exec *e)
{
    switch (e->stop) {
    case EXEC_STOP_TIMEOUT:
        return "timeout";
    case EXEC_STOP_INTERRUPT:
    case EXEC_STOP_CANCEL:
    case EXEC_STOP_RESTART:
        return "interrupted";
    case EXEC_STOP_NONE:
        break;
    }
    if (e->reply_aborted)
        return "aborted";
    return e->reply_failed ? "error" : "ok";
}

/* The error that goes with a status: a shown traceback is none when the code went on after it. */
static void settle_error(struct exec *e, const char *status, const char *error_json)
{
    static const char unnamed[] = "{\"ename\":\"Error\",\"evalue\":\"\",\"traceback\":[]}";
    static const char *const without[] = {"ok", "cancelled", "aborted"};
    if (!error_json && !e->error_json && strcmp(status, "error") == 0)
        error_json = unnamed;
    bool clear = false;
    for (size_t i = 0; i < ARRAY_LEN(without); i++)
        clear = clear || strcmp(status, without[i]) == 0;
    if (!clear && !error_json)
        return;
    drop_error(e);
    e->error_json = error_json ? mem_dup_str(error_json) : NULL;
}

/* ---- what is kept ---- */

void exec_keep_code(struct exec *e)
{
    struct exec_request *r = e->request;
    struct slice code = slice_make(r->code, r->code_len);
    if (!r->code)
        return;
    /* On a full disk the store lets its oldest go for it, but not for what runs. */
    if (e->kept.store->memory_bytes + code.len <= 2 * LIMIT_SPILL_MEMORY_BYTES) {
        spill_append_always(&e->kept, code);
    } else if (spill_append(&e->kept, code, NULL) < 0) {
        log_event(LOG_WARN, "code_lost", "execution", e->id, NULL);
        r->code_len = 0;
    }
    e->code_kept = r->code_len;
    exec_request_let_go(r);
}

ssize_t exec_read_code(const struct exec *e, size_t pos, char *out, size_t max)
{
    const struct exec_request *r = e->request;
    size_t want = MIN(r->code_len - MIN(pos, r->code_len), max);
    if (r->code) {
        memcpy(out, r->code + pos, want);
        return (ssize_t)want;
    }
    for (size_t n = 0; n < want;) {
        ssize_t got = spill_read(&e->kept, pos + n, out + n, want - n);
        if (got <= 0)
            return -1;
        n += (size_t)got;
    }
    return (ssize_t)want;
}

int exec_spill(struct exec *e)
{
    int r = e->kept.mem_len > KEPT_IN_MEMORY_BYTES ? spill_to_file(&e->kept, NULL) : 0;
    return r < 0 ? r : event_log_spill(e->log);
}

static struct exec_range range_of(uint64_t line_at, struct slice line, const char *member)
{
    struct slice found = jsonx_find(line, member);
    return (struct exec_range){.offset = line_at + (uint64_t)(found.ptr - line.ptr),
                               .len = found.len};
}

void exec_finish(struct exec *e, const char *status, const char *error_json)
{
    exec_move(e, EXEC_EV_FINISH);
    e->ended_at = clk_wall_us();
    e->ended_us = clk_mono_us();
    e->status = mem_dup_str(status);
    settle_error(e, status, error_json);
    struct exec_done done = {.status = status,
                             .execution_count = e->execution_count,
                             .duration_ms = exec_duration_ms(e),
                             .generation = e->generation,
                             .truncated_bytes = e->truncated_bytes,
                             .error_json = slice_str(e->error_json),
                             .user_expressions_json = slice_str(e->user_expressions)};
    struct buf line;
    buf_init(&line, ERROR_MAX_BYTES + EXEC_EXPRESSIONS_MAX_BYTES + MIB(1));
    exec_event_done(&line, next_seq(e), &done);
    uint64_t at = event_log_bytes(e->log);
    e->error_at = range_of(at, buf_slice(&line), "error");
    e->expressions_at = range_of(at, buf_slice(&line), "user_expressions");
    append_done(e, &line);
    drop_error(e);
    drop_expressions(e);
    exec_keep_code(e);
    event_log_end(e->log);
}
