/* Messages, fragments, control frames, closing, and the owner's freedom to free at any time. */
#include "tests/unit/lib/ws/ws_fixture.h"

/* ---- messages ---- */
static void text_and_binary(void **state)
{
    peer_frame(FIN | TEXT, "h\xC3\xA9llo");
    assert_true(run_to_count(&fx.a.messages, 1));
    expect_message(&fx.a, WS_TEXT, "h\xC3\xA9llo", 6);
    peer_frame_n(FIN | BINARY, "\0\xFF\0", 3);
    assert_true(run_to_count(&fx.a.messages, 2));
    expect_message(&fx.a, WS_BINARY, "\0\xFF\0", 3);
    peer_frame(FIN | TEXT, "");
    assert_true(run_to_count(&fx.a.messages, 3));
    expect_message(&fx.a, WS_TEXT, "", 0);
    side_send(&fx.a, WS_TEXT, "answer");
    expect_frame(FIN | TEXT, "answer");
    side_send(&fx.a, WS_BINARY, "");
    expect_frame(FIN | BINARY, "");
}

static void parts_are_joined(void **state)
{
    static char big[70000];
    memset(big, 'x', sizeof(big));
    const struct slice parts[] = {{"ab", 2}, {NULL, 0}, {"c", 1}, {big, sizeof(big)}, {"", 0}};
    ws_conn_send(fx.a.conn, WS_BINARY, parts, ARRAY_LEN(parts));
    ws_conn_send(fx.a.conn, WS_TEXT, NULL, 0);
    const struct slice none[] = {{NULL, 0}, {NULL, 0}};
    ws_conn_send(fx.a.conn, WS_TEXT, none, 2);
    struct frame f;
    assert_true(run_until(5000, got_frame, &f));
    assert_int_equal(f.data.len, 3 + sizeof(big));
    assert_memory_equal(f.data.ptr, "abcxxx", 6);
    buf_done(&f.data);
    expect_frame(FIN | TEXT, "");
    expect_frame(FIN | TEXT, "");
}

static void both_roles_talk(void **state)
{
    side_send(&fx.b, WS_TEXT, "to the server");
    side_send(&fx.a, WS_BINARY, "to the client");
    assert_true(run_to_count(&fx.a.messages, 1));
    assert_true(run_to_count(&fx.b.messages, 1));
    expect_message(&fx.a, WS_TEXT, "to the server", 13);
    expect_message(&fx.b, WS_BINARY, "to the client", 13);
    ws_conn_ping(fx.b.conn, slice_str("beat"));
    assert_true(run_to_count(&fx.b.pongs, 1));
    assert_memory_equal(fx.b.pong.ptr, "beat", 4);
    ws_conn_close(fx.b.conn, WS_CLOSE_GOING_AWAY, "bye");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_true(run_until(1000, is_closed, &fx.b));
    assert_int_equal(fx.a.code, WS_CLOSE_GOING_AWAY);
    assert_string_equal(fx.a.reason, "bye");
    assert_int_equal(fx.b.code, WS_CLOSE_GOING_AWAY);
}

int main(void)
{
#define S(fn) cmocka_unit_test_setup_teardown(fn, setup_server, teardown)
#define C(fn) cmocka_unit_test_setup_teardown(fn, setup_client, teardown)
#define B(fn) cmocka_unit_test_setup_teardown(fn, setup_both, teardown)
    const struct CMUnitTest tests[] = {
        S(text_and_binary),
        S(parts_are_joined),
        B(both_roles_talk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
