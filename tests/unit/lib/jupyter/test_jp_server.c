/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
/* The server's sockets with real ZeroMQ clients, over ipc and TCP. */
#include "lib/jupyter/jp_server.h"

#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include "lib/loop/loop.h"

#include <stdio.h>
#include <unistd.h>
#include <zmq.h>

#define KEY "test-key"
#define ID  "the-client"

struct fixture {
    char dir[32];
    struct jp_conn conn;
    struct loop *loop;
    struct jp_context *context;
    struct jp_server *server;
    struct loop_timer *watchdog;
    struct loop_defer *turn;
    void *zmq;
    void *clients[8];
    size_t n_clients;
    struct crypto_hmac key;
    unsigned next_id;
    /* what came to the server */
    size_t n_requests, n_dropped, n_rooms;
    enum err_code why;
    char last_id[JP_ID_SIZE];
    char last_ident[64];
    enum jp_channel last_channel;
    bool free_server;
    /* what came to a client */
    void *awaited;
    char got[12][300];
    size_t n_got;
    bool (*until)(struct fixture *f);
    size_t target;
};

static void on_watchdog(void *ctx)
{
    fail_msg("nothing came for 10 seconds");
}

static void on_turn(void *ctx)
{
    struct fixture *f = ctx;
    if (f->until(f))
        loop_stop(f->loop);
    else
        loop_defer_post(f->turn);
}

static void run_until(struct fixture *f, bool (*until)(struct fixture *f))
{
    f->until = until;
    loop_timer_start(f->watchdog, 10000, 0);
    loop_defer_post(f->turn);
    loop_run(f->loop);
    loop_timer_stop(f->watchdog);
}

static bool has_requests(struct fixture *f)
{
    return f->n_requests >= f->target;
}

static void await_requests(struct fixture *f, size_t n)
{
    f->target = n;
    run_until(f, has_requests);
    assert_int_equal(f->n_requests, n);
}

static bool has_dropped(struct fixture *f)
{
    return f->n_dropped >= f->target;
}

static void await_dropped(struct fixture *f, size_t n)
{
    f->target = n;
    run_until(f, has_dropped);
}

/* Takes one message of a client's socket when there is one. */
static bool client_got(struct fixture *f)
{
    int more = 1;
    for (f->n_got = 0; more; f->n_got++) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        int r = zmq_msg_recv(&m, f->awaited, ZMQ_DONTWAIT);
        if (r < 0)
            return false;
        assert_true(f->n_got < ARRAY_LEN(f->got));
        snprintf(f->got[f->n_got], sizeof(f->got[0]), "%.*s", r, (char *)zmq_msg_data(&m));
        more = zmq_msg_more(&m);
        zmq_msg_close(&m);
    }
    return true;
}

static void await_client(struct fixture *f, void *socket)
{
    f->awaited = socket;
    run_until(f, client_got);
}

static void on_request(void *ctx, const struct jp_request *req)
{
    struct fixture *f = ctx;
    f->n_requests++;
    f->last_channel = req->msg.channel;
    snprintf(f->last_id, sizeof(f->last_id), "%s", req->msg.msg_id);
    assert_int_equal(req->n_idents, 1);
    snprintf(f->last_ident, sizeof(f->last_ident), "%.*s", (int)req->idents[0].len,
             req->idents[0].ptr);
    if (f->free_server) {
        f->server = jp_server_free(f->server);
        assert_true(jsonx_valid(req->msg.header));
    }
}

static void on_dropped(void *ctx, enum err_code why)
{
    struct fixture *f = ctx;
    f->n_dropped++;
    f->why = why;
}

static void on_room(void *ctx)
{
    struct fixture *f = ctx;
    f->n_rooms++;
}

static void *client(struct fixture *f, int type, int port, const char *id)
{
    char url[JP_CONN_URL_SIZE];
    int zero = 0;
    void *s = zmq_socket(f->zmq, type);
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    if (id)
        zmq_setsockopt(s, ZMQ_ROUTING_ID, id, strlen(id));
    jp_conn_url(&f->conn, port, url);
    assert_int_equal(zmq_connect(s, url), 0);
    f->clients[f->n_clients++] = s;
    return s;
}

static void send_signed(struct fixture *f, void *socket, const char *type, unsigned n)
{
    char header[200], sig[CRYPTO_HEX_SIZE];
    snprintf(header, sizeof(header), "{\"msg_id\":\"m%u\",\"msg_type\":\"%s\"}", n, type);
    const struct slice json[] = {slice_str(header), slice_str("{}"), slice_str("{}"),
                                 slice_str("{}")};
    struct slice out[JP_FRAMES_MAX];
    size_t len = jp_wire_encode(out, sig, &f->key, slice_str(""), json, NULL, 0);
    for (size_t i = 0; i < len; i++)
        assert_true(zmq_send(socket, out[i].ptr, out[i].len, i + 1 < len ? ZMQ_SNDMORE : 0) >= 0);
}

