/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
/* The client against sockets that this test binds as a kernel would, over real ipc. */
#include "lib/jupyter/jp_client.h"

#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include "lib/jupyter/jp_wire.h"
#include "lib/loop/loop.h"

#include <stdio.h>
#include <unistd.h>
#include <zmq.h>

#define KEY "test-key"

struct fixture {
    char dir[32];
    char *prefix;
    struct loop *loop;
    struct jp_context *context;
    struct jp_client *client;
    struct loop_timer *watchdog;
    void *zmq;
    void *sockets[JP_PORT_CONTROL + 1]; /* by port */
    struct crypto_hmac key;
    /* what came */
    size_t n_msgs, stop_after;
    size_t turns, most_in_a_turn, in_turn;
    struct jp_msg last;
    char last_content[64];
    char last_ident[64];
    size_t by_channel[4];
    bool free_client;
    const char *answer_with; /* a message to send from on_msg, once */
    struct loop_defer *turn;
};

static void on_watchdog(void *ctx)
{
    fail_msg("nothing came for 10 seconds");
}

static void on_turn(void *ctx)
{
    struct fixture *f = ctx;
    f->turns++;
    f->most_in_a_turn = MAX(f->most_in_a_turn, f->in_turn);
    f->in_turn = 0;
    loop_defer_post(f->turn);
}

static void on_msg(void *ctx, const struct jp_msg *msg)
{
    struct fixture *f = ctx;
    f->last = *msg;
    f->in_turn++;
    f->by_channel[msg->channel]++;
    snprintf(f->last_content, sizeof(f->last_content), "%.*s", (int)MIN(msg->content.len, 60U),
             msg->content.ptr);
    snprintf(f->last_ident, sizeof(f->last_ident), "%.*s", (int)MIN(msg->ident.len, 60U),
             msg->ident.ptr);
    if (f->answer_with) {
        struct jp_send s = {.channel = JP_SHELL, .msg_type = f->answer_with};
        f->answer_with = NULL;
        assert_int_equal(jp_client_send(f->client, &s, NULL, NULL), 0);
    }
    if (f->free_client) {
        f->client = jp_client_free(f->client);
        /* the message lives until the callback returns */
        assert_true(jsonx_valid(msg->header));
    }
    if (++f->n_msgs == f->stop_after)
        loop_stop(f->loop);
}

static void run_until(struct fixture *f, size_t n_msgs)
{
    f->stop_after = n_msgs;
    loop_timer_start(f->watchdog, 10000, 0);
    loop_run(f->loop);
    loop_timer_stop(f->watchdog);
    assert_int_equal(f->n_msgs, n_msgs);
}

static void bind_kernel(struct fixture *f)
{
    static const int types[] = {[JP_PORT_SHELL] = ZMQ_ROUTER,
                                [JP_PORT_IOPUB] = ZMQ_XPUB,
                                [JP_PORT_STDIN] = ZMQ_ROUTER,
                                [JP_PORT_CONTROL] = ZMQ_ROUTER};
    for (int port = JP_PORT_SHELL; port <= JP_PORT_CONTROL; port++) {
        _cleanup_(freep) char *url = mem_printf("ipc://%s-%d", f->prefix, port);
        int zero = 0;
        f->sockets[port] = zmq_socket(f->zmq, types[port]);
        zmq_setsockopt(f->sockets[port], ZMQ_SNDHWM, &zero, sizeof(zero));
        zmq_setsockopt(f->sockets[port], ZMQ_LINGER, &zero, sizeof(zero));
        assert_int_equal(zmq_bind(f->sockets[port], url), 0);
    }
}

/* Waits for the client's subscription. */
static void await_subscription(struct fixture *f)
{
    char byte;
    assert_int_equal(zmq_recv(f->sockets[JP_PORT_IOPUB], &byte, 1, 0), 1);
    assert_int_equal(byte, 1);
}

