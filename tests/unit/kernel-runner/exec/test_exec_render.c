/* Kernel messages in, events and the execution object out. */
#include "kernel-runner/exec/exec.h"
#include "kernel-runner/exec/exec_render.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include "tests/support/no_room.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

struct fixture {
    struct loop *loop;
    struct spill_store store;
    struct mem_budget budget;
    struct exec *e;
};

static struct exec *new_with(struct fixture *f, uint64_t limit, const char *body)
{
    struct exec_request *r = NULL;
    struct err err;
    assert_int_equal(exec_request_parse(&r, slice_str(body), &err), 0);
    assert_int_equal(exec_request_hold(r, &f->budget, &err), 0);
    struct exec_limits limits = {.output_bytes = limit, .budget = &f->budget};
    return exec_new(f->loop, &f->store, "e1", r, &limits);
}

static struct exec *new_exec(struct fixture *f, uint64_t limit)
{
    return new_with(f, limit, "{\"code\":\"x\"}");
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    f->store.dir_fd = -1;
    f->budget.max_bytes = MIB(16);
    f->e = new_exec(f, MIB(64));
    exec_move(f->e, EXEC_EV_SEND);
    exec_put_started(f->e);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    room_is_back();
    exec_free(f->e);
    assert_int_equal(f->budget.used_bytes, 0);
    assert_int_equal(f->store.memory_bytes, 0);
    assert_int_equal(f->store.file_bytes, 0);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void say(struct fixture *f, enum jp_kind kind, const char *content)
{
    struct jp_msg *msg = MEM_NEW(struct jp_msg);
    msg->channel = JP_IOPUB;
    msg->kind = kind;
    msg->content = slice_str(content);
    exec_on_iopub(f->e, msg);
    free(msg);
}

/* The execution as JSON, rendered at once and streamed in small pieces: they must be the same. */
static json_t *render(struct fixture *f)
{
    size_t len = 0;
    f->e->ended_us = f->e->started_us + 1; /* its clock stands still between the two */
    char *text = exec_render_text(f->e, &len);
    struct exec_render *r = NULL;
    assert_int_equal(exec_render_new(&r, f->e, NULL), 0);
    struct buf streamed;
    buf_init(&streamed, MIB(64));
    char piece[7];
    for (;;) {
        ssize_t n = exec_render_pull(r, piece, sizeof(piece));
        if (n == EXEC_RENDER_END)
            break;
        buf_append(&streamed, piece, (size_t)n);
    }
    exec_render_free(r);
    assert_int_equal(streamed.len, len);
    assert_memory_equal(streamed.ptr, text, len);
    struct err err;
    json_t *json = NULL;
    if (jsonx_parse(&json, buf_slice(&streamed), &err) < 0)
        fail_msg("%s in %s", err.text, streamed.ptr);
    buf_done(&streamed);
    free(text);
    return json;
}

static void check(struct fixture *f, const char *key, const char *want)
{
    _cleanup_(json_decrefp) json_t *json = render(f);
    _cleanup_(freep) char *got =
        json_dumps(json_object_get(json, key), JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(got, want);
}

static void adjacent_streams_are_merged(void **state)
{
    struct fixture *f = *state;
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"a\\n\"}");
    say(f, JP_STREAM, "{\"name\": \"stdout\", \"text\": \"b\\\"\"}");
    say(f, JP_STREAM, "{\"name\":\"stderr\",\"text\":\"E\"}");
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"c\"}");
    check(f, "outputs",
          "[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"a\\nb\\\"\"},"
          "{\"output_type\":\"stream\",\"name\":\"stderr\",\"text\":\"E\"},"
          "{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"c\"}]");
    check(f, "stdout", "\"a\\nb\\\"c\"");
    check(f, "stderr", "\"E\"");
}

static void clear_output_clears_outputs_not_stdout(void **state)
{
    struct fixture *f = *state;
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"a\"}");
    say(f, JP_CLEAR_OUTPUT, "{\"wait\":false}");
    check(f, "outputs", "[]");
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"b\"}");
    check(f, "outputs", "[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"b\"}]");
    check(f, "stdout", "\"ab\"");
}

