/* Kernel messages to lines of the log, and the verdict. */
#include "kernel-runner/exec/exec_store.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    struct loop *loop;
    struct exec_store *store;
    struct exec *e;
};

static struct fixture *make(uint64_t output_bytes)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    struct exec_store_cfg cfg = {.loop = f->loop,
                                 .spill_dir_fd = -1,
                                 .limits = {.output_bytes = output_bytes},
                                 .total_output_bytes = MIB(12)};
    f->store = exec_store_new(&cfg);
    struct exec_request *r = NULL;
    assert_int_equal(exec_request_parse(&r, slice_str("{\"code\":\"1\"}"), NULL), 0);
    f->e = exec_store_add(f->store, "e1", "hash", r);
    snprintf(f->e->kernel_id, sizeof(f->e->kernel_id), "k");
    f->e->generation = 1;
    return f;
}

static int setup(void **state)
{
    *state = make(MIB(1));
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->e->state != EXEC_DONE)
        exec_finish(f->e, "cancelled", NULL);
    exec_store_finished(f->store, f->e);
    exec_store_free(f->store);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void run(struct fixture *f)
{
    exec_move(f->e, EXEC_EV_SEND);
    exec_begin(f->e);
    exec_move(f->e, EXEC_EV_SEEN);
}

static void hear(struct fixture *f, enum jp_kind kind, const char *content)
{
    struct jp_msg msg = {.channel = JP_IOPUB, .kind = kind, .content = slice_str(content)};
    exec_on_iopub(f->e, &msg);
}

static void reply(struct fixture *f, const char *content)
{
    struct jp_msg msg = {
        .channel = JP_SHELL, .kind = JP_EXECUTE_REPLY, .content = slice_str(content)};
    exec_on_reply(f->e, &msg);
}