static void send_from_kernel(struct fixture *f, int port, const char *first, const char *type,
                             const char *content)
{
    char header[200];
    snprintf(header, sizeof(header), "{\"msg_id\":\"k\",\"msg_type\":\"%s\",\"session\":\"s\"}",
             type);
    const struct slice json[] = {slice_str(header), slice_str("{}"), slice_str("{}"),
                                 slice_str(content)};
    struct slice out[JP_FRAMES_MAX];
    char sig[CRYPTO_HEX_SIZE];
    size_t n = jp_wire_encode(out, sig, &f->key, slice_str(first), json, NULL, 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(
            zmq_send(f->sockets[port], out[i].ptr, out[i].len, i + 1 < n ? ZMQ_SNDMORE : 0),
            out[i].len);
}

static void send_frames_raw(struct fixture *f, int port, size_t n, const char *frame)
{
    for (size_t i = 0; i < n; i++)
        assert_true(zmq_send(f->sockets[port], frame, strlen(frame), i + 1 < n ? ZMQ_SNDMORE : 0) >=
                    0);
}

/* Receives one message at the kernel, checking it; its frames' texts go to `seen`. */
static size_t receive_at_kernel(struct fixture *f, int port, char seen[][300])
{
    static zmq_msg_t msgs[JP_FRAMES_MAX];
    struct slice frames[JP_FRAMES_MAX];
    size_t n = 0;
    int more = 1;
    for (; more; n++) {
        zmq_msg_init(&msgs[n]);
        assert_true(zmq_msg_recv(&msgs[n], f->sockets[port], 0) >= 0);
        frames[n] = slice_make(zmq_msg_data(&msgs[n]), zmq_msg_size(&msgs[n]));
        more = zmq_msg_more(&msgs[n]);
    }
    struct jp_msg m;
    assert_int_equal(jp_wire_decode(&m, frames, n, &f->key), 0);
    for (size_t i = 0; i < n; i++) {
        snprintf(seen[i], 300, "%.*s", (int)frames[i].len, frames[i].ptr);
        zmq_msg_close(&msgs[i]);
    }
    return n;
}

static void start_client(struct fixture *f)
{
    struct jp_client_cfg cfg = {.ipc_prefix = f->prefix, .key = KEY, .on_msg = on_msg, .ctx = f};
    assert_int_equal(jp_client_new(&f->client, f->context, &cfg, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    strcpy(f->dir, "/tmp/jp-client-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->prefix = mem_printf("%s/k", f->dir);
    crypto_hmac_init(&f->key, KEY, strlen(KEY));
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(jp_context_new(&f->context, f->loop, NULL), 0);
    f->watchdog = loop_timer_new(f->loop, on_watchdog, f);
    f->turn = loop_defer_new(f->loop, on_turn, f);
    f->zmq = zmq_ctx_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jp_client_free(f->client);
    for (int port = JP_PORT_SHELL; port <= JP_PORT_CONTROL; port++)
        if (f->sockets[port])
            zmq_close(f->sockets[port]);
    zmq_ctx_term(f->zmq);
    for (int port = JP_PORT_SHELL; port <= JP_PORT_CONTROL; port++) {
        _cleanup_(freep) char *path = mem_printf("%s-%d", f->prefix, port);
        unlink(path); /* libzmq leaves it */
    }
    jp_context_free(f->context);
    loop_timer_free(f->watchdog);
    loop_defer_free(f->turn);
    loop_free(f->loop);
    assert_int_equal(rmdir(f->dir), 0);
    free(f->prefix);
    free(f);
    return 0;
}

static void requests_reach_a_kernel_that_binds_later(void **state)
{
    struct fixture *f = *state;
    start_client(f);
    struct jp_send s = {.channel = JP_SHELL,
                        .msg_type = "execute_request",
                        .content = slice_str("{\"code\":\"1\"}"),
                        .ident = slice_str("tag")};
    char id[JP_ID_SIZE], seen[12][300];
    assert_int_equal(jp_client_send(f->client, &s, id, NULL), 0);
    s.channel = JP_CONTROL;
    s.msg_id = "mine";
    assert_int_equal(jp_client_send(f->client, &s, NULL, NULL), 0);
    bind_kernel(f);
    assert_int_equal(receive_at_kernel(f, JP_PORT_SHELL, seen), 8);
    assert_string_equal(seen[0], jp_client_session(f->client));
    assert_string_equal(seen[1], "tag");
    assert_string_equal(seen[2], "<IDS|MSG>");
    assert_non_null(strstr(seen[4], id));
    assert_non_null(strstr(seen[4], "\"msg_type\":\"execute_request\""));
    assert_string_equal(seen[5], "{}");
    assert_string_equal(seen[6], "{}");
    assert_string_equal(seen[7], "{\"code\":\"1\"}");
    assert_int_equal(receive_at_kernel(f, JP_PORT_CONTROL, seen), 8);
    assert_string_equal(seen[0], jp_client_session(f->client));
    assert_non_null(strstr(seen[4], "\"mine\""));
}

static void replies_and_output_come_with_their_channel(void **state)
{
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    await_subscription(f);
    send_from_kernel(f, JP_PORT_IOPUB, "topic", "status", "{\"execution_state\":\"busy\"}");
    run_until(f, 1);
    assert_int_equal(f->last.channel, JP_IOPUB);
    assert_int_equal(f->last.kind, JP_STATUS);
    assert_string_equal(f->last_content, "{\"execution_state\":\"busy\"}");

    static const int ports[] = {JP_PORT_SHELL, JP_PORT_CONTROL, JP_PORT_STDIN};
    static const enum jp_channel channels[] = {JP_SHELL, JP_CONTROL, JP_STDIN};
    char seen[12][300];
    for (size_t i = 0; i < 3; i++) {
        struct jp_send s = {.channel = channels[i], .msg_type = "x"};
        assert_int_equal(jp_client_send(f->client, &s, NULL, NULL), 0);
        receive_at_kernel(f, ports[i], seen);
        const char *routing_id = jp_client_session(f->client);
        zmq_send(f->sockets[ports[i]], routing_id, strlen(routing_id), ZMQ_SNDMORE);
        send_from_kernel(f, ports[i], "tag", "execute_reply", "{}");
        run_until(f, 2 + i);
        assert_int_equal(f->last.channel, channels[i]);
        assert_string_equal(f->last_ident, "tag");
    }
}

static void what_is_not_a_message_is_dropped_and_counted(void **state)
{
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    await_subscription(f);
    send_frames_raw(f, JP_PORT_IOPUB, 1, "");
    send_frames_raw(f, JP_PORT_IOPUB, 9, "<IDS|MSG>");
    send_frames_raw(f, JP_PORT_IOPUB, 7, "x");
    send_frames_raw(f, JP_PORT_IOPUB, JP_FRAMES_MAX, "x");
    send_frames_raw(f, JP_PORT_IOPUB, 5 * JP_FRAMES_MAX, "x");
    struct crypto_hmac right = f->key;
    crypto_hmac_init(&f->key, "wrong", 5);
    send_from_kernel(f, JP_PORT_IOPUB, "t", "status", "{}");
    f->key = right;
    send_from_kernel(f, JP_PORT_IOPUB, "t", "stream", "{}");
    run_until(f, 1);
    assert_int_equal(f->last.kind, JP_STREAM);
    assert_int_equal(jp_client_dropped(f->client), 6);
}

static void forwards_signed_anew_with_buffers(void **state)
{
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    const struct slice frames[] = {
        slice_str("{\"msg_id\":\"browser\",\"msg_type\":\"comm_msg\"}"), {0}, {0}, slice_str("{}")};
    const struct slice buffers[] = {slice_str("b1"), slice_str("")};
    struct err err = {0};
    assert_int_equal(
        jp_client_forward(f->client, JP_SHELL, slice_str("tag"), frames, buffers, 2, &err), 0);
    char seen[12][300];
    assert_int_equal(receive_at_kernel(f, JP_PORT_SHELL, seen), 10);
    assert_string_equal(seen[1], "tag");
    assert_string_equal(seen[8], "b1");
    assert_string_equal(seen[9], "");
    assert_int_equal(jp_client_forward(f->client, JP_IOPUB, slice_str(""), frames, NULL, 0, &err),
                     -ERR_INVALID);
    assert_int_equal(jp_client_forward(f->client, JP_SHELL, slice_str(""), frames, buffers,
                                       JP_BUFFERS_MAX + 1, &err),
                     -ERR_TOO_LARGE);
}

static void a_flood_is_read_in_shares_and_in_order(void **state)
{
    enum { N = 3000 };
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    await_subscription(f);
    char content[32];
    for (int i = 1; i <= N; i++) {
        snprintf(content, sizeof(content), "%d", i);
        send_from_kernel(f, JP_PORT_IOPUB, "t", "stream", content);
    }
    loop_defer_post(f->turn);
    run_until(f, N);
    assert_string_equal(f->last_content, "3000");
    /* one share when the loop comes round, and one when the descriptor tells of more */
    assert_true(f->most_in_a_turn <= 2 * 256);
    assert_true(f->turns >= N / (2 * 256));
}

static void large_messages_use_up_the_share(void **state)
{
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    await_subscription(f);
    char *big = mem_zero(1, MIB(5));
    memset(big, ' ', MIB(5) - 1);
    for (int i = 0; i < 4; i++)
        send_from_kernel(f, JP_PORT_IOPUB, "t", "stream", big);
    loop_defer_post(f->turn);
    run_until(f, 4);
    on_turn(f);
    assert_true(f->most_in_a_turn <= 2);
    free(big);
}

static void freed_in_its_own_callback(void **state)
{
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    await_subscription(f);
    f->free_client = true;
    for (int i = 0; i < 10; i++)
        send_from_kernel(f, JP_PORT_IOPUB, "t", "stream", "{}");
    run_until(f, 1);
    assert_null(f->client);
}

/* The answer to a send from inside the callback is read without another event. */
static void sends_from_the_callback(void **state)
{
    struct fixture *f = *state;
    bind_kernel(f);
    start_client(f);
    await_subscription(f);
    f->answer_with = "ping";
    send_from_kernel(f, JP_PORT_IOPUB, "t", "stream", "{}");
    run_until(f, 1);
    char seen[12][300];
    receive_at_kernel(f, JP_PORT_SHELL, seen);
    const char *routing_id = jp_client_session(f->client);
    for (size_t i = 0; i < 200; i++) {
        zmq_send(f->sockets[JP_PORT_SHELL], routing_id, strlen(routing_id), ZMQ_SNDMORE);
        send_from_kernel(f, JP_PORT_SHELL, "", "execute_reply", "{}");
        f->answer_with = "ping";
        run_until(f, 2 + i);
        receive_at_kernel(f, JP_PORT_SHELL, seen);
    }
}

static void a_full_queue_is_said(void **state)
{
    struct fixture *f = *state;
    start_client(f);
    struct jp_send s = {.channel = JP_STDIN, .msg_type = "x"};
    struct err err = {0};
    int r = 0, sent = 0;
    while (sent <= 10000 && (r = jp_client_send(f->client, &s, NULL, &err)) == 0)
        sent++;
    assert_int_equal(sent, 10000);
    assert_int_equal(r, -ERR_UNAVAILABLE);
    s.channel = JP_CONTROL; /* other channels go on */
    assert_int_equal(jp_client_send(f->client, &s, NULL, &err), 0);
}

static void refuses_what_cannot_work(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct jp_client *c = NULL;
    struct jp_client_cfg cfg = {.ipc_prefix = f->prefix, .key = "", .on_msg = on_msg, .ctx = f};
    assert_int_equal(jp_client_new(&c, f->context, &cfg, &err), -ERR_INVALID);
    char prefix[200];
    memset(prefix, 'x', sizeof(prefix));
    prefix[199] = '\0';
    cfg.key = KEY;
    cfg.ipc_prefix = prefix;
    assert_int_equal(jp_client_new(&c, f->context, &cfg, &err), -ERR_INVALID);
    assert_null(c);
    start_client(f);
    struct jp_send s = {.channel = JP_SHELL, .msg_type = "x", .msg_id = ""};
    assert_int_equal(jp_client_send(f->client, &s, NULL, &err), -ERR_INVALID);
    s.msg_id = prefix;
    assert_int_equal(jp_client_send(f->client, &s, NULL, &err), -ERR_INVALID);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_reach_a_kernel_that_binds_later),
        TEST(replies_and_output_come_with_their_channel),
        TEST(what_is_not_a_message_is_dropped_and_counted),
        TEST(forwards_signed_anew_with_buffers),
        TEST(a_flood_is_read_in_shares_and_in_order),
        TEST(large_messages_use_up_the_share),
        TEST(freed_in_its_own_callback),
        TEST(sends_from_the_callback),
        TEST(a_full_queue_is_said),
        TEST(refuses_what_cannot_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
