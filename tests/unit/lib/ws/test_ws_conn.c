/* Messages, control frames, closing, back-pressure, and the owner's freedom to free at any time. */
#include "tests/unit/lib/ws/ws_fixture.h"

#include "lib/base/clk.h"
#include "lib/ws/ws_internal.h"

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

static bool has_received(void *ctx)
{
    return fx.peer.received >= *(size_t *)ctx;
}

static void server_does_not_mask(void **state)
{
    struct frame f = {0};
    side_send(&fx.a, WS_TEXT, "x");
    assert_true(run_until(1000, got_frame, &f));
    assert_false(f.masked);
    buf_done(&f.data);
}

static void client_masks_with_new_keys(void **state)
{
    char keys[2][4];
    for (int i = 0; i < 2; i++) {
        struct frame f = {0};
        size_t before = fx.peer.received, want = before + 2 + 4 + 5;
        side_send(&fx.a, WS_TEXT, "hello");
        assert_true(run_until(1000, has_received, &want));
        memcpy(keys[i], fx.peer.in.ptr + 2, 4);
        assert_true(take_frame(&f));
        assert_true(f.masked);
        assert_memory_equal(f.data.ptr, "hello", 5);
        buf_done(&f.data);
    }
    assert_memory_not_equal(keys[0], keys[1], 4);
}

static unsigned sends;
static ssize_t (*real_send)(void *ctx, const void *data, size_t len);

static ssize_t counted_send(void *ctx, const void *data, size_t len)
{
    sends++;
    return real_send(ctx, data, len);
}

static void frames_of_a_turn_leave_together(void **state)
{
    sends = 0;
    real_send = fx.a.conn->cfg.io.send;
    fx.a.conn->cfg.io.send = counted_send;
    for (int i = 0; i < 100; i++)
        side_send(&fx.a, WS_TEXT, "a small message");
    ws_conn_ping(fx.a.conn, slice_str("p"));
    assert_int_equal(sends, 0);
    for (int i = 0; i < 100; i++)
        expect_frame(FIN | TEXT, "a small message");
    expect_frame(FIN | PING, "p");
    assert_int_equal(sends, 1);
}

static void large_messages_both_ways(void **state)
{
    size_t len = MESSAGE_MAX;
    _cleanup_(freep) char *data = mem_alloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + i % 26);
    const struct slice part = {data, len};
    for (int i = 0; i < 200; i++) {
        ws_conn_send(fx.a.conn, WS_TEXT, &part, 1);
        ws_conn_send(fx.b.conn, WS_TEXT, &part, 1);
    }
    assert_true(run_to_count(&fx.a.messages, 200));
    assert_true(run_to_count(&fx.b.messages, 200));
    assert_int_equal(fx.a.bytes, 200 * len);
    assert_memory_equal(fx.a.last.ptr, data, len);
    assert_memory_equal(fx.b.last.ptr, data, len);
}

static void idle_connection_keeps_no_buffers(void **state)
{
    for (int i = 0; i < 20; i++) {
        _cleanup_(freep) char *data = mem_zero(1, MESSAGE_MAX);
        const struct slice part = {data, MESSAGE_MAX};
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
        ws_conn_send(fx.b.conn, WS_BINARY, &part, 1);
    }
    assert_true(run_to_count(&fx.a.messages, 20) && run_to_count(&fx.b.messages, 20));
    assert_true(run_to_count(&fx.a.drains, 1) && run_to_count(&fx.b.drains, 1));
    assert_null(fx.a.conn->out.ptr);
    assert_null(fx.a.conn->message.ptr);
    assert_null(fx.a.conn->early.ptr);
    assert_null(fx.b.conn->out.ptr);
    assert_true(sizeof(struct ws_conn) < KIB(2));
}

/* ---- early bytes ---- */
static void reopen_early(const struct buf *early)
{
    int fd = fx.a.fd;
    fx.a.fd = -1;
    side_done(&fx.a);
    side_open_early(&fx.a, fd, WS_SERVER, buf_slice(early));
}