static void assert_log(struct fixture *f, const char *text)
{
    char got[2000];
    ssize_t n = event_log_read(f->e->log, 0, got, sizeof(got) - 1);
    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static void every_kind_of_message(void **state)
{
    static const struct {
        enum jp_kind kind;
        const char *content, *line; /* without its seq; "": none */
    } rows[] = {
        {JP_STREAM, "{\"name\":\"stdout\",\"text\":\"a\\n\"}",
         "\"type\":\"output\",\"output\":{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":"
         "\"a\\n\"}}\n"},
        {JP_STREAM, "{\"name\":\"other\",\"text\":\"a\"}",
         "\"type\":\"output\",\"output\":{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":"
         "\"a\"}}\n"},
        {JP_STREAM, "{\"name\":\"stdout\",\"text\":7}", ""},
        {JP_STREAM, "{\"name\":", ""},
        {JP_STREAM, "", ""},
        {JP_DISPLAY_DATA, "{\"data\":{\"a/b\":1},\"metadata\":{},\"transient\":{}}",
         "\"type\":\"output\",\"output\":{\"output_type\":\"display_data\",\"data\":{\"a/b\":1},"
         "\"metadata\":{}}}\n"},
        {JP_EXECUTE_RESULT, "{\"data\":7,\"metadata\":[],\"execution_count\":\"x\"}",
         "\"type\":\"output\",\"output\":{\"output_type\":\"execute_result\",\"execution_count\":"
         "null,\"data\":{},\"metadata\":{}}}\n"},
        {JP_UPDATE_DISPLAY_DATA,
         "{\"data\":{},\"metadata\":{},\"transient\":{\"display_id\":\"d\"}}",
         "\"type\":\"update_display\",\"display_id\":\"d\",\"data\":{},\"metadata\":{}}\n"},
        {JP_UPDATE_DISPLAY_DATA, "{\"data\":{},\"metadata\":{}}", ""},
        {JP_CLEAR_OUTPUT, "{\"wait\":true}", "\"type\":\"clear_output\",\"wait\":true}\n"},
        {JP_CLEAR_OUTPUT, "{}", "\"type\":\"clear_output\",\"wait\":false}\n"},
        {JP_ERROR, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[1]}",
         "\"type\":\"output\",\"output\":{\"output_type\":\"error\",\"ename\":\"E\",\"evalue\":"
         "\"v\",\"traceback\":[]}}\n"},
        {JP_ERROR, "{\"ename\":\"E\"}", ""},
        {JP_OTHER, "{}", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture *f = make(MIB(1));
        char want[400];
        run(f);
        hear(f, rows[i].kind, rows[i].content);
        snprintf(want, sizeof(want), "%s%s", rows[i].line[0] ? "{\"seq\":1," : "", rows[i].line);
        assert_log(f, want);
        void *s = f;
        teardown(&s);
    }
}

static void every_verdict(void **state)
{
    static const struct {
        enum exec_stop stop;
        const char *ok, *failed, *aborted;
    } rows[] = {
        {EXEC_STOP_NONE, "ok", "error", "aborted"},
        {EXEC_STOP_TIMEOUT, "timeout", "timeout", "timeout"},
        {EXEC_STOP_INTERRUPT, "interrupted", "interrupted", "interrupted"},
        {EXEC_STOP_CANCEL, "interrupted", "interrupted", "interrupted"},
        {EXEC_STOP_RESTART, "interrupted", "interrupted", "interrupted"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct exec e = {.stop = rows[i].stop};
        assert_string_equal(exec_verdict(&e), rows[i].ok);
        e.reply_failed = true;
        assert_string_equal(exec_verdict(&e), rows[i].failed);
        e.reply_failed = false;
        e.reply_aborted = true;
        assert_string_equal(exec_verdict(&e), rows[i].aborted);
    }
}

/* Which verdicts go with what the code raised. */
static void every_verdicts_error(void **state)
{
    static const struct {
        const char *status, *raised, *given, *error;
    } rows[] = {
        {"ok", "{\"ename\":\"E\"}", NULL, NULL},
        {"cancelled", NULL, NULL, NULL},
        {"aborted", "{\"ename\":\"E\"}", NULL, NULL},
        {"error", "{\"ename\":\"E\"}", NULL, "{\"ename\":\"E\"}"},
        {"error", NULL, NULL, "{\"ename\":\"Error\",\"evalue\":\"\",\"traceback\":[]}"},
        {"timeout", "{\"ename\":\"E\"}", NULL, "{\"ename\":\"E\"}"},
        {"timeout", NULL, NULL, NULL},
        {"interrupted", "{\"ename\":\"E\"}", NULL, "{\"ename\":\"E\"}"},
        {"kernel_died", "{\"ename\":\"E\"}", "{\"ename\":\"D\"}", "{\"ename\":\"D\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture *f = make(MIB(1));
        run(f);
        f->e->error_json = mem_dup_str(rows[i].raised);
        exec_finish(f->e, rows[i].status, rows[i].given);
        assert_string_equal(f->e->status, rows[i].status);
        char error[200] = "";
        assert_true(f->e->error_at.len < sizeof(error));
        event_log_read(f->e->log, f->e->error_at.offset, error, f->e->error_at.len);
        assert_string_equal(error, rows[i].error ? rows[i].error : "null");
        assert_true(event_log_ended(f->e->log));
        void *s = f;
        teardown(&s);
    }
}

static void the_first_reply_counts(void **state)
{
    struct fixture *f = *state;
    run(f);
    reply(f, "{\"status\":\"error\",\"execution_count\":3,\"ename\":\"E\",\"evalue\":\"v\","
             "\"traceback\":[]}");
    reply(f, "{\"status\":\"ok\",\"execution_count\":4}");
    assert_int_equal(f->e->rest, EXEC_REST_REPLIED);
    assert_int_equal(f->e->execution_count, 3);
    assert_string_equal(exec_verdict(f->e), "error");
    assert_string_equal(f->e->error_json, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[]}");
}

static void started_is_written_once(void **state)
{
    struct fixture *f = *state;
    f->e->execution_count = 7;
    run(f);
    exec_put_started(f->e);
    exec_put_started(f->e);
    assert_log(f, "{\"seq\":1,\"type\":\"started\",\"execution_id\":\"e1\",\"execution_count\":7,"
                  "\"kernel_id\":\"k\",\"generation\":1}\n");
}

static void what_was_put_back_has_not_begun(void **state)
{
    struct fixture *f = *state;
    run(f);
    reply(f, "{\"status\":\"aborted\"}");
    assert_true(f->e->reply_aborted);
    exec_put_back(f->e);
    assert_int_equal(f->e->rest, EXEC_REST_NONE);
    assert_false(f->e->reply_aborted);
    assert_int_equal(f->e->started_us, 0);
    assert_int_equal(f->e->started_at, 0);
    assert_true(exec_duration_ms(f->e) < 0);
}

static void a_husk_is_known_by_its_id_alone(void **state)
{
    struct fixture *f = *state;
    f->e->request->silent = true;
    f->e->behind = 9;
    exec_move(f->e, EXEC_EV_SEND_BEHIND);
    struct exec *husk = exec_husk(f->e);
    assert_true(exec_is_husk(husk));
    assert_false(exec_is_husk(f->e));
    assert_string_equal(husk->id, "e1");
    assert_true(husk->request->silent);
    assert_false(husk->request->allow_stdin);
    assert_int_equal(husk->behind, 9);
    assert_int_equal(husk->state, EXEC_BEHIND);
    exec_free(husk);
}

static void outputs_after_the_end_are_late(void **state)
{
    struct fixture *f = *state;
    run(f);
    exec_finish(f->e, "ok", NULL);
    uint64_t lines = event_log_lines(f->e->log);
    hear(f, JP_STREAM, "{\"name\":\"stderr\",\"text\":\"late\"}");
    hear(f, JP_CLEAR_OUTPUT, "{}");
    hear(f, JP_ERROR, "{\"ename\":\"E\",\"evalue\":\"v\",\"traceback\":[]}");
    assert_int_equal(event_log_lines(f->e->log), lines);
    char late[400] = "";
    assert_true(spill_read(&f->e->kept, f->e->code_kept, late, sizeof(late) - 1) > 0);
    assert_string_equal(late, "{\"output_type\":\"stream\",\"name\":\"stderr\",\"text\":\"late\"}\n"
                              "{\"output_type\":\"error\",\"ename\":\"E\",\"evalue\":\"v\","
                              "\"traceback\":[]}\n");
}

static void the_limit_is_marked_once_and_the_rest_is_counted(void **state)
{
    struct fixture *f = make(200);
    run(f);
    for (int i = 0; i < 5; i++)
        hear(f, JP_STREAM, "{\"name\":\"stdout\",\"text\":\"0123456789\"}");
    exec_finish(f->e, "ok", NULL);
    assert_true(f->e->truncated);
    assert_true(f->e->truncated_bytes > 0);
    char log[2000] = "";
    assert_true(event_log_read(f->e->log, 0, log, sizeof(log) - 1) > 0);
    const char *mark = strstr(log, "\"truncated\"");
    assert_non_null(mark);
    assert_null(strstr(mark + 1, "\"truncated\""));
    assert_non_null(strstr(mark, "\"done\""));
    void *s = f;
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_message),
        cmocka_unit_test(every_verdict),
        cmocka_unit_test(every_verdicts_error),
        cmocka_unit_test_setup_teardown(the_first_reply_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(started_is_written_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_put_back_has_not_begun, setup, teardown),
        cmocka_unit_test_setup_teardown(a_husk_is_known_by_its_id_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(outputs_after_the_end_are_late, setup, teardown),
        cmocka_unit_test(the_limit_is_marked_once_and_the_rest_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