static void clear_output_with_wait_waits_for_an_output(void **state)
{
    struct fixture *f = *state;
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"a\"}");
    say(f, JP_CLEAR_OUTPUT, "{\"wait\":true}");
    check(f, "outputs", "[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"a\"}]");
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"b\"}");
    check(f, "outputs", "[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"b\"}]");
}

static void displays_are_updated_in_place(void **state)
{
    struct fixture *f = *state;
    say(f, JP_DISPLAY_DATA,
        "{\"data\":{\"text/plain\":\"1\"},\"metadata\":{},\"transient\":{\"display_id\":\"d\"}}");
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"x\"}");
    say(f, JP_UPDATE_DISPLAY_DATA,
        "{\"data\":{\"text/plain\":\"2\"},\"metadata\":{\"m\":1},"
        "\"transient\":{\"display_id\":\"d\"}}");
    check(f, "outputs",
          "[{\"output_type\":\"display_data\",\"data\":{\"text/plain\":\"2\"},"
          "\"metadata\":{\"m\":1}},"
          "{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"x\"}]");
}

static void transient_is_not_saved(void **state)
{
    struct fixture *f = *state;
    say(f, JP_DISPLAY_DATA,
        "{\"transient\":{\"display_id\":\"d\"},\"data\":{\"text/html\":\"<b>\"},\"metadata\":{}}");
    check(f, "outputs",
          "[{\"output_type\":\"display_data\",\"data\":{\"text/html\":\"<b>\"},\"metadata\":{}}]");
}

static void result_is_the_last_text(void **state)
{
    struct fixture *f = *state;
    check(f, "result", "null");
    say(f, JP_EXECUTE_RESULT,
        "{\"execution_count\":3,\"data\":{\"text/html\":\"h\",\"text/plain\":\"4\\n2\"},"
        "\"metadata\":{}}");
    check(f, "result", "\"4\\n2\"");
}

static void contents_without_their_members_are_survived(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "null",
                                      "{\"name\":1,\"text\":2}",
                                      "{\"data\":[],\"metadata\":7,\"transient\":[]}",
                                      "{\"ename\":1}",
                                      "not json",
                                      "{\"text\":\"\xff\"}",
                                      ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (int kind = 0; kind <= JP_IOPUB_WELCOME; kind++)
            say(f, (enum jp_kind)kind, bad[i]);
    _cleanup_(json_decrefp) json_t *json = render(f);
    assert_true(json_is_object(json));
}

static void long_text_is_split_between_characters(void **state)
{
    struct fixture *f = *state;
    /* é in two bytes, an escape of two, one of six, a surrogate pair of twelve: all over the cut.
     */
    struct buf content, want;
    buf_init(&content, MIB(8));
    buf_init(&want, MIB(8));
    buf_append_str(&content, "{\"name\":\"stdout\",\"text\":\"");
    static const char *const pieces[] = {"é", "\\n", "\\u00e9", "\\ud83d\\ude00", "x"};
    static const char *const plain[] = {"é", "\n", "é", "\xf0\x9f\x98\x80", "x"};
    for (unsigned i = 0; want.len < 3 * LIMIT_STREAM_EVENT_BYTES; i++) {
        buf_append_str(&content, pieces[i * 7 % 5]);
        buf_append_str(&want, plain[i * 7 % 5]);
        if (i % 11 == 0) {
            buf_append_str(&content, pieces[3]);
            buf_append_str(&want, plain[3]);
        }
    }
    buf_append_str(&content, "\"}");
    say(f, JP_STREAM, content.ptr);
    assert_true(event_log_lines(f->e->log) >= 4);
    _cleanup_(json_decrefp) json_t *json = render(f);
    const json_t *text = json_object_get(json, "stdout");
    assert_int_equal(json_string_length(text), want.len);
    assert_memory_equal(json_string_value(text), want.ptr, want.len);
    buf_done(&content);
    buf_done(&want);
}

