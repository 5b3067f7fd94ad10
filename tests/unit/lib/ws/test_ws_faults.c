/* Everything a peer may do wrong, each with the close code it gets, at the limit and above it. */
#include "tests/unit/lib/ws/ws_fixture.h"

/* Our close frame with that code is the peer's next; its own ends the connection. */
static void expect_failure(int code)
{
    assert_int_equal(fx.a.closes, 0);
    expect_close(code);
    peer_close();
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, code);
    assert_int_equal(fx.a.closes, 1);
}

/* A fault that leaves the frames in step is over as soon as the peer has answered our close. */
static void expect_failure_answered(int code)
{
    expect_close(code);
    assert_int_equal(fx.a.closes, 0);
    peer_close_frame(code, "");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, code);
}

/* ---- masks, reserved bits, opcodes ---- */
static void unmasked_frame_to_a_server(void **state)
{
    peer_bytes("\x81\x01x", 3);
    expect_failure(WS_CLOSE_PROTOCOL);
    assert_string_equal(fx.a.reason, "a frame is not masked");
    assert_int_equal(fx.a.messages, 0);
}

static void unmasked_close_to_a_server(void **state)
{
    peer_bytes("\x88\x02\x03\xE8", 4);
    expect_failure(WS_CLOSE_PROTOCOL);
}

static void masked_frame_to_a_client(void **state)
{
    peer_frame(FIN | TEXT, "x");
    expect_failure(WS_CLOSE_PROTOCOL);
    assert_string_equal(fx.a.reason, "a frame is masked");
}

static void reserved_bit(void **state)
{
    int bit = *(int *)*state;
    peer_frame(FIN | bit | TEXT, "x");
    expect_failure(WS_CLOSE_PROTOCOL);
    assert_int_equal(fx.a.messages, 0);
}

static void reserved_opcode(void **state)
{
    peer_frame(FIN | *(int *)*state, "x");
    expect_failure(WS_CLOSE_PROTOCOL);
}

/* ---- control frames ---- */
static void fragmented_ping(void **state)
{
    peer_frame(PING, "x");
    expect_failure(WS_CLOSE_PROTOCOL);
}

static void ping_at_its_limit(void **state)
{
    char data[125];
    memset(data, 'p', sizeof(data));
    peer_frame_n(FIN | PING, data, sizeof(data));
    expect_frame_n(FIN | PONG, data, sizeof(data));
}

static void ping_over_its_limit(void **state)
{
    char data[126];
    memset(data, 'p', sizeof(data));
    peer_frame_n(FIN | PING, data, sizeof(data));
    expect_failure(WS_CLOSE_PROTOCOL);
}

static void length_not_in_its_shortest_form(void **state)
{
    peer_bytes("\x82\xFE\x00\x7D", 4); /* 125 in two bytes */
    expect_failure(WS_CLOSE_PROTOCOL);
}

