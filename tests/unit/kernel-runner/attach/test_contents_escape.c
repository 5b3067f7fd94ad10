/* Whatever the pieces are asked for in, the answer is the same JSON. */
#include "kernel-runner/attach/contents_escape.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

static void check(const struct buf *text, size_t step)
{
    struct contents_escape e;
    struct buf head, copy, all;
    struct err err;
    _cleanup_(json_decrefp) json_t *json = NULL;
    buf_init(&head, KIB(1));
    buf_init(&copy, MIB(1));
    buf_init(&all, MIB(8));
    buf_append_str(&head, "{\"name\":\"f\",\"content\":");
    buf_append_slice(&copy, buf_slice(text));
    contents_escape_init(&e, &head, &copy);
    assert_null(head.ptr);
    assert_null(copy.ptr);
    _cleanup_(freep) char *out = mem_alloc(step);
    for (size_t n; (n = contents_escape_pull(&e, out, step));)
        buf_append(&all, out, n);
    contents_escape_done(&e);
    if (jsonx_parse(&json, buf_slice(&all), &err) < 0)
        fail_msg("%s", err.text);
    const json_t *content = json_object_get(json, "content");
    assert_int_equal(json_string_length(content), text->len);
    if (text->len)
        assert_memory_equal(json_string_value(content), text->ptr, text->len);
    buf_done(&all);
}

static void pieces_give_the_whole(void **state)
{
    struct buf text;
    buf_init(&text, MIB(1));
    for (unsigned i = 0; text.len < KIB(40); i++) {
        buf_append_str(&text, "\x01\xc3\xa9\n\xe2\x82\xac\"\xf0\x9f\x98\x80\\");
        if (i % 3 == 0)
            buf_append_char(&text, 'a');
    }
    static const size_t steps[] = {1, 7, 4096, 65536};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        check(&text, steps[i]);
    buf_done(&text);
}

static void an_empty_text_is_one(void **state)
{
    struct buf text;
    buf_init(&text, 1);
    check(&text, 3);
}

static void one_that_is_zero_is_done(void **state)
{
    struct contents_escape e = {0};
    contents_escape_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_give_the_whole),
        cmocka_unit_test(an_empty_text_is_one),
        cmocka_unit_test(one_that_is_zero_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
