#include "controller/sandbox/sandbox_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"

static const struct sandbox_defaults defaults = {.exec_timeout_ms = 300000,
                                                 .idle_timeout_ms = 3600000};

static int parse(struct sandbox_spec *spec, const char *text, struct err *err)
{
    json_t *body = NULL;

    if (text && jsonx_parse(&body, slice_str(text), err) < 0)
        fail_msg("%s", err->text);
    int r = sandbox_spec_parse(spec, body, &defaults, err);
    json_decref(body);
    return r;
}

static void refuses(const char *text, const char *field)
{
    struct sandbox_spec spec;
    struct err err = {0};

    if (parse(&spec, text, &err) != -ERR_INVALID)
        fail_msg("%.200s: %s", text, err.text);
    if (strcmp(err.field, field) != 0)
        fail_msg("%.200s: field \"%s\", not \"%s\": %s", text, err.field, field, err.text);
    assert_null(spec.labels);
}

static void no_body_means_defaults(void **state)
{
    const char *const texts[] = {NULL, "{}"};
    struct sandbox_spec spec;
    struct err err = {0};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(parse(&spec, texts[i], &err), 0);
        assert_null(spec.name);
        assert_int_equal(spec.exec_timeout_ms, 300000);
        assert_int_equal(spec.idle_timeout_ms, 3600000);
        assert_int_equal(spec.max_lifetime_ms, 0);
        assert_int_equal(json_object_size(spec.labels), 0);
        assert_int_equal(json_object_size(spec.env), 0);
        sandbox_spec_done(&spec);
    }
}

static void every_field_is_taken(void **state)
{
    struct sandbox_spec spec;
    struct err err = {0};

    assert_int_equal(parse(&spec,
                           "{\"name\":\"caf\\u00e9\",\"exec_timeout_s\":1.5,\"idle_timeout_s\":60,"
                           "\"max_lifetime_s\":7200,\"labels\":{\"team/x\":\"\"},"
                           "\"env\":{\"A\":\"1\\n2\",\"B.c\":\"\"}}",
                           &err),
                     0);
    assert_string_equal(spec.name, "caf\xc3\xa9");
    assert_int_equal(spec.exec_timeout_ms, 1500);
    assert_int_equal(spec.idle_timeout_ms, 60000);
    assert_int_equal(spec.max_lifetime_ms, 7200000);
    assert_string_equal(json_string_value(json_object_get(spec.labels, "team/x")), "");
    assert_string_equal(json_string_value(json_object_get(spec.env, "A")), "1\n2");
    sandbox_spec_done(&spec);
}

static void what_is_wrong_is_named(void **state)
{
    refuses("[]", "");
    refuses("{\"nmae\":\"x\"}", "nmae");
    refuses("{\"name\":1}", "name");
    refuses("{\"name\":\"a\\nb\"}", "name");
    refuses("{\"exec_timeout_s\":0}", "exec_timeout_s");
    refuses("{\"exec_timeout_s\":\"5\"}", "exec_timeout_s");
    refuses("{\"idle_timeout_s\":-1}", "idle_timeout_s");
    refuses("{\"max_lifetime_s\":1e99}", "max_lifetime_s");
    refuses("{\"labels\":[]}", "labels");
    refuses("{\"labels\":{\"a\":1}}", "labels");
    refuses("{\"labels\":{\"\":\"x\"}}", "labels");
    refuses("{\"labels\":{\"a b\":\"x\"}}", "labels");
    refuses("{\"labels\":{\"-a\":\"x\"}}", "labels");
    refuses("{\"labels\":{\"a-\":\"x\"}}", "labels");
    refuses("{\"labels\":{\"a\":\"x\\ny\"}}", "labels");
    refuses("{\"labels\":{\"owner\":\"x\"}}", "labels");
    refuses("{\"labels\":{\"caesarion\":\"x\"}}", "labels");
    refuses("{\"labels\":{\"caesarion.io/id\":\"x\"}}", "labels");
    refuses("{\"env\":{\"A=B\":\"x\"}}", "env");
    refuses("{\"env\":{\"\":\"x\"}}", "env");
    refuses("{\"env\":{\"A\":null}}", "env");
}

static char *entries(const char *field, unsigned n)
{
    struct buf b;

    buf_init(&b, MIB(1));
    buf_printf(&b, "{\"%s\":{", field);
    for (unsigned i = 0; i < n; i++)
        buf_printf(&b, "%s\"k%u\":\"v\"", i ? "," : "", i);
    buf_append_str(&b, "}}");
    return buf_take(&b);
}

static char *filled(const char *before, size_t n, const char *after)
{
    char *fill = mem_alloc(n + 1);

    memset(fill, 'x', n);
    fill[n] = 0;
    char *text = mem_printf("%s%s%s", before, fill, after);
    free(fill);
    return text;
}

static void at_limit(char *ok, char *over, const char *field)
{
    struct sandbox_spec spec;
    struct err err = {0};

    if (parse(&spec, ok, &err) < 0)
        fail_msg("at the limit of %s: %s", field, err.text);
    sandbox_spec_done(&spec);
    refuses(over, field);
    free(ok);
    free(over);
}

static void limits_hold_at_n_and_n_plus_1(void **state)
{
    at_limit(filled("{\"name\":\"", 128, "\"}"), filled("{\"name\":\"", 129, "\"}"), "name");
    at_limit(entries("labels", 32), entries("labels", 33), "labels");
    at_limit(filled("{\"labels\":{\"", 63, "\":\"v\"}}"),
             filled("{\"labels\":{\"", 64, "\":\"v\"}}"), "labels");
    at_limit(filled("{\"labels\":{\"k\":\"", 253, "\"}}"),
             filled("{\"labels\":{\"k\":\"", 254, "\"}}"), "labels");
    at_limit(entries("env", 128), entries("env", 129), "env");
    at_limit(filled("{\"env\":{\"k\":\"", 32768, "\"}}"),
             filled("{\"env\":{\"k\":\"", 32769, "\"}}"), "env");
    at_limit(filled("{\"env\":{\"", 256, "\":\"v\"}}"), filled("{\"env\":{\"", 257, "\":\"v\"}}"),
             "env");
    at_limit(mem_dup_str("{\"exec_timeout_s\":86400}"), mem_dup_str("{\"exec_timeout_s\":86401}"),
             "exec_timeout_s");
    at_limit(mem_dup_str("{\"max_lifetime_s\":31536000}"),
             mem_dup_str("{\"max_lifetime_s\":31536001}"), "max_lifetime_s");
}

static void idempotency_keys_are_visible_ascii(void **state)
{
    char *ok = filled("", 255, ""), *over = filled("", 256, "");

    assert_int_equal(idempotency_key_check("a-1", NULL), 0);
    assert_int_equal(idempotency_key_check(ok, NULL), 0);
    assert_int_equal(idempotency_key_check(over, NULL), -ERR_INVALID);
    assert_int_equal(idempotency_key_check("", NULL), -ERR_INVALID);
    assert_int_equal(idempotency_key_check("a b", NULL), -ERR_INVALID);
    assert_int_equal(idempotency_key_check("caf\xc3\xa9", NULL), -ERR_INVALID);
    free(ok);
    free(over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_body_means_defaults),
        cmocka_unit_test(every_field_is_taken),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(limits_hold_at_n_and_n_plus_1),
        cmocka_unit_test(idempotency_keys_are_visible_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