static void length_above_63_bits(void **state)
{
    peer_bytes("\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10);
    expect_failure(WS_CLOSE_PROTOCOL);
}

/* ---- fragments ---- */
static void continuation_of_nothing(void **state)
{
    peer_frame(FIN | CONT, "x");
    expect_failure(WS_CLOSE_PROTOCOL);
}

static void message_inside_a_message(void **state)
{
    peer_frame(TEXT, "x");
    peer_frame(FIN | TEXT, "y");
    expect_failure(WS_CLOSE_PROTOCOL);
    assert_int_equal(fx.a.messages, 0);
}

static void continuation_after_the_last(void **state)
{
    peer_frame(TEXT, "x");
    peer_frame(FIN | CONT, "y");
    peer_frame(FIN | CONT, "z");
    expect_failure(WS_CLOSE_PROTOCOL);
    assert_int_equal(fx.a.messages, 1);
}

static void fragments(int n, const char *each)
{
    peer_frame(TEXT, each);
    for (int i = 2; i < n; i++)
        peer_frame(CONT, each);
}

static void fragments_at_their_limit(void **state)
{
    fragments(WS_FRAGMENTS_MAX, "x");
    peer_frame(FIN | CONT, "x");
    assert_true(run_to_count(&fx.a.messages, 1));
    assert_int_equal(fx.a.last.len, WS_FRAGMENTS_MAX);
    /* the count begins again */
    fragments(WS_FRAGMENTS_MAX, "y");
    peer_frame(FIN | CONT, "y");
    assert_true(run_to_count(&fx.a.messages, 2));
}

static void fragments_over_their_limit(void **state)
{
    fragments(WS_FRAGMENTS_MAX + 1, "x");
    peer_frame(FIN | CONT, "x");
    expect_failure_answered(WS_CLOSE_POLICY);
    assert_int_equal(fx.a.messages, 0);
}

static void empty_fragments_for_ever(void **state)
{
    fragments(3 * WS_FRAGMENTS_MAX, "");
    expect_failure_answered(WS_CLOSE_POLICY);
}

static void empty_fragments_make_an_empty_message(void **state)
{
    fragments(4, "");
    peer_frame(FIN | CONT, "");
    assert_true(run_to_count(&fx.a.messages, 1));
    expect_message(&fx.a, WS_TEXT, "", 0);
}

/* ---- size ---- */
static void message_at_its_limit(void **state)
{
    _cleanup_(freep) char *data = mem_zero(1, MESSAGE_MAX);
    peer_frame_n(FIN | BINARY, data, MESSAGE_MAX);
    assert_true(run_to_count(&fx.a.messages, 1));
    assert_int_equal(fx.a.last.len, MESSAGE_MAX);
    peer_frame_n(BINARY, data, MESSAGE_MAX - 1);
    peer_frame_n(CONT, "", 0);
    peer_frame_n(FIN | CONT, "x", 1);
    assert_true(run_to_count(&fx.a.messages, 2));
    assert_int_equal(fx.a.last.len, MESSAGE_MAX);
}

static void message_over_its_limit(void **state)
{
    _cleanup_(freep) char *data = mem_zero(1, MESSAGE_MAX + 1);
    peer_frame_n(FIN | BINARY, data, MESSAGE_MAX + 1);
    expect_failure_answered(WS_CLOSE_TOO_BIG);
    assert_int_equal(fx.a.messages, 0);
}

static void fragments_together_over_the_limit(void **state)
{
    _cleanup_(freep) char *data = mem_zero(1, MESSAGE_MAX);
    peer_frame_n(BINARY, data, MESSAGE_MAX);
    peer_frame_n(FIN | CONT, "x", 1);
    expect_failure_answered(WS_CLOSE_TOO_BIG);
    assert_int_equal(fx.a.messages, 0);
}

static void announced_size_is_enough(void **state)
{
    put_header(&fx.peer.out, FIN | BINARY, true, (uint64_t)1 << 62);
    peer_bytes("x", 1);
    expect_failure(WS_CLOSE_TOO_BIG);
}

/* ---- text ---- */
static void text_that_is_not_utf8(void **state)
{
    peer_frame(FIN | TEXT, *(char **)*state);
    expect_failure_answered(WS_CLOSE_INVALID);
    assert_int_equal(fx.a.messages, 0);
}

static void bad_text_in_fragments(void **state)
{
    peer_frame(TEXT, "ok \xE2\x82");
    peer_frame(CONT, "");
    peer_frame(FIN | CONT, "\x28");
    expect_failure_answered(WS_CLOSE_INVALID);
}

static void character_across_fragments(void **state)
{
    peer_frame(TEXT, "\xE2");
    peer_frame(FIN | PING, "between");
    peer_frame(CONT, "\x82");
    peer_frame(FIN | CONT, "\xAC");
    expect_frame(FIN | PONG, "between");
    assert_true(run_to_count(&fx.a.messages, 1));
    expect_message(&fx.a, WS_TEXT, "\xE2\x82\xAC", 3);
}

static void binary_need_not_be_utf8(void **state)
{
    peer_frame(FIN | BINARY, "\xFF\xFE");
    assert_true(run_to_count(&fx.a.messages, 1));
}

/* ---- close frames ---- */
static void close_with_a_code_not_to_be_sent(void **state)
{
    peer_close_frame(*(int *)*state, "");
    expect_close(WS_CLOSE_PROTOCOL);
    /* the peer had its last word: nothing is waited for */
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_PROTOCOL);
}

static void close_with_a_code_of_applications(void **state)
{
    int code = *(int *)*state;
    peer_close_frame(code, "why");
    expect_close(code);
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, code);
    assert_string_equal(fx.a.reason, "why");
}

static void close_with_half_a_code(void **state)
{
    peer_frame_n(FIN | CLOSE, "\x03", 1);
    expect_close(WS_CLOSE_PROTOCOL);
    assert_true(run_until(1000, is_closed, &fx.a));
}

static void close_with_a_bad_reason(void **state)
{
    peer_close_frame(1000, "\xC3");
    expect_close(WS_CLOSE_INVALID);
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_INVALID);
}

static void frames_after_a_close_are_not_read(void **state)
{
    peer_close_frame(1000, "");
    peer_frame(FIN | TEXT, "late");
    expect_close(1000);
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.messages, 0);
}

/* ---- truncated ---- */
static void end_inside_a_frame(void **state)
{
    size_t cut = *(size_t *)*state;
    struct buf b;
    buf_init(&b, KIB(1));
    put_frame(&b, FIN | TEXT, true, "hello", 5);
    assert_true(cut < b.len);
    peer_bytes(b.ptr, cut);
    assert_true(run_until(1000, is_peer_sent, NULL));
    peer_close();
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_ABNORMAL);
    assert_int_equal(fx.a.messages, 0);
    buf_done(&b);
}