static void request(struct fixture *f, void *socket)
{
    send_signed(f, socket, "execute_request", ++f->next_id);
}

static struct slice json_of(struct slice json[JP_JSON_FRAMES], char *header, unsigned n)
{
    snprintf(header, 100, "{\"msg_id\":\"k%u\",\"msg_type\":\"stream\"}", n);
    json[JP_HEADER] = slice_str(header);
    json[JP_PARENT] = slice_str("{}");
    json[JP_METADATA] = slice_str("");
    json[JP_CONTENT] = slice_str("{\"n\":1}");
    return json[JP_HEADER];
}

static int publish(struct fixture *f, unsigned n, bool lossy)
{
    char header[100];
    struct slice json[JP_JSON_FRAMES];
    json_of(json, header, n);
    const struct jp_outgoing out = {.json = json};
    return jp_server_publish(f->server, slice_str("topic"), &out, lossy);
}

static bool reply(struct fixture *f, enum jp_channel channel, const char *ident)
{
    char header[100];
    struct slice json[JP_JSON_FRAMES];
    json_of(json, header, 1);
    const struct slice buffer = slice_str("buffer"), idents[] = {slice_str(ident)};
    const struct jp_outgoing out = {.json = json, .buffers = &buffer, .n_buffers = 1};
    return jp_server_reply(f->server, channel, idents, 1, &out);
}

static int start(struct fixture *f, struct err *err)
{
    const struct jp_server_cfg cfg = {.conn = &f->conn,
                                      .on_request = on_request,
                                      .on_dropped = on_dropped,
                                      .on_room = on_room,
                                      .ctx = f};
    return jp_server_new(&f->server, f->context, &cfg, err);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    strcpy(f->dir, "/tmp/jp-server-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->conn =
        (struct jp_conn){.ipc = true, .ip = mem_printf("%s/k", f->dir), .key = mem_dup_str(KEY)};
    for (int port = JP_PORT_SHELL; port <= JP_PORT_HB; port++)
        f->conn.ports[port] = port;
    crypto_hmac_init(&f->key, KEY, strlen(KEY));
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(jp_context_new(&f->context, f->loop, NULL), 0);
    f->watchdog = loop_timer_new(f->loop, on_watchdog, f);
    f->turn = loop_defer_new(f->loop, on_turn, f);
    f->zmq = zmq_ctx_new();
    assert_int_equal(start(f, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->n_clients; i++)
        zmq_close(f->clients[i]);
    zmq_ctx_term(f->zmq);
    jp_server_free(f->server);
    jp_context_free(f->context);
    loop_timer_free(f->watchdog);
    loop_defer_free(f->turn);
    loop_free(f->loop);
    crypto_hmac_done(&f->key);
    jp_conn_done(&f->conn);
    assert_int_equal(rmdir(f->dir), 0); /* its sockets are gone */
    free(f);
    return 0;
}

static void requests_come_and_replies_go_back(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum jp_channel channel;
        int port;
    } channels[] = {
        {JP_SHELL, JP_PORT_SHELL}, {JP_CONTROL, JP_PORT_CONTROL}, {JP_STDIN, JP_PORT_STDIN}};
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        void *c = client(f, ZMQ_DEALER, channels[i].port, ID);
        request(f, c);
        await_requests(f, i + 1);
        assert_int_equal(f->last_channel, channels[i].channel);
        assert_string_equal(f->last_ident, ID);
        assert_true(reply(f, channels[i].channel, ID));
        await_client(f, c);
        assert_int_equal(f->n_got, 7);
        assert_string_equal(f->got[0], JP_DELIMITER);
        assert_int_equal(strlen(f->got[1]), CRYPTO_HEX_SIZE - 1);
        assert_string_equal(f->got[4], "{}");
        assert_string_equal(f->got[5], "{\"n\":1}");
        assert_string_equal(f->got[6], "buffer");
    }
}

static void heartbeats_are_echoed(void **state)
{
    struct fixture *f = *state;
    void *c = client(f, ZMQ_REQ, JP_PORT_HB, NULL);
    jp_server_hold(f->server, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(zmq_send(c, "ping", 4, 0), 4);
        await_client(f, c);
        assert_string_equal(f->got[0], "ping");
    }
}