static void early_bytes_come_first(void **state)
{
    struct buf early;
    buf_init(&early, KIB(128));
    static char big[40000];
    memset(big, 'b', sizeof(big));
    put_frame(&early, FIN | BINARY, true, big, sizeof(big));
    put_frame(&early, FIN | TEXT, true, "one", 3);
    put_frame(&early, FIN | TEXT, true, "two", 3);
    early.len -= 2; /* the rest comes by the socket */
    reopen_early(&early);
    assert_int_equal(fx.a.messages, 0);
    assert_true(run_to_count(&fx.a.messages, 2));
    expect_message(&fx.a, WS_TEXT, "one", 3);
    peer_bytes(early.ptr + early.len, 2);
    assert_true(run_to_count(&fx.a.messages, 3));
    expect_message(&fx.a, WS_TEXT, "two", 3);
    assert_null(fx.a.conn->early.ptr);
    buf_done(&early);
}

static void early_close(void **state)
{
    struct buf early;
    buf_init(&early, KIB(1));
    put_frame(&early, FIN | CLOSE, true, "\x03\xE8", 2);
    reopen_early(&early);
    expect_close(WS_CLOSE_NORMAL);
    assert_true(run_until(1000, is_closed, &fx.a));
    buf_done(&early);
}

static void free_before_the_first_turn(void **state)
{
    struct buf early;
    buf_init(&early, KIB(1));
    put_frame(&early, FIN | TEXT, true, "x", 1);
    reopen_early(&early);
    side_send(&fx.a, WS_TEXT, "never sent");
    side_free(&fx.a);
    assert_true(run_until(1000, is_peer_eof, NULL));
    assert_int_equal(fx.peer.received, 0);
    assert_int_equal(fx.a.messages, 0);
    buf_done(&early);
}

/* ---- pings ---- */
static void pings_are_answered_in_order(void **state)
{
    char text[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        peer_frame(FIN | PING, text);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        expect_frame(FIN | PONG, text);
    }
}

static void ping_inside_a_message(void **state)
{
    peer_frame(BINARY, "a");
    peer_frame(FIN | PING, "1");
    peer_frame(FIN | PONG, "unasked");
    peer_frame(CONT, "b");
    peer_frame(FIN | PING, "");
    peer_frame(FIN | CONT, "c");
    expect_frame(FIN | PONG, "1");
    expect_frame(FIN | PONG, "");
    assert_true(run_to_count(&fx.a.messages, 1));
    expect_message(&fx.a, WS_BINARY, "abc", 3);
    assert_int_equal(fx.a.pongs, 1);
}

static void ping_flood_of_a_peer_that_does_not_read(void **state)
{
    static char payload[125];
    peer_read(false);
    for (int i = 0; i < 40000; i++) {
        snprintf(payload, sizeof(payload), "%d", i);
        peer_frame_n(FIN | PING, payload, sizeof(payload));
    }
    assert_true(run_until(20000, is_peer_sent, NULL));
    peer_frame(FIN | TEXT, "end");
    assert_true(run_to_count(&fx.a.messages, 1));
    assert_true(fx.a.conn->out.len < WS_SEND_LOW + WS_HEADER_MAX + WS_CONTROL_MAX);
    assert_true(fx.a.conn->out.cap <= 4 * WS_SEND_LOW);
    assert_false(ws_conn_may_send(fx.a.conn));
    /* who reads again gets the newest */
    peer_read(true);
    struct frame f = {0};
    do {
        buf_done(&f.data);
        assert_true(run_until(5000, got_frame, &f));
        assert_int_equal(f.first, FIN | PONG);
    } while (strcmp(f.data.ptr, "39999") != 0);
    buf_done(&f.data);
    assert_false(take_frame(&f));
}

static void pong_payload_reaches_the_owner(void **state)
{
    char data[WS_CONTROL_MAX];
    memset(data, 'x', sizeof(data));
    ws_conn_ping(fx.a.conn, slice_make(data, sizeof(data)));
    expect_frame_n(FIN | PING, data, sizeof(data));
    peer_frame_n(FIN | PONG, data, sizeof(data));
    assert_true(run_to_count(&fx.a.pongs, 1));
    assert_int_equal(fx.a.pong.len, sizeof(data));
}