static void one_byte_at_a_time(void **state)
{
    struct buf b;
    buf_init(&b, KIB(4));
    put_frame(&b, TEXT, true, "hel", 3);
    put_frame(&b, FIN | PING, true, "p", 1);
    put_frame(&b, FIN | CONT, true, "lo", 2);
    static char big[300];
    memset(big, 'b', sizeof(big));
    put_frame(&b, FIN | BINARY, true, big, sizeof(big));
    for (size_t i = 0; i < b.len; i++) {
        peer_bytes(b.ptr + i, 1);
        assert_true(run_until(1000, is_peer_sent, NULL));
    }
    assert_true(run_to_count(&fx.a.messages, 2));
    expect_message(&fx.a, WS_BINARY, big, sizeof(big));
    expect_frame(FIN | PONG, "p");
    buf_done(&b);
}

int main(void)
{
#define S(fn) cmocka_unit_test_setup_teardown(fn, setup_server, teardown)
#define C(fn) cmocka_unit_test_setup_teardown(fn, setup_client, teardown)
#define P(fn, at)                                                                                  \
    {                                                                                              \
#fn " " #at, fn, setup_server, teardown, at                                                \
    }
    static int rsv1 = 0x40, rsv2 = 0x20, rsv3 = 0x10;
    static int op3 = 3, op7 = 7, op11 = 11, op15 = 15;
    static int c0, c999 = 999, c1004 = 1004, c1005 = 1005, c1006 = 1006, c1015 = 1015, c1016 = 1016,
                   c2999 = 2999, c5000 = 5000, c65535 = 65535;
    static int c1000 = 1000, c1001 = 1001, c1003 = 1003, c1007 = 1007, c1014 = 1014, c3000 = 3000,
               c4999 = 4999;
    static const char *lone = "\x80", *overlong = "\xC0\xAF", *surrogate = "\xED\xA0\x80",
                      *cut_off = "ok \xE2\x82", *beyond = "\xF4\x90\x80\x80";
    static size_t after_1 = 1, after_2 = 2, after_5 = 5, after_8 = 8;
    const struct CMUnitTest tests[] = {
        S(unmasked_frame_to_a_server),
        S(unmasked_close_to_a_server),
        C(masked_frame_to_a_client),
        P(reserved_bit, &rsv1),
        P(reserved_bit, &rsv2),
        P(reserved_bit, &rsv3),
        P(reserved_opcode, &op3),
        P(reserved_opcode, &op7),
        P(reserved_opcode, &op11),
        P(reserved_opcode, &op15),
        S(fragmented_ping),
        S(ping_at_its_limit),
        S(ping_over_its_limit),
        S(length_not_in_its_shortest_form),
        S(length_above_63_bits),
        S(continuation_of_nothing),
        S(message_inside_a_message),
        S(continuation_after_the_last),
        S(fragments_at_their_limit),
        S(fragments_over_their_limit),
        S(empty_fragments_for_ever),
        S(empty_fragments_make_an_empty_message),
        S(message_at_its_limit),
        S(message_over_its_limit),
        S(fragments_together_over_the_limit),
        S(announced_size_is_enough),
        P(text_that_is_not_utf8, &lone),
        P(text_that_is_not_utf8, &overlong),
        P(text_that_is_not_utf8, &surrogate),
        P(text_that_is_not_utf8, &cut_off),
        P(text_that_is_not_utf8, &beyond),
        S(bad_text_in_fragments),
        S(character_across_fragments),
        S(binary_need_not_be_utf8),
        P(close_with_a_code_not_to_be_sent, &c0),
        P(close_with_a_code_not_to_be_sent, &c999),
        P(close_with_a_code_not_to_be_sent, &c1004),
        P(close_with_a_code_not_to_be_sent, &c1005),
        P(close_with_a_code_not_to_be_sent, &c1006),
        P(close_with_a_code_not_to_be_sent, &c1015),
        P(close_with_a_code_not_to_be_sent, &c1016),
        P(close_with_a_code_not_to_be_sent, &c2999),
        P(close_with_a_code_not_to_be_sent, &c5000),
        P(close_with_a_code_not_to_be_sent, &c65535),
        P(close_with_a_code_of_applications, &c1000),
        P(close_with_a_code_of_applications, &c1001),
        P(close_with_a_code_of_applications, &c1003),
        P(close_with_a_code_of_applications, &c1007),
        P(close_with_a_code_of_applications, &c1014),
        P(close_with_a_code_of_applications, &c3000),
        P(close_with_a_code_of_applications, &c4999),
        S(close_with_half_a_code),
        S(close_with_a_bad_reason),
        S(frames_after_a_close_are_not_read),
        P(end_inside_a_frame, &after_1),
        P(end_inside_a_frame, &after_2),
        P(end_inside_a_frame, &after_5),
        P(end_inside_a_frame, &after_8),
        S(one_byte_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
