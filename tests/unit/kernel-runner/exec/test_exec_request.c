/* What POST …/execute takes, at each limit and beyond it. */
#include "kernel-runner/exec/exec_request.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

static int parse(const char *text, struct err *err)
{
    _cleanup_(exec_request_freep) struct exec_request *r = NULL;
    memset(err, 0, sizeof(*err));
    return exec_request_parse(&r, slice_str(text), err);
}

static void bad_bodies_name_the_field(void **state)
{
    static const struct {
        const char *body;
        const char *field;
    } rows[] = {
        {"{}", "code"},
        {"{\"code\":\"\"}", "code"},
        {"{\"code\":\" \\n\\t \"}", "code"},
        {"{\"code\":7}", "code"},
        {"{\"code\":null}", "code"},
        {"{\"code\":\"1\",\"timeout_s\":0}", "timeout_s"},
        {"{\"code\":\"1\",\"timeout_s\":-1}", "timeout_s"},
        {"{\"code\":\"1\",\"timeout_s\":\"3\"}", "timeout_s"},
        {"{\"code\":\"1\",\"timeout_s\":true}", "timeout_s"},
        {"{\"code\":\"1\",\"timeout_s\":86401}", "timeout_s"},
        {"{\"code\":\"1\",\"stop_on_error\":1}", "stop_on_error"},
        {"{\"code\":\"1\",\"silent\":\"no\"}", "silent"},
        {"{\"code\":\"1\",\"generation\":0}", "generation"},
        {"{\"code\":\"1\",\"generation\":1.5}", "generation"},
        {"{\"code\":\"1\",\"generation\":true}", "generation"},
        {"{\"code\":\"1\",\"on_disconnect\":\"die\"}", "on_disconnect"},
        {"{\"code\":\"1\",\"user_expressions\":[]}", "user_expressions"},
        {"{\"code\":\"1\",\"user_expressions\":{\"a\":1}}", "user_expressions"},
        {"{\"code\":\"1\",\"colour\":\"red\"}", "colour"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        if (parse(rows[i].body, &err) != -ERR_INVALID ||
            strncmp(err.field, rows[i].field, strlen(rows[i].field)) != 0)
            fail_msg("%s: code %d field %s", rows[i].body, err.code, err.field);
        assert_true(err.text[0]);
    }
}

static void bad_texts_are_invalid(void **state)
{
    static const char *const rows[] = {"",
                                       "nope",
                                       "[]",
                                       "\"code\"",
                                       "{\"code\":",
                                       "{\"code\":\"\xff\"}",
                                       "{\"code\":\"1\"} x",
                                       "{\"code\":\"a\\u0000b\"}"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err;
        if (parse(rows[i], &err) != -ERR_INVALID)
            fail_msg("%s: code %d", rows[i], err.code);
    }
}

static char *body_of(size_t code_len)
{
    char *code = mem_alloc(code_len + 1);
    memset(code, 'x', code_len);
    code[code_len] = '\0';
    char *body = mem_printf("{\"code\":\"%s\"}", code);
    free(code);
    return body;
}

static void code_at_its_limit_and_one_more(void **state)
{
    struct err err;
    _cleanup_(freep) char *fits = body_of(LIMIT_CODE_BYTES);
    _cleanup_(freep) char *over = body_of(LIMIT_CODE_BYTES + 1);
    assert_int_equal(parse(fits, &err), 0);
    assert_int_equal(parse(over, &err), -ERR_TOO_LARGE);
    assert_string_equal(err.field, "code");
}

static void defaults_are_those_of_the_contract(void **state)
{
    _cleanup_(exec_request_freep) struct exec_request *r = NULL;
    assert_int_equal(exec_request_parse(&r, slice_str("{\"code\":\"1\"}"), NULL), 0);
    assert_false(r->stop_on_error || r->silent || r->allow_stdin || r->interrupt_on_disconnect);
    assert_true(r->store_history);
    assert_int_equal(r->timeout_ms, 0);
    assert_int_equal(r->generation, 0);
    assert_null(r->kernel_id);
}

static void silent_turns_history_off_unless_asked(void **state)
{
    _cleanup_(exec_request_freep) struct exec_request *a = NULL;
    _cleanup_(exec_request_freep) struct exec_request *b = NULL;
    assert_int_equal(exec_request_parse(&a, slice_str("{\"code\":\"1\",\"silent\":true}"), NULL),
                     0);
    assert_false(a->store_history);
    assert_int_equal(
        exec_request_parse(&b, slice_str("{\"code\":\"1\",\"silent\":true,\"store_history\":true}"),
                           NULL),
        0);
    assert_true(b->store_history);
}

static void the_content_is_what_the_kernel_reads(void **state)
{
    _cleanup_(exec_request_freep) struct exec_request *r = NULL;
    assert_int_equal(
        exec_request_parse(
            &r, slice_str("{\"code\":\"a\\n\\\"é\",\"user_expressions\":{\"v\":\"1+1\"}}"), NULL),
        0);
    _cleanup_(freep) char *text = exec_request_content(r);
    _cleanup_(json_decrefp) json_t *content = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(content, "code")), "a\n\"é");
    assert_true(json_is_false(json_object_get(content, "stop_on_error")));
    assert_true(json_is_false(json_object_get(content, "allow_stdin")));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(content, "user_expressions"), "v")),
        "1+1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_bodies_name_the_field),
        cmocka_unit_test(bad_texts_are_invalid),
        cmocka_unit_test(code_at_its_limit_and_one_more),
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(silent_turns_history_off_unless_asked),
        cmocka_unit_test(the_content_is_what_the_kernel_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
