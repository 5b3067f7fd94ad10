#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controller/exec/stream_tail.h"
#include "lib/base/mem.h"

#define Q(n)    "{\"seq\":" #n ",\"type\":\"output\",\"output\":{}}\n"
#define DONE(n) "{\"seq\":" #n ",\"type\":\"done\",\"status\":\"ok\"}\n"
#define LOST(n)                                                                                    \
    "{\"seq\":" #n ",\"type\":\"done\",\"status\":\"sandbox_lost\",\"execution_count\":null,"      \
    "\"duration_ms\":null,\"generation\":null,\"truncated_bytes\":0,"                              \
    "\"error\":{\"ename\":\"SandboxLost\",\"evalue\":\"gone \\\"now\\\"\"},"                       \
    "\"user_expressions\":{}}\n"
#define S(n, line) "id: " #n "\ndata: " line "\n"

/* Pushes `in` in pieces of `step`, pulling in between, breaks it, and returns what came out. */
static char *run(enum stream_format format, uint64_t last, const char *in, size_t step, bool cut)
{
    struct stream_tail t;
    struct buf out;
    char piece[1000];
    stream_tail_init(&t, format, last);
    buf_init(&out, MIB(1));
    for (size_t len = strlen(in), at = 0; at < len; at += step) {
        assert_true(stream_tail_push(&t, in + at, MIN(step, len - at)));
        for (size_t n; (n = stream_tail_pull(&t, piece, sizeof(piece))) > 0;)
            buf_append(&out, piece, n);
    }
    if (cut && format != STREAM_RAW && !t.done)
        stream_tail_lose(&t, "gone \"now\"");
    stream_tail_end(&t);
    for (size_t n; (n = stream_tail_pull(&t, piece, sizeof(piece))) > 0;)
        buf_append(&out, piece, n);
    stream_tail_done(&t);
    return buf_take(&out);
}