static void every_subscription_is_welcomed(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        void *all = client(f, ZMQ_SUB, JP_PORT_IOPUB, NULL);
        zmq_setsockopt(all, ZMQ_SUBSCRIBE, "", 0);
        await_client(f, all);
        assert_int_equal(f->n_got, 6);
        assert_string_equal(f->got[0], JP_DELIMITER);
        assert_non_null(strstr(f->got[2], "\"msg_type\":\"iopub_welcome\""));
        assert_string_equal(f->got[3], "{}");
        assert_string_equal(f->got[5], "{\"subscription\":\"\"}");
    }
    void *some = client(f, ZMQ_SUB, JP_PORT_IOPUB, NULL);
    zmq_setsockopt(some, ZMQ_SUBSCRIBE, "top\"", 4);
    await_client(f, some);
    assert_int_equal(f->n_got, 7);
    assert_string_equal(f->got[0], "top\"");
    assert_string_equal(f->got[6], "{\"subscription\":\"top\\\"\"}");
    /* what is not text gets nothing, and harms nobody */
    zmq_setsockopt(some, ZMQ_SUBSCRIBE, "\xff", 1);
    zmq_setsockopt(some, ZMQ_SUBSCRIBE, "topic", 5);
    await_client(f, some);
    assert_string_equal(f->got[6], "{\"subscription\":\"topic\"}");
    assert_int_equal(publish(f, 1, false), 0);
    await_client(f, some);
    assert_string_equal(f->got[0], "topic");
}

static void drops_and_says_why(void **state)
{
    struct fixture *f = *state;
    void *c = client(f, ZMQ_DEALER, JP_PORT_SHELL, ID);
    struct crypto_hmac right = f->key;
    crypto_hmac_init(&f->key, "wrong", 5);
    request(f, c);
    await_dropped(f, 1);
    assert_int_equal(f->why, ERR_UNAUTHORIZED);
    crypto_hmac_done(&f->key);
    f->key = right;
    zmq_send(c, "x", 1, 0);
    await_dropped(f, 2);
    assert_int_equal(f->why, ERR_INVALID);
    for (int i = 0; i <= 2 * JP_FRAMES_MAX; i++)
        zmq_send(c, JP_DELIMITER, 9, i < 2 * JP_FRAMES_MAX ? ZMQ_SNDMORE : 0);
    await_dropped(f, 3);
    assert_int_equal(f->why, ERR_INVALID);
    send_signed(f, c, "t", 77);
    send_signed(f, c, "t", 77);
    await_dropped(f, 4);
    assert_int_equal(f->why, ERR_CONFLICT);
    assert_int_equal(f->n_requests, 1);
    struct jp_server_counts counts = jp_server_counts(f->server);
    assert_int_equal(counts.dropped.forged, 1);
    assert_int_equal(counts.dropped.malformed, 2);
    assert_int_equal(counts.dropped.replayed, 1);
}

static void a_held_server_takes_nothing_until_released(void **state)
{
    struct fixture *f = *state;
    void *shell = client(f, ZMQ_DEALER, JP_PORT_SHELL, ID);
    void *hb = client(f, ZMQ_REQ, JP_PORT_HB, NULL);
    jp_server_hold(f->server, true);
    for (int i = 0; i < 5; i++)
        request(f, shell);
    /* heartbeats come and go behind the requests */
    zmq_send(hb, "ping", 4, 0);
    await_client(f, hb);
    assert_int_equal(f->n_requests, 0);
    jp_server_hold(f->server, false);
    await_requests(f, 5);
}

static void *subscriber(struct fixture *f, int queue)
{
    void *s = zmq_socket(f->zmq, ZMQ_SUB);
    int small = 1;
    char url[JP_CONN_URL_SIZE];
    zmq_setsockopt(s, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(s, ZMQ_RCVBUF, &small, sizeof(small));
    zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
    jp_conn_url(&f->conn, JP_PORT_IOPUB, url);
    assert_int_equal(zmq_connect(s, url), 0);
    f->clients[f->n_clients++] = s;
    await_client(f, s); /* the welcome: it is there */
    return s;
}

/* Publishes until it is refused; the loop turns in between, as it does in life. */
static unsigned fill(struct fixture *f)
{
    unsigned n = 0;
    while (publish(f, n + 1, false) == 0)
        assert_true(++n < 1000000);
    return n;
}

static bool has_room(struct fixture *f)
{
    if (f->n_rooms == 0)
        return false;
    f->n_rooms = 0;
    return publish(f, (unsigned)f->target, false) == 0;
}

static void await_number(struct fixture *f, void *socket, unsigned n)
{
    char expected[40];
    snprintf(expected, sizeof(expected), "\"k%u\"", n);
    await_client(f, socket);
    assert_non_null(strstr(f->got[3], expected));
}

static void a_full_subscriber_makes_wait_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    void *slow = subscriber(f, 1);
    unsigned n = fill(f);
    assert_true(n + 1 >= JP_SERVER_OUTPUTS); /* and the welcome */
    unsigned read = 0;
    f->awaited = slow;
    /* it reads some, and then it is told that there is room again */
    for (; read < n; read++)
        await_client(f, slow);
    f->target = n + 1;
    run_until(f, has_room);
    await_number(f, slow, n + 1);
    assert_int_equal(jp_server_counts(f->server).lost, 0);
}