/* ---- back-pressure ---- */
static void peer_that_does_not_read(void **state)
{
    static char block[KIB(16)];
    const struct slice part = {block, sizeof(block)};
    unsigned sent = 0;
    peer_read(false);
    while (ws_conn_may_send(fx.a.conn)) {
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
        sent++;
    }
    assert_true(fx.a.conn->out.len < WS_SEND_LOW + sizeof(block) + WS_HEADER_MAX);
    assert_false(run_until(50, never, NULL));
    assert_int_equal(fx.a.drains, 0);
    assert_true(fx.a.conn->blocked);
    peer_read(true);
    assert_true(run_to_count(&fx.a.drains, 1));
    assert_true(ws_conn_may_send(fx.a.conn));
    for (unsigned i = 0; i < sent; i++)
        expect_frame_n(FIN | BINARY, block, sizeof(block));
}

static void waiting_at_its_ceiling(void **state)
{
    static char block[KIB(1)];
    const struct slice part = {block, sizeof(block)};
    fx.a.conn->out.max =
        8 * (sizeof(block) + 4) + WS_HEADER_MAX - 4; /* room for the worst header */
    for (int i = 0; i < 8; i++)
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
    assert_true(ws_conn_may_send(fx.a.conn));
    for (int i = 0; i < 8; i++)
        expect_frame_n(FIN | BINARY, block, sizeof(block));
    assert_int_equal(fx.a.closes, 0);
}

static void waiting_over_its_ceiling(void **state)
{
    static char block[KIB(1)];
    const struct slice part = {block, sizeof(block)};
    fx.a.conn->out.max = 8 * (sizeof(block) + 4) + WS_HEADER_MAX - 5;
    for (int i = 0; i < 8; i++)
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
    assert_int_equal(fx.a.closes, 0); /* not inside the call */
    assert_false(ws_conn_may_send(fx.a.conn));
    assert_null(fx.a.conn->out.ptr);
    assert_true(run_until(WS_CLOSE_MS + 1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_ABNORMAL);
}

static void pump(struct side *s)
{
    static char block[KIB(64)];
    const struct slice part = {block, sizeof(block)};
    while (s->drains < 100 && ws_conn_may_send(s->conn))
        ws_conn_send(s->conn, WS_BINARY, &part, 1);
}

static void pumping_from_on_drained(void **state)
{
    fx.a.at_drained = pump;
    pump(&fx.a);
    assert_true(run_to_count(&fx.b.messages, 100));
    assert_true(run_to_count(&fx.a.drains, 100));
}

/* ---- pause ---- */
static void pause_now(struct side *s)
{
    ws_conn_pause(s->conn);
}

static void pause_inside_on_message_is_exact(void **state)
{
    fx.a.at_message = pause_now;
    for (int i = 0; i < 5; i++)
        peer_frame(FIN | TEXT, "x");
    peer_frame(FIN | PING, "p");
    peer_close_frame(WS_CLOSE_NORMAL, "");
    for (unsigned i = 1; i <= 5; i++) {
        assert_true(run_to_count(&fx.a.messages, i));
        assert_false(run_until(20, never, NULL));
        assert_int_equal(fx.a.messages, i);
        ws_conn_resume(fx.a.conn);
    }
    expect_frame(FIN | PONG, "p");
    expect_close(WS_CLOSE_NORMAL);
    assert_true(run_until(1000, is_closed, &fx.a));
}

static void paused_connection_stops_its_peer(void **state)
{
    static char block[KIB(32)];
    ws_conn_pause(fx.a.conn);
    for (int i = 0; i < 100; i++)
        peer_frame_n(FIN | BINARY, block, sizeof(block));
    assert_false(run_until(50, never, NULL));
    assert_int_equal(fx.a.messages, 0);
    assert_true(fx.peer.out.len > 0);
    ws_conn_resume(fx.a.conn);
    ws_conn_resume(fx.a.conn);
    assert_true(run_to_count(&fx.a.messages, 100));
}

static void paused_connection_sees_the_end_when_it_resumes(void **state)
{
    ws_conn_pause(fx.a.conn);
    peer_frame(FIN | TEXT, "last");
    assert_true(run_until(1000, is_peer_sent, NULL));
    peer_close();
    assert_false(run_until(20, never, NULL));
    assert_int_equal(fx.a.closes, 0);
    ws_conn_resume(fx.a.conn);
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.messages, 1);
    assert_int_equal(fx.a.code, WS_CLOSE_ABNORMAL);
}