static void broken_streams_end_with_one_done(void **state)
{
    static const struct {
        const char *name;
        enum stream_format format;
        uint64_t last;
        const char *in, *want;
    } cases[] = {
        {"nothing came", STREAM_NDJSON, 0, "", LOST(1)},
        {"nothing came after a resume", STREAM_NDJSON, 41, "", LOST(42)},
        {"whole lines", STREAM_NDJSON, 0, Q(1) Q(2), Q(1) Q(2) LOST(3)},
        {"half a line", STREAM_NDJSON, 0, Q(1) "{\"seq\":2,\"ty", Q(1) LOST(2)},
        {"keep-alives", STREAM_NDJSON, 0, Q(1) "\n\n", Q(1) "\n\n" LOST(2)},
        {"it had its end", STREAM_NDJSON, 0, Q(1) DONE(2), Q(1) DONE(2)},
        {"half its end", STREAM_NDJSON, 0, Q(1) "{\"seq\":2,\"type\":\"done\",", Q(1) LOST(2)},
        {"done in the text of an output", STREAM_NDJSON, 0,
         "{\"seq\":1,\"type\":\"output\",\"t\":\"\\\"type\\\":\\\"done\\\"\"}\n",
         "{\"seq\":1,\"type\":\"output\",\"t\":\"\\\"type\\\":\\\"done\\\"\"}\n" LOST(2)},
        {"large seq", STREAM_NDJSON, 0, "{\"seq\":123456789012,\"type\":\"x\"}\n",
         "{\"seq\":123456789012,\"type\":\"x\"}\n" LOST(123456789013)},
        {"SSE, nothing", STREAM_SSE, 6, "", S(7, LOST(7))},
        {"SSE, whole events", STREAM_SSE, 0, S(1, Q(1)) S(2, Q(2)),
         S(1, Q(1)) S(2, Q(2)) S(3, LOST(3))},
        {"SSE, event without its empty line", STREAM_SSE, 0, S(1, Q(1)) "id: 2\ndata: " Q(2),
         S(1, Q(1)) S(2, LOST(2))},
        {"SSE, comments", STREAM_SSE, 0, S(1, Q(1)) ": still here\n\n: x\n",
         S(1, Q(1)) ": still here\n\n: x\n" S(2, LOST(2))},
        {"SSE, it had its end", STREAM_SSE, 0, S(1, Q(1)) S(2, DONE(2)), S(1, Q(1)) S(2, DONE(2))},
        {"raw", STREAM_RAW, 0, "abc\nde", "abc\nde"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t step = 1; step < 40; step++) {
            _cleanup_(freep) char *got =
                run(cases[i].format, cases[i].last, cases[i].in, step, true);
            if (strcmp(got, cases[i].want) != 0)
                fail_msg("%s, step %zu: %s", cases[i].name, step, got);
        }
}

static void fill(struct stream_tail *t, size_t len)
{
    char block[1024];
    memset(block, 'x', sizeof(block));
    for (; len; len -= MIN(len, sizeof(block)))
        assert_true(stream_tail_push(t, block, MIN(len, sizeof(block))));
}

/* All that came of `in` when it broke after `at` bytes and went on behind the last whole event. */
static void resumed(struct buf *out, enum stream_format format, const char *in, size_t at,
                    size_t pull)
{
    static char piece[KIB(512)];
    struct stream_tail t;
    size_t len = strlen(in);
    stream_tail_init(&t, format, 0);
    for (size_t from = 0, to = at;;) {
        for (size_t n, i = from; i < to; i += n) {
            n = MIN(to - i, (size_t)7000);
            assert_true(stream_tail_push(&t, in + i, n));
            for (size_t got; (got = stream_tail_pull(&t, piece, pull)) > 0;)
                buf_append(out, piece, got);
        }
        if (to == len)
            break;
        stream_tail_resume(&t);
        stream_tail_resume(&t); /* nothing came of an attempt */
        from = 0;
        for (uint64_t seen = 0; seen < t.last_seq; seen++) {
            const char *end = strstr(in + from, format == STREAM_SSE ? "}\n\n" : "}\n");
            from = (size_t)(end - in) + (format == STREAM_SSE ? 3 : 2);
        }
        to = len;
    }
    assert_true(t.done);
    stream_tail_end(&t);
    for (size_t got; (got = stream_tail_pull(&t, piece, pull)) > 0;)
        buf_append(out, piece, got);
    stream_tail_done(&t);
}

static void a_stream_that_broke_anywhere_goes_on_where_it_was(void **state)
{
    static const char *const ins[][2] = {{Q(1) Q(2) DONE(3), NULL},
                                         {NULL, S(1, Q(1)) S(2, Q(2)) S(3, DONE(3))}};
    for (int i = 0; i < 2; i++) {
        enum stream_format format = i ? STREAM_SSE : STREAM_NDJSON;
        const char *in = ins[i][i];
        for (size_t at = 0; at <= strlen(in); at++) {
            struct buf out;
            buf_init(&out, MIB(1));
            resumed(&out, format, in, at, 1000);
            buf_append_char(&out, '\0');
            if (strcmp(out.ptr, in) != 0)
                fail_msg("broken at %zu: %s", at, out.ptr);
            buf_done(&out);
        }
    }
}

static void an_event_in_parts_goes_on_where_it_was(void **state)
{
    for (int format = STREAM_NDJSON; format <= STREAM_SSE; format++) {
        struct buf in;
        buf_init(&in, MIB(2));
        buf_printf(&in, "%s{\"seq\":1,\"type\":\"output\",\"x\":\"",
                   format == STREAM_SSE ? "id: 1\ndata: " : "");
        for (size_t i = 0; i < KIB(600); i++)
            buf_append_char(&in, (char)('a' + i % 23));
        buf_printf(&in, "\"}\n%s" DONE(2) "%s", format == STREAM_SSE ? "\nid: 2\ndata: " : "",
                   format == STREAM_SSE ? "\n" : "");
        for (size_t at = 1; at < in.len; at += 49999) {
            struct buf out;
            buf_init(&out, MIB(2));
            resumed(&out, (enum stream_format)format, in.ptr, at, KIB(512));
            assert_int_equal(out.len, in.len);
            assert_memory_equal(out.ptr, in.ptr, in.len);
            buf_done(&out);
        }
        buf_done(&in);
    }
}

static void events_come_one_at_a_time(void **state)
{
    struct stream_tail t;
    struct stream_event e;
    stream_tail_init(&t, STREAM_NDJSON, 0);
    assert_false(stream_tail_event(&t, &e));
    assert_true(stream_tail_push(&t, "\n" Q(1) "\n\n" DONE(2) "{\"se",
                                 strlen("\n" Q(1) "\n\n" DONE(2) "{\"se")));
    assert_true(stream_tail_event(&t, &e));
    assert_true(stream_tail_event(&t, &e)); /* the same again until it was taken */
    assert_int_equal(e.seq, 1);
    assert_true(slice_eq_str(e.bytes, Q(1)));
    assert_true(e.first && e.last);
    stream_tail_took(&t, &e);
    assert_true(stream_tail_event(&t, &e));
    assert_int_equal(e.seq, 2);
    assert_true(slice_eq_str(e.bytes, DONE(2)));
    stream_tail_took(&t, &e);
    assert_false(stream_tail_event(&t, &e));
    stream_tail_done(&t);
}

static void a_long_event_comes_in_parts(void **state)
{
    struct stream_tail t;
    struct stream_event e;
    size_t total = 0;
    stream_tail_init(&t, STREAM_NDJSON, 0);
    assert_true(stream_tail_push(&t, "{\"seq\":7,", 9));
    fill(&t, STREAM_TAIL_HOLD_MAX);
    assert_true(stream_tail_event(&t, &e));
    assert_true(e.seq == 7 && e.first && !e.last);
    total += e.bytes.len;
    stream_tail_took(&t, &e);
    assert_false(stream_tail_event(&t, &e));
    assert_true(stream_tail_push(&t, "}\n" Q(8), 2 + strlen(Q(8))));
    assert_true(stream_tail_event(&t, &e));
    assert_true(e.seq == 7 && !e.first && e.last);
    total += e.bytes.len;
    assert_int_equal(total, 9 + STREAM_TAIL_HOLD_MAX + 2);
    stream_tail_took(&t, &e);
    assert_true(stream_tail_event(&t, &e));
    assert_true(e.seq == 8 && e.first && e.last);
    stream_tail_done(&t);
}

static void a_stream_that_ends_well_is_unchanged(void **state)
{
    static const char *const ins[] = {"", Q(1) DONE(2), Q(1) "{\"seq\":2", ": c\n\n" S(1, Q(1))};
    for (size_t i = 0; i < ARRAY_LEN(ins); i++)
        for (int format = STREAM_RAW; format <= STREAM_SSE; format++) {
            _cleanup_(freep) char *got = run((enum stream_format)format, 0, ins[i], 3, false);
            assert_string_equal(got, ins[i]);
        }
}

static void half_an_event_is_held_back(void **state)
{
    struct stream_tail t;
    char out[200];
    stream_tail_init(&t, STREAM_NDJSON, 0);
    assert_true(stream_tail_push(&t, Q(1) "{\"seq\":2", strlen(Q(1)) + 8));
    assert_int_equal(stream_tail_pull(&t, out, sizeof(out)), strlen(Q(1)));
    assert_int_equal(stream_tail_pull(&t, out, sizeof(out)), 0);
    assert_true(stream_tail_wants_more(&t));
    assert_true(stream_tail_push(&t, "}\n", 2));
    assert_int_equal(stream_tail_pull(&t, out, 4), 4);
    assert_int_equal(t.last_seq, 2);
    stream_tail_done(&t);
}

static void an_event_at_the_ceiling_is_held_and_a_longer_one_passes(void **state)
{
    struct stream_tail t;
    char *out = mem_alloc(STREAM_TAIL_MAX + KIB(64));
    stream_tail_init(&t, STREAM_NDJSON, 0);
    assert_true(stream_tail_push(&t, "{\"seq\":1,", 9));
    fill(&t, STREAM_TAIL_HOLD_MAX - 9);
    assert_int_equal(stream_tail_pull(&t, out, STREAM_TAIL_MAX), 0);
    fill(&t, 1);
    assert_int_equal(stream_tail_pull(&t, out, STREAM_TAIL_MAX), STREAM_TAIL_HOLD_MAX + 1);
    fill(&t, 5);
    assert_int_equal(stream_tail_pull(&t, out, STREAM_TAIL_MAX), 5);
    /* Its end is noticed all the same. */
    assert_true(stream_tail_push(&t, "}\n{\"seq\":2", 10));
    assert_int_equal(t.last_seq, 1);
    assert_int_equal(stream_tail_pull(&t, out, STREAM_TAIL_MAX), 2);
    stream_tail_done(&t);

    /* Broken inside: the line is ended, then comes the terminal event. */
    stream_tail_init(&t, STREAM_NDJSON, 3);
    fill(&t, STREAM_TAIL_HOLD_MAX + 1);
    stream_tail_lose(&t, "gone \"now\"");
    size_t n = stream_tail_pull(&t, out, STREAM_TAIL_MAX + KIB(64));
    assert_true(n > STREAM_TAIL_HOLD_MAX + 2);
    out[n] = '\0';
    assert_string_equal(out + STREAM_TAIL_HOLD_MAX + 1, "\n" LOST(4));
    stream_tail_done(&t);
    free(out);
}

static void a_full_buffer_takes_no_more_and_has_ready_bytes(void **state)
{
    for (int format = STREAM_RAW; format <= STREAM_SSE; format++) {
        struct stream_tail t;
        char out[KIB(4)];
        stream_tail_init(&t, (enum stream_format)format, 0);
        fill(&t, STREAM_TAIL_MAX);
        assert_false(stream_tail_push(&t, "x", 1));
        assert_false(stream_tail_wants_more(&t));
        assert_int_equal(stream_tail_pull(&t, out, sizeof(out)), sizeof(out));
        assert_true(stream_tail_push(&t, out, sizeof(out)));
        stream_tail_done(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_streams_end_with_one_done),
        cmocka_unit_test(a_stream_that_broke_anywhere_goes_on_where_it_was),
        cmocka_unit_test(an_event_in_parts_goes_on_where_it_was),
        cmocka_unit_test(events_come_one_at_a_time),
        cmocka_unit_test(a_long_event_comes_in_parts),
        cmocka_unit_test(a_stream_that_ends_well_is_unchanged),
        cmocka_unit_test(half_an_event_is_held_back),
        cmocka_unit_test(an_event_at_the_ceiling_is_held_and_a_longer_one_passes),
        cmocka_unit_test(a_full_buffer_takes_no_more_and_has_ready_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