static unsigned count_events(const struct exec *e, const char *type)
{
    struct spill_view view;
    assert_int_equal(event_log_view(e->log, &view, NULL), 0);
    _cleanup_(freep) char *want = mem_printf("\"type\":\"%s\"", type);
    unsigned n = 0;
    uint64_t at = 0;
    for (struct slice rest; (rest = spill_view_from(&view, at)).len;) {
        const char *nl = memchr(rest.ptr, '\n', rest.len);
        assert_non_null(nl);
        n += memmem(rest.ptr, (size_t)(nl - rest.ptr), want, strlen(want)) != NULL;
        at += (uint64_t)(nl + 1 - rest.ptr);
    }
    spill_view_close(&view);
    return n;
}

static void output_over_the_limit_is_counted(void **state)
{
    struct fixture *f = *state;
    exec_free(f->e);
    f->e = new_exec(f, KIB(1));
    exec_move(f->e, EXEC_EV_SEND);
    exec_put_started(f->e);
    for (int i = 0; i < 100; i++)
        say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"0123456789\"}");
    uint64_t lines = event_log_lines(f->e->log);
    assert_true(f->e->truncated && f->e->truncated_bytes > 0);
    exec_finish(f->e, "ok", NULL);
    /* One mark, then only `done`. */
    assert_int_equal(event_log_lines(f->e->log), lines + 1);
    assert_int_equal(count_events(f->e, "truncated"), 1);
    _cleanup_(json_decrefp) json_t *json = render(f);
    assert_int_equal(json_integer_value(json_object_get(json, "truncated_bytes")),
                     f->e->truncated_bytes);
}

static void output_after_the_end_is_late(void **state)
{
    struct fixture *f = *state;
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"in\"}");
    exec_finish(f->e, "ok", NULL);
    uint64_t lines = event_log_lines(f->e->log);
    say(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"late\"}");
    say(f, JP_DISPLAY_DATA, "{\"data\":{\"text/plain\":\"d\"},\"metadata\":{}}");
    assert_int_equal(event_log_lines(f->e->log), lines);
    check(f, "late_outputs",
          "[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"late\"},"
          "{\"output_type\":\"display_data\",\"data\":{\"text/plain\":\"d\"},\"metadata\":{}}]");
    check(f, "stdout", "\"in\"");
}