static void paused_connection_that_cannot_write_is_over(void **state)
{
    ws_conn_pause(fx.a.conn);
    peer_close();
    side_send(&fx.a, WS_TEXT, "to nobody");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_ABNORMAL);
}

static void paused_connection_that_waits_to_write_sees_a_reset(void **state)
{
    static char block[MESSAGE_MAX];
    const struct slice part = {block, sizeof(block)};
    peer_read(false);
    ws_conn_pause(fx.a.conn);
    for (int i = 0; i < 20; i++)
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
    assert_false(run_until(20, never, NULL));
    assert_true(fx.a.conn->blocked);
    peer_close();
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_ABNORMAL);
}

/* ---- a turn's share ---- */
struct share {
    unsigned seen, most, total;
};

static bool count_turns(void *ctx)
{
    struct share *sh = ctx;
    sh->most = MAX(sh->most, fx.a.messages - sh->seen);
    sh->seen = fx.a.messages;
    return fx.a.messages >= sh->total;
}

static void many_small_messages_take_turns(void **state)
{
    struct share sh = {.total = 5000};
    for (unsigned i = 0; i < sh.total; i++)
        peer_frame(FIN | TEXT, "x");
    assert_true(run_until(10000, count_turns, &sh));
    assert_true(sh.most <= 2 * WS_TURN_COUNT); /* readiness and the rest of before may meet */
}

static void large_messages_take_turns(void **state)
{
    static char block[KIB(32)];
    struct share sh = {.total = 300};
    for (unsigned i = 0; i < sh.total; i++)
        peer_frame_n(FIN | BINARY, block, sizeof(block));
    assert_true(run_until(10000, count_turns, &sh));
    assert_true(sh.most <= 2 * (WS_TURN_BYTES / sizeof(block) + 1));
}

/* ---- closing ---- */
static void peer_closes(void **state)
{
    side_send(&fx.a, WS_TEXT, "before");
    peer_close_frame(WS_CLOSE_GOING_AWAY, "r\xC3\xA9"
                                          "ason");
    expect_frame(FIN | TEXT, "before");
    expect_close(WS_CLOSE_GOING_AWAY);
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_GOING_AWAY);
    assert_string_equal(fx.a.reason, "r\xC3\xA9"
                                     "ason");
}

static void peer_closes_without_a_code(void **state)
{
    peer_frame(FIN | CLOSE, "");
    expect_close(0);
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_NONE);
}

static void peer_ends_without_a_close_frame(void **state)
{
    peer_close();
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_ABNORMAL);
    assert_string_equal(fx.a.reason, "");
}

static void close_comes_behind_what_was_sent(void **state)
{
    static char block[MESSAGE_MAX];
    const struct slice part = {block, sizeof(block)};
    for (int i = 0; i < 20; i++)
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, "done");
    ws_conn_close(fx.a.conn, WS_CLOSE_GOING_AWAY, "twice");
    side_send(&fx.a, WS_TEXT, "after");
    ws_conn_ping(fx.a.conn, slice_str("after"));
    assert_false(ws_conn_may_send(fx.a.conn));
    for (int i = 0; i < 20; i++)
        expect_frame_n(FIN | BINARY, block, sizeof(block));
    expect_frame(FIN | CLOSE, "\x03\xE8"
                              "done");
    assert_int_equal(fx.a.closes, 0);
    peer_frame(FIN | TEXT, "dropped");
    peer_frame(TEXT, "drop");
    peer_frame(FIN | PING, "unanswered");
    peer_frame(FIN | CONT, "ped");
    peer_close_frame(WS_CLOSE_GOING_AWAY, "theirs");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_NORMAL); /* ours: we closed first */
    assert_string_equal(fx.a.reason, "done");
    assert_int_equal(fx.a.messages, 0);
    struct frame f;
    assert_false(take_frame(&f));
}