static void a_stalled_subscriber_loses_alone(void **state)
{
    struct fixture *f = *state;
    void *slow = subscriber(f, 1);
    void *fast = subscriber(f, 0);
    unsigned n = 0;
    /* the fast one has read everything, so it is the slow one that is full */
    for (; publish(f, n + 1, false) == 0; n++)
        await_number(f, fast, n + 1);
    assert_int_equal(publish(f, n + 1, true), 0);
    await_number(f, fast, n + 1);
    /* it does not count until it reads again */
    for (unsigned i = n + 2; i < n + 500; i++) {
        assert_int_equal(publish(f, i, false), 0);
        await_number(f, fast, i);
    }
    await_client(f, slow); /* the other's welcome */
    for (unsigned i = 1; i <= n; i++)
        await_number(f, slow, i);
    assert_int_equal(jp_server_counts(f->server).lost, 1);
}

static void replies_to_nobody_are_counted(void **state)
{
    struct fixture *f = *state;
    assert_false(reply(f, JP_SHELL, "never-seen"));
    assert_false(reply(f, JP_SHELL, ""));
    assert_int_equal(jp_server_counts(f->server).undelivered, 2);
}

/* A client that comes back under its identity takes the place of what it was. */
static void an_identity_moves_to_its_new_connection(void **state)
{
    struct fixture *f = *state;
    void *old = client(f, ZMQ_DEALER, JP_PORT_SHELL, ID);
    request(f, old);
    await_requests(f, 1);
    void *new = client(f, ZMQ_DEALER, JP_PORT_SHELL, ID);
    request(f, new);
    await_requests(f, 2);
    assert_true(reply(f, JP_SHELL, ID));
    await_client(f, new);
    assert_string_equal(f->got[6], "buffer");
}

static void freed_in_its_own_callback(void **state)
{
    struct fixture *f = *state;
    void *c = client(f, ZMQ_DEALER, JP_PORT_SHELL, ID);
    f->free_server = true;
    for (int i = 0; i < 10; i++)
        request(f, c);
    await_requests(f, 1);
    assert_null(f->server);
}

static void binds_tcp_ports_of_the_systems_choice(void **state)
{
    struct fixture *f = *state;
    f->server = jp_server_free(f->server);
    free(f->conn.ip);
    f->conn.ip = mem_dup_str("127.0.0.1");
    f->conn.ipc = false;
    memset(f->conn.ports, 0, sizeof(f->conn.ports));
    struct err err = {0};
    assert_int_equal(start(f, &err), 0);
    for (int port = JP_PORT_SHELL; port <= JP_PORT_HB; port++)
        assert_in_range(f->conn.ports[port], 1, 65535);
    request(f, client(f, ZMQ_DEALER, JP_PORT_CONTROL, ID));
    await_requests(f, 1);
    /* the same ports a second time */
    struct jp_server *first = f->server;
    assert_int_equal(start(f, &err), -ERR_CONFLICT);
    assert_non_null(strstr(err.text, "the shell socket cannot be at tcp://127.0.0.1:"));
    f->server = first;
    free(f->conn.ip);
    f->conn.ip = mem_dup_str("192.0.2.1"); /* of nobody */
    assert_int_equal(start(f, &err), -ERR_INVALID);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_come_and_replies_go_back),
        TEST(heartbeats_are_echoed),
        TEST(every_subscription_is_welcomed),
        TEST(drops_and_says_why),
        TEST(a_held_server_takes_nothing_until_released),
        TEST(a_full_subscriber_makes_wait_and_loses_nothing),
        TEST(a_stalled_subscriber_loses_alone),
        TEST(replies_to_nobody_are_counted),
        TEST(an_identity_moves_to_its_new_connection),
        TEST(freed_in_its_own_callback),
        TEST(binds_tcp_ports_of_the_systems_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