static void every_line_is_json_with_the_next_seq(void **state)
{
    struct fixture *f = *state;
    say(f, JP_STREAM, "{\n\"name\":\"stdout\",\r\n\"text\":\"a\"}");
    say(f, JP_DISPLAY_DATA, "{\"data\":{\n\"a\":\"\\ud800\"},\"metadata\":{}}");
    say(f, JP_ERROR, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[\"t\"]}");
    exec_finish(f->e, "error", NULL);
    struct spill_view view;
    assert_int_equal(event_log_view(f->e->log, &view, NULL), 0);
    struct slice log = view.mem;
    uint64_t seq = 0;
    for (size_t at = 0; at < log.len;) {
        const char *nl = memchr(log.ptr + at, '\n', log.len - at);
        assert_non_null(nl);
        size_t len = (size_t)(nl - (log.ptr + at));
        struct err err;
        _cleanup_(json_decrefp) json_t *json = NULL;
        if (jsonx_parse(&json, slice_make(log.ptr + at, len), &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(json_integer_value(json_object_get(json, "seq")), ++seq);
        at += len + 1;
    }
    assert_int_equal(seq, 5);
    spill_view_close(&view);
}

/* ---- what is kept ---- */

static void pull_all(struct exec_render *r, struct buf *out, size_t piece)
{
    char bytes[64];
    buf_init(out, MIB(64));
    for (;;) {
        ssize_t n = exec_render_pull(r, bytes, MIN(piece, sizeof(bytes)));
        if (n == EXEC_RENDER_END)
            break;
        assert_true(n >= 0);
        buf_append(out, bytes, (size_t)n);
    }
    exec_render_free(r);
}

static json_t *summary(struct fixture *f)
{
    struct buf text;
    struct err err;
    json_t *json = NULL;
    pull_all(exec_render_new_summary(f->e), &text, 5);
    if (jsonx_parse(&json, buf_slice(&text), &err) < 0)
        fail_msg("%s in %s", err.text, text.ptr);
    buf_done(&text);
    return json;
}

static void code_is_the_same_before_and_after_the_end(void **state)
{
    struct fixture *f = *state;
    struct buf code, body;
    buf_init(&code, MIB(1));
    buf_init(&body, MIB(8));
    /* Characters of every length lie over every edge of the pieces it is read in. */
    while (code.len < KIB(200))
        buf_append_str(&code, "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\\\"\n\x01");
    buf_append_str(&body, "{\"code\":");
    jsonx_append_string(&body, buf_slice(&code));
    buf_append_char(&body, '}');
    exec_free(f->e);
    f->e = new_with(f, MIB(64), body.ptr);
    exec_move(f->e, EXEC_EV_SEND);
    exec_put_started(f->e);
    assert_int_equal(f->budget.accounts[HELD_CODE].used_bytes, code.len);
    for (int done = 0; done < 3; done++) {
        _cleanup_(json_decrefp) json_t *json = render(f);
        _cleanup_(json_decrefp) json_t *brief = summary(f);
        const json_t *whole = json_object_get(json, "code");
        assert_int_equal(json_string_length(whole), code.len);
        assert_memory_equal(json_string_value(whole), code.ptr, code.len);
        assert_true(json_equal(whole, json_object_get(brief, "code")));
        if (done == 0) {
            exec_finish(f->e, "ok", NULL);
            assert_int_equal(f->budget.used_bytes, 0);
            assert_null(f->e->request->code);
        } else {
            assert_int_equal(exec_spill(f->e), 0);
            assert_int_equal(f->e->kept.mem_len, 0);
        }
    }
    buf_done(&code);
    buf_done(&body);
}

static void a_summary_has_the_error_and_no_outputs(void **state)
{
    struct fixture *f = *state;
    say(f, JP_ERROR, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[\"t\"]}");
    for (int done = 0; done < 2; done++) {
        _cleanup_(json_decrefp) json_t *brief = summary(f);
        const json_t *error = json_object_get(brief, "error");
        assert_string_equal(json_string_value(json_object_get(error, "evalue")), "v");
        assert_null(json_object_get(brief, "outputs"));
        assert_int_equal(json_integer_value(json_object_get(brief, "truncated_bytes")), 0);
        if (!done)
            exec_finish(f->e, "error", NULL);
    }
    assert_null(f->e->error_json); /* the log has it */
    check(f, "error", "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[\"t\"]}");
}

static void reply(struct fixture *f, const char *content)
{
    struct jp_msg *msg = MEM_NEW(struct jp_msg);
    msg->channel = JP_SHELL;
    msg->kind = JP_EXECUTE_REPLY;
    msg->content = slice_str(content);
    exec_on_reply(f->e, msg);
    free(msg);
}

static void expressions_are_held_until_the_log_has_them(void **state)
{
    struct fixture *f = *state;
    static const char given[] = "{\"a\":{\"status\":\"ok\"}}";
    check(f, "user_expressions", "{}");
    reply(f, "{\"status\":\"ok\",\"user_expressions\":{\"a\":{\"status\":\"ok\"}}}");
    assert_int_equal(f->budget.accounts[HELD_REPLIES].used_bytes, strlen(given));
    check(f, "user_expressions", "{}"); /* until it is done */
    exec_finish(f->e, "ok", NULL);
    assert_int_equal(f->budget.used_bytes, 0);
    check(f, "user_expressions", given);
}

static void expressions_without_room_are_too_large(void **state)
{
    struct fixture *f = *state;
    struct mem_held others = {0};
    assert_int_equal(mem_hold(&others, &f->budget, HELD_REPLIES, MIB(12), NULL), 0);
    reply(f, "{\"status\":\"ok\",\"user_expressions\":{\"a\":{\"status\":\"ok\"}}}");
    exec_finish(f->e, "ok", NULL);
    mem_held_release(&others);
    _cleanup_(json_decrefp) json_t *json = render(f);
    const json_t *a = json_object_get(json_object_get(json, "user_expressions"), "a");
    assert_string_equal(json_string_value(json_object_get(a, "ename")), "TooLarge");
}

static void an_error_without_room_is_too_large(void **state)
{
    struct fixture *f = *state;
    struct mem_held others = {0};
    assert_int_equal(mem_hold(&others, &f->budget, HELD_REPLIES, MIB(12), NULL), 0);
    say(f, JP_ERROR, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[\"t\"]}");
    exec_finish(f->e, "error", NULL);
    mem_held_release(&others);
    _cleanup_(json_decrefp) json_t *json = render(f);
    const json_t *error = json_object_get(json, "error");
    assert_string_equal(json_string_value(json_object_get(error, "ename")), "TooLarge");
}

/* ---- no room ---- */

static void say_much(struct fixture *f, size_t bytes)
{
    struct buf content;
    buf_init(&content, bytes + KIB(1));
    buf_append_str(&content, "{\"name\":\"stdout\",\"text\":\"");
    buf_reserve(&content, bytes);
    memset(content.ptr + content.len, 'x', bytes);
    content.len += bytes;
    buf_append_str(&content, "\"}");
    buf_append_char(&content, '\0');
    say(f, JP_STREAM, content.ptr);
    buf_done(&content);
}

static void a_full_disk_truncates_and_still_ends(void **state)
{
    struct fixture *f = *state;
    no_room_above(MIB(5));
    for (int i = 0; i < 8; i++)
        say_much(f, MIB(1));
    say(f, JP_ERROR, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[]}");
    exec_finish(f->e, "error", NULL);
    assert_int_equal(count_events(f->e, "truncated"), 1);
    assert_int_equal(count_events(f->e, "done"), 1);
    assert_true(event_log_bytes(f->e->log) > MIB(4));
    _cleanup_(json_decrefp) json_t *json = render(f);
    size_t kept = json_string_length(json_object_get(json, "stdout"));
    assert_true(kept > MIB(4) - KIB(256) && kept <= MIB(5));
    assert_true(json_integer_value(json_object_get(json, "truncated_bytes")) >=
                (json_int_t)(MIB(8) - kept));
}

static void a_full_disk_is_no_reason_to_refuse_what_is_in_memory(void **state)
{
    struct fixture *f = *state;
    no_room_above(0);
    say_much(f, MIB(2) + KIB(512));
    exec_finish(f->e, "ok", NULL);
    _cleanup_(json_decrefp) json_t *json = render(f);
    assert_int_equal(json_string_length(json_object_get(json, "stdout")), MIB(2) + KIB(512));
    assert_int_equal(f->e->truncated_bytes, 0);
}

static void questions_find_room_on_a_full_disk(void **state)
{
    struct fixture *f = *state;
    no_room_above(MIB(4));
    say_much(f, MIB(5));
    unsigned before = count_events(f->e, "input_request");
    for (int i = 0; i < 3; i++)
        exec_on_input_request(f->e, slice_str("{\"prompt\":\"? \",\"password\":false}"));
    assert_int_equal(count_events(f->e, "input_request"), before + 3);
    /* But not without end. */
    uint64_t at_first = event_log_bytes(f->e->log);
    for (int i = 0; i < 30000; i++)
        exec_on_input_request(f->e, slice_str("{\"prompt\":\"? \",\"password\":false}"));
    assert_in_range(event_log_bytes(f->e->log) - at_first, KIB(512), MIB(1));
    exec_finish(f->e, "timeout", NULL);
    assert_int_equal(count_events(f->e, "truncated"), 1);
    assert_int_equal(count_events(f->e, "done"), 1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(adjacent_streams_are_merged),
        T(clear_output_clears_outputs_not_stdout),
        T(clear_output_with_wait_waits_for_an_output),
        T(displays_are_updated_in_place),
        T(transient_is_not_saved),
        T(result_is_the_last_text),
        T(contents_without_their_members_are_survived),
        T(long_text_is_split_between_characters),
        T(output_over_the_limit_is_counted),
        T(output_after_the_end_is_late),
        T(every_line_is_json_with_the_next_seq),
        T(code_is_the_same_before_and_after_the_end),
        T(a_summary_has_the_error_and_no_outputs),
        T(expressions_are_held_until_the_log_has_them),
        T(expressions_without_room_are_too_large),
        T(an_error_without_room_is_too_large),
        T(a_full_disk_truncates_and_still_ends),
        T(a_full_disk_is_no_reason_to_refuse_what_is_in_memory),
        T(questions_find_room_on_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