static void close_of_a_peer_that_is_silent(void **state)
{
    int64_t start = clk_mono_ms();
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, NULL);
    assert_true(run_until(WS_CLOSE_MS + 1000, is_closed, &fx.a));
    int64_t ms = clk_mono_ms() - start;
    assert_true(ms >= WS_CLOSE_MS - 10);
    assert_int_equal(fx.a.code, WS_CLOSE_NORMAL);
}

static void close_of_a_peer_that_does_not_read(void **state)
{
    static char block[MESSAGE_MAX];
    const struct slice part = {block, sizeof(block)};
    peer_read(false);
    for (int i = 0; i < 20; i++)
        ws_conn_send(fx.a.conn, WS_BINARY, &part, 1);
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, NULL);
    assert_true(run_until(WS_CLOSE_MS + 1000, is_closed, &fx.a));
    assert_null(fx.a.conn->out.ptr);
}

static void fault_of_a_peer_that_goes_on_sending(void **state)
{
    static char block[MESSAGE_MAX];
    peer_bytes("\x81\x01x", 3);
    for (int i = 0; i < 100; i++)
        peer_bytes(block, sizeof(block));
    expect_close(WS_CLOSE_PROTOCOL);
    assert_true(run_until(1000, is_peer_sent, NULL)); /* it is read, and thrown away */
    assert_int_equal(fx.a.closes, 0);
    assert_true(run_until(WS_CLOSE_MS + 1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_PROTOCOL);
}

static void close_while_paused(void **state)
{
    ws_conn_pause(fx.a.conn);
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, NULL);
    expect_close(WS_CLOSE_NORMAL);
    peer_close_frame(WS_CLOSE_NORMAL, "");
    assert_true(run_until(1000, is_closed, &fx.a));
}

static void close_before_the_first_turn_of_both(void **state)
{
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, "a");
    ws_conn_close(fx.b.conn, WS_CLOSE_GOING_AWAY, "b");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_true(run_until(1000, is_closed, &fx.b));
    assert_int_equal(fx.a.code, WS_CLOSE_NORMAL);
    assert_int_equal(fx.b.code, WS_CLOSE_GOING_AWAY);
}

static void codes_that_may_not_be_sent(void **state)
{
    ws_conn_close(fx.a.conn, WS_CLOSE_ABNORMAL, NULL);
    expect_close(WS_CLOSE_INTERNAL);
}

static void close_without_a_code(void **state)
{
    ws_conn_close(fx.a.conn, WS_CLOSE_NONE, "not sent");
    expect_close(0);
}

static void long_reason_is_cut_between_characters(void **state)
{
    char text[WS_REASON_MAX + 3];
    memset(text, 'x', sizeof(text));
    memcpy(text + WS_REASON_MAX - 1, "\xC3\xA9", 3);
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, text);
    struct frame f;
    assert_true(run_until(1000, got_frame, &f));
    assert_int_equal(f.data.len, 2 + WS_REASON_MAX - 1);
    buf_done(&f.data);
}

/* The peer's last words are read even when ours cannot be written any more. */
static void close_frame_behind_a_broken_pipe(void **state)
{
    peer_frame(FIN | TEXT, "last");
    peer_close_frame(WS_CLOSE_GOING_AWAY, "");
    while (fx.peer.out.len) {
        ssize_t n = send(fx.peer.fd, fx.peer.out.ptr, fx.peer.out.len, MSG_NOSIGNAL);
        assert_true(n > 0);
        buf_consume(&fx.peer.out, (size_t)n);
    }
    peer_close();
    fx.a.conn->again = false; /* the turn writes before it reads */
    side_send(&fx.a, WS_TEXT, "to nobody");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.messages, 1);
    assert_int_equal(fx.a.code, WS_CLOSE_GOING_AWAY);
}

