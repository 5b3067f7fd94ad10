/* Long stream messages in pieces: limits, escapes, surrogate pairs, ids. */
#include "kernel-runner/attach/hub_say.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

#define PIECES_MAX 64

struct pieces {
    char *v1[PIECES_MAX];
    size_t len[PIECES_MAX];
    size_t n;
};

static void put(void *ctx, char *v1_take, size_t len)
{
    struct pieces *p = ctx;
    assert_true(p->n < PIECES_MAX);
    p->v1[p->n] = v1_take;
    p->len[p->n++] = len;
}

static void pieces_done(struct pieces *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v1[i]);
    p->n = 0;
}

static struct jp_msg stream(const char *content)
{
    struct jp_msg msg = {.channel = JP_IOPUB, .kind = JP_STREAM, .msg_id = "id"};
    msg.header = slice_str("{\"msg_type\":\"stream\",\"msg_id\":\"id\",\"session\":\"s\"}");
    msg.parent = slice_str("{\"msg_id\":\"parent\"}");
    msg.metadata = slice_str("{}");
    msg.content = slice_str(content);
    return msg;
}

/* `text`: as JSON has it, without its quotes. */
static char *content_of(const char *text)
{
    return mem_printf("{\"name\":\"stdout\",\"text\":\"%s\"}", text);
}

/* Each piece is a whole message, its text at most max; together they are the text. */
static void check(const struct pieces *p, const char *text, size_t max)
{
    struct buf all;
    buf_init(&all, MIB(1));
    for (size_t i = 0; i < p->n; i++) {
        struct jp_ws_msg msg;
        char id[64], expected[64];
        assert_int_equal(jp_ws_v1_decode(&msg, slice_make(p->v1[i], p->len[i]), NULL), 0);
        assert_int_equal(msg.channel, JP_IOPUB);
        assert_true(slice_eq_str(msg.frames[JP_PARENT], "{\"msg_id\":\"parent\"}"));
        assert_true(jsonx_valid(msg.frames[JP_CONTENT]) && jsonx_valid(msg.frames[JP_HEADER]));
        assert_true(slice_eq_str(jsonx_find(msg.frames[JP_CONTENT], "name"), "\"stdout\""));
        struct slice part = jsonx_find(msg.frames[JP_CONTENT], "text");
        assert_true(part.len > 2 && part.len - 2 <= max);
        buf_append(&all, part.ptr + 1, part.len - 2);
        jsonx_decode(jsonx_find(msg.frames[JP_HEADER], "msg_id"), id, sizeof(id));
        snprintf(expected, sizeof(expected), i ? "id-%zu" : "id", i);
        assert_string_equal(id, expected);
        assert_true(slice_eq_str(jsonx_find(msg.frames[JP_HEADER], "session"), "\"s\""));
    }
    assert_int_equal(all.len, strlen(text));
    assert_memory_equal(all.ptr, text, all.len);
    buf_done(&all);
}

static size_t split(const char *text, size_t max)
{
    struct pieces p = {.n = 0};
    _cleanup_(freep) char *content = content_of(text);
    struct jp_msg msg = stream(content);
    bool was = hub_split_stream(&msg, max, put, &p);
    size_t n = p.n;
    assert_int_equal(was, n > 0);
    if (was)
        check(&p, text, max);
    pieces_done(&p);
    return n;
}

static char *repeat(const char *unit, size_t times)
{
    size_t len = strlen(unit);
    char *s = mem_alloc(len * times + 1);
    for (size_t i = 0; i < times; i++)
        memcpy(s + i * len, unit, len);
    s[len * times] = '\0';
    return s;
}

/* At most max bytes with the quotes are one message; one more is two. */
static void at_the_limit_and_above(void **state)
{
    static const size_t max = 1000;
    _cleanup_(freep) char *fits = repeat("x", max - 2), *more = repeat("x", max - 1);
    _cleanup_(freep) char *two = repeat("x", 2 * max), *three = repeat("x", 2 * max + 1);
    assert_int_equal(split(fits, max), 0);
    assert_int_equal(split(more, max), 1);
    assert_int_equal(split(two, max), 2);
    assert_int_equal(split(three, max), 3);
}

/* Whatever the place of the cut is. */
static void nothing_is_cut_in_two(void **state)
{
    static const char *const units[] = {"\\n",
                                        "\\\\",
                                        "\\\"",
                                        "\\u0000",
                                        "\\ud83d\\ude00",
                                        "\xC3\xA9",
                                        "\xF0\x9F\x98\x80",
                                        "\\ud800xxxx\\n"};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        for (size_t max = 40; max < 60; max++) {
            _cleanup_(freep) char *text = repeat(units[i], 100);
            assert_true(split(text, max) > 1);
        }
}

static void what_is_no_long_stream_is_left_alone(void **state)
{
    static const char *const contents[] = {
        "{\"name\":\"stdout\",\"text\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "{\"name\":\"stdout\",\"text\":[\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]}",
        "{\"name\":\"stdout-and-then-some-more-of-it-and-more\",\"text\":\"x\"}",
        "[\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]"};
    struct pieces p = {.n = 0};
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        struct jp_msg msg = stream(contents[i]);
        assert_false(hub_split_stream(&msg, 20, put, &p));
    }
    _cleanup_(freep) char *text = repeat("x", 100);
    _cleanup_(freep) char *content = content_of(text);
    struct jp_msg msg = stream(content);
    msg.kind = JP_DISPLAY_DATA;
    assert_false(hub_split_stream(&msg, 20, put, &p));
    assert_int_equal(p.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_the_limit_and_above),
        cmocka_unit_test(nothing_is_cut_in_two),
        cmocka_unit_test(what_is_no_long_stream_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