/* ---- the deadline of a message ---- */
static bool waits_for_message(void *ctx)
{
    return fx.a.conn->waiting == WS_WAIT_MESSAGE;
}

static void deadline_only_while_a_message_is_open(void **state)
{
    peer_frame(FIN | TEXT, "whole");
    assert_true(run_to_count(&fx.a.messages, 1));
    assert_int_equal(fx.a.conn->waiting, WS_WAIT_NONE);
    peer_frame(TEXT, "be");
    assert_true(run_until(1000, waits_for_message, NULL));
    assert_true(loop_timer_active(fx.a.conn->timer));
    peer_frame(FIN | CONT, "gun");
    assert_true(run_to_count(&fx.a.messages, 2));
    assert_false(loop_timer_active(fx.a.conn->timer));
    /* the next message's deadline is its own */
    peer_frame(TEXT, "x");
    assert_true(run_until(1000, waits_for_message, NULL));
    loop_timer_start(fx.a.conn->timer, 60000, 0);
    peer_frame(FIN | CONT, "x");
    peer_frame(TEXT, "y");
    assert_true(run_to_count(&fx.a.messages, 3));
    assert_true(run_until(1000, waits_for_message, NULL));
    ws_conn_pause(fx.a.conn);
    assert_false(loop_timer_active(fx.a.conn->timer));
    ws_conn_resume(fx.a.conn);
    assert_true(run_until(1000, waits_for_message, NULL));
}

static void message_that_does_not_end_in_time(void **state)
{
    peer_frame(TEXT, "x");
    assert_true(run_until(1000, waits_for_message, NULL));
    loop_timer_start(fx.a.conn->timer, 0, 0); /* as after WS_MESSAGE_MS */
    expect_close(WS_CLOSE_POLICY);
    peer_close_frame(WS_CLOSE_POLICY, "");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.code, WS_CLOSE_POLICY);
    assert_string_equal(fx.a.reason, "the message did not end in time");
}

/* ---- free at any time ---- */
static unsigned freed;

static void free_now(struct side *s)
{
    freed++;
    side_free(s);
}

static void expect_freed(void)
{
    assert_true(run_until(1000, is_peer_eof, NULL));
    assert_int_equal(freed, 1);
    assert_int_equal(fx.a.closes, fx.a.at_closed ? 1 : 0);
    freed = 0;
}

static void free_inside_on_message(void **state)
{
    fx.a.at_message = free_now;
    for (int i = 0; i < 10; i++)
        peer_frame(FIN | TEXT, "x");
    expect_freed();
    assert_int_equal(fx.a.messages, 1);
}

static void free_inside_on_message_of_fragments(void **state)
{
    fx.a.at_message = free_now;
    peer_frame(BINARY, "a");
    peer_frame(FIN | CONT, "b");
    peer_frame(TEXT, "c");
    expect_freed();
    assert_int_equal(fx.a.messages, 1);
}

static void free_inside_on_pong(void **state)
{
    fx.a.at_pong = free_now;
    peer_frame(FIN | PONG, "");
    peer_frame(FIN | PONG, "");
    expect_freed();
    assert_int_equal(fx.a.pongs, 1);
}

static void free_inside_on_drained(void **state)
{
    fx.a.at_drained = free_now;
    side_send(&fx.a, WS_TEXT, "x");
    expect_freed();
    expect_frame(FIN | TEXT, "x");
}

static void free_inside_on_closed(void **state)
{
    fx.a.at_closed = free_now;
    peer_close_frame(WS_CLOSE_NORMAL, "");
    expect_freed();
    expect_close(WS_CLOSE_NORMAL);
}

static void free_inside_on_closed_of_a_fault(void **state)
{
    fx.a.at_closed = free_now;
    peer_frame(FIN | CONT, "");
    expect_close(WS_CLOSE_PROTOCOL);
    shutdown(fx.peer.fd, SHUT_WR);
    expect_freed();
}

static void free_inside_on_closed_of_the_deadline(void **state)
{
    fx.a.at_closed = free_now;
    ws_conn_close(fx.a.conn, WS_CLOSE_NORMAL, NULL);
    expect_close(WS_CLOSE_NORMAL);
    loop_timer_start(fx.a.conn->timer, 0, 0);
    expect_freed();
}

static void close_now(struct side *s)
{
    ws_conn_close(s->conn, WS_CLOSE_GOING_AWAY, "enough");
    assert_int_equal(s->last.len, 1);
}

static void close_inside_on_message(void **state)
{
    fx.a.at_message = close_now;
    peer_frame(BINARY, "a");
    peer_frame(FIN | CONT, "");
    peer_frame(FIN | TEXT, "c");
    expect_close(WS_CLOSE_GOING_AWAY);
    peer_close_frame(WS_CLOSE_GOING_AWAY, "");
    assert_true(run_until(1000, is_closed, &fx.a));
    assert_int_equal(fx.a.messages, 1);
}

static void echo_back(struct side *s)
{
    struct slice part = buf_slice(&s->last);
    ws_conn_send(s->conn, s->type, &part, 1);
}

static void echo_from_on_message(void **state)
{
    fx.a.at_message = echo_back;
    for (int i = 0; i < 300; i++)
        peer_frame(FIN | TEXT, "echo");
    for (int i = 0; i < 300; i++)
        expect_frame(FIN | TEXT, "echo");
}

static void free_cuts(void **state)
{
    side_send(&fx.a, WS_TEXT, "x");
    side_free(&fx.a);
    assert_true(run_until(1000, is_closed, &fx.b));
    assert_int_equal(fx.b.code, WS_CLOSE_ABNORMAL);
    assert_int_equal(fx.a.closes, 0);
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
        S(server_does_not_mask),
        C(client_masks_with_new_keys),
        S(frames_of_a_turn_leave_together),
        B(large_messages_both_ways),
        B(idle_connection_keeps_no_buffers),
        S(early_bytes_come_first),
        S(early_close),
        S(free_before_the_first_turn),
        S(pings_are_answered_in_order),
        S(ping_inside_a_message),
        S(ping_flood_of_a_peer_that_does_not_read),
        S(pong_payload_reaches_the_owner),
        S(peer_that_does_not_read),
        S(waiting_at_its_ceiling),
        S(waiting_over_its_ceiling),
        B(pumping_from_on_drained),
        S(pause_inside_on_message_is_exact),
        S(paused_connection_stops_its_peer),
        S(paused_connection_sees_the_end_when_it_resumes),
        S(paused_connection_that_cannot_write_is_over),
        S(paused_connection_that_waits_to_write_sees_a_reset),
        S(many_small_messages_take_turns),
        S(large_messages_take_turns),
        S(peer_closes),
        S(peer_closes_without_a_code),
        S(peer_ends_without_a_close_frame),
        S(close_comes_behind_what_was_sent),
        S(close_of_a_peer_that_is_silent),
        S(close_of_a_peer_that_does_not_read),
        S(fault_of_a_peer_that_goes_on_sending),
        S(close_while_paused),
        B(close_before_the_first_turn_of_both),
        S(codes_that_may_not_be_sent),
        S(close_without_a_code),
        S(long_reason_is_cut_between_characters),
        S(close_frame_behind_a_broken_pipe),
        S(deadline_only_while_a_message_is_open),
        S(message_that_does_not_end_in_time),
        S(free_inside_on_message),
        S(free_inside_on_message_of_fragments),
        S(free_inside_on_pong),
        S(free_inside_on_drained),
        S(free_inside_on_closed),
        S(free_inside_on_closed_of_a_fault),
        S(free_inside_on_closed_of_the_deadline),
        S(close_inside_on_message),
        S(echo_from_on_message),
        B(free_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
