/* A Jupyter client's WebSocket from its handshake to its end, over a real server and a stub kernel.
 */
#include "tests/unit/kernel-runner/core/runner_fixture.h"

#include "kernel-runner/attach/attach.h"
#include "kernel-runner/attach/channels.h"
#include "lib/http/http.h"
#include "lib/jupyter/jp_ws.h"
#include "lib/ws/ws.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define KID  "11111111-1111-4111-8111-111111111000"
#define PATH "/k/" KID "/channels"
#define WS_HEADERS                                                                                 \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"                   \
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
#define V1 "Sec-WebSocket-Protocol: " JP_WS_V1_PROTOCOL "\r\n"

struct client {
    int fd;
    char head[2000];
    size_t head_len;
    struct ws_fd *io;
    struct ws_conn *ws;
    char types[2000]; /* of the messages that came, blanks between */
    unsigned n_text, n_binary, n_replies;
    int closed; /* the code */
};

struct fixture {
    struct runner_fixture r; /* first */
    char path[60];
    struct attach *attach;
    struct http_server *server;
    struct client clients[4];
    size_t n_clients;
    unsigned n_asked;
};

static const struct http_route routes[] = {
    {"GET", "/k/{kid}/channels", HTTP_BODY_NONE, 0, channels_handler, 0}};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    runner_fixture_start(&f->r, kernel_stub_path());
    f->attach = attach_new(f->r.runner);
    snprintf(f->path, sizeof(f->path), "%s/s", f->r.dir);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 16), 0);
    const struct http_server_cfg cfg = {.routes = routes, .n_routes = 1, .ctx = f->r.runner};
    assert_int_equal(http_server_new(&f->server, f->r.loop, fd, &cfg, NULL), 0);
    *state = f;
    return 0;
}

static void hang_up(struct client *c)
{
    c->ws = ws_conn_free(c->ws);
    c->io = ws_fd_free(c->io);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->n_clients; i++)
        hang_up(&f->clients[i]);
    http_server_free(f->server);
    attach_free(f->attach);
    unlink(f->path);
    runner_fixture_stop(&f->r);
    free(f);
    return 0;
}

/* Reads what there is of an answer's head; true when it is whole. */
static bool has_head(struct client *c)
{
    ssize_t n = recv(c->fd, c->head + c->head_len, sizeof(c->head) - 1 - c->head_len, MSG_DONTWAIT);
    if (n > 0)
        c->head_len += (size_t)n;
    return strstr(c->head, "\r\n\r\n") || (n == 0);
}

static struct client *dial(struct fixture *f, const char *path, const char *headers)
{
    struct client *c = &f->clients[f->n_clients++];
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char request[1000];
    *c = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->path);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    int n =
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, headers);
    assert_int_equal(send(c->fd, request, (size_t)n, MSG_NOSIGNAL), n);
    AWAIT(&f->r, has_head(c));
    return c;
}

static void on_message(void *ctx, enum ws_type type, struct slice data)
{
    struct client *c = ctx;
    struct jp_ws_msg msg;
    char name[80] = "";
    *(type == WS_TEXT ? &c->n_text : &c->n_binary) += 1;
    if (type == WS_TEXT)
        assert_int_equal(jp_ws_legacy_decode(&msg, data, false, NULL), 0);
    else
        assert_int_equal(jp_ws_v1_decode(&msg, data, NULL), 0);
    jsonx_decode(jsonx_find(msg.frames[JP_HEADER], "msg_type"), name, sizeof(name));
    c->n_replies += msg.channel == JP_SHELL || msg.channel == JP_CONTROL;
    size_t n = strlen(c->types);
    snprintf(c->types + n, sizeof(c->types) - n, "%s%s", n ? " " : "", name);
}

static void on_closed(void *ctx, int code, struct slice reason)
{
    struct client *c = ctx;
    c->closed = code;
}

static struct client *open_channels(struct fixture *f, const char *path, const char *headers)
{
    struct client *c = dial(f, path, headers);
    assert_non_null(strstr(c->head, "HTTP/1.1 101"));
    size_t head = (size_t)(strstr(c->head, "\r\n\r\n") + 4 - c->head);
    assert_int_equal(ws_fd_new(&c->io, f->r.loop, c->fd, NULL), 0);
    const struct ws_conn_cfg cfg = {.role = WS_CLIENT,
                                    .io = ws_fd_io(c->io),
                                    .early = slice_make(c->head + head, c->head_len - head),
                                    .max_message = MIB(1),
                                    .on_message = on_message,
                                    .on_closed = on_closed,
                                    .ctx = c};
    assert_int_equal(ws_conn_new(&c->ws, f->r.loop, &cfg, NULL), 0);
    ws_fd_attach(c->io, c->ws);
    return c;
}

static void say(struct client *c, enum ws_type type, const char *text)
{
    struct slice part = slice_str(text);
    ws_conn_send(c->ws, type, &part, 1);
}

/* kernel_info_request, as the protocol of this client has it. */
static void ask(struct fixture *f, struct client *c, bool legacy)
{
    char header[200], text[300];
    snprintf(header, sizeof(header),
             "{\"msg_id\":\"ask-%u\",\"msg_type\":\"kernel_info_request\",\"session\":\"s\","
             "\"date\":\"2026-01-01T00:00:00Z\",\"version\":\"5.3\"}",
             ++f->n_asked);
    if (legacy) {
        snprintf(text, sizeof(text), "{\"header\":%s,\"content\":{},\"channel\":\"shell\"}",
                 header);
        say(c, WS_TEXT, text);
        return;
    }
    struct jp_ws_msg msg = {.channel = JP_SHELL};
    msg.frames[JP_HEADER] = slice_str(header);
    for (size_t i = JP_PARENT; i < JP_JSON_FRAMES; i++)
        msg.frames[i] = slice_str("{}");
    struct buf out;
    buf_init(&out, KIB(4));
    assert_int_equal(jp_ws_v1_encode(&out, &msg), 0);
    struct slice part = buf_slice(&out);
    ws_conn_send(c->ws, WS_BINARY, &part, 1);
    buf_done(&out);
}

static void every_handshake(void **state)
{
    static const struct {
        const char *what, *path, *headers, *answer;
    } rows[] = {
        {"v1", PATH, WS_HEADERS V1, "HTTP/1.1 101"},
        {"legacy", PATH, WS_HEADERS, "HTTP/1.1 101"},
        {"no upgrade", PATH, "", "HTTP/1.1 400"},
        {"another version", PATH,
         "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"
         "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
         "HTTP/1.1 400"},
        {"a bad key", PATH,
         "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: short\r\n",
         "HTTP/1.1 400"},
        {"no such kernel", "/k/11111111-1111-4111-8111-111111111fff/channels", WS_HEADERS V1,
         "HTTP/1.1 404"},
        {"too long a session's id",
         PATH "?session_id=0123456789012345678901234567890123456789012345678901234567890123456789"
              "0123456789012345678901234567890123456789012345678901234567890",
         WS_HEADERS V1, "HTTP/1.1 400"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client *c = dial(f, rows[i].path, rows[i].headers);
        if (!strstr(c->head, rows[i].answer))
            fail_msg("%s: %s", rows[i].what, c->head);
        bool says_v1 = strstr(c->head, "Sec-WebSocket-Protocol: " JP_WS_V1_PROTOCOL) != NULL;
        assert_int_equal(says_v1, strcmp(rows[i].what, "v1") == 0);
        hang_up(c);
        f->n_clients--;
    }
    AWAIT(&f->r, attach_connections(f->attach, main_kernel(&f->r)) == 0);
}

static void each_client_is_answered_in_its_own_protocol(void **state)
{
    struct fixture *f = *state;
    await_live(&f->r);
    struct client *v1 = open_channels(f, PATH, WS_HEADERS V1);
    struct client *legacy = open_channels(f, PATH, WS_HEADERS);
    AWAIT(&f->r, attach_connections(f->attach, main_kernel(&f->r)) == 2);
    ask(f, v1, /* legacy= */ false);
    AWAIT(&f->r, v1->n_replies == 1 && strstr(legacy->types, "status status"));
    ask(f, legacy, /* legacy= */ true);
    AWAIT(&f->r, legacy->n_replies == 1);
    assert_int_equal(v1->n_text, 0);
    assert_int_equal(legacy->n_binary, 0);
    assert_int_equal(v1->n_replies, 1);
}

static void what_is_no_message_ends_the_connection_and_no_other(void **state)
{
    static const struct {
        const char *headers;
        enum ws_type type;
        const char *text;
        int code; /* 0: it goes on */
    } rows[] = {
        {WS_HEADERS V1, WS_TEXT, "{}", WS_CLOSE_INVALID},
        {WS_HEADERS V1, WS_BINARY, "short", WS_CLOSE_INVALID},
        {WS_HEADERS, WS_TEXT, "not json", WS_CLOSE_INVALID},
        {WS_HEADERS, WS_TEXT, "{\"header\":{},\"channel\":\"nowhere\"}", 0},
        {WS_HEADERS, WS_TEXT, "{\"header\":{\"msg_id\":7},\"channel\":\"shell\"}", 0},
    };
    struct fixture *f = *state;
    await_live(&f->r);
    struct client *other = open_channels(f, PATH, WS_HEADERS V1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client *c = open_channels(f, PATH, rows[i].headers);
        say(c, rows[i].type, rows[i].text);
        if (rows[i].code) {
            AWAIT(&f->r, c->closed);
            assert_int_equal(c->closed, rows[i].code);
        } else {
            ask(f, c, /* legacy= */ true);
            AWAIT(&f->r, c->n_replies == 1);
            assert_int_equal(c->closed, 0);
        }
        hang_up(c);
        f->n_clients--;
    }
    ask(f, other, /* legacy= */ false);
    AWAIT(&f->r, other->n_replies == 1);
    AWAIT(&f->r, attach_connections(f->attach, main_kernel(&f->r)) == 1);
}

static void a_session_has_one_connection(void **state)
{
    struct fixture *f = *state;
    await_live(&f->r);
    struct client *first = open_channels(f, PATH "?session_id=s1", WS_HEADERS V1);
    AWAIT(&f->r, attach_connections(f->attach, main_kernel(&f->r)) == 1);
    struct client *second = open_channels(f, PATH "?session_id=s1", WS_HEADERS V1);
    AWAIT(&f->r, first->closed);
    assert_int_equal(first->closed, WS_CLOSE_NORMAL);
    ask(f, second, /* legacy= */ false);
    AWAIT(&f->r, second->n_replies == 1);
}

static void the_end_of_a_kernel_ends_its_connections(void **state)
{
    struct fixture *f = *state;
    struct kernel *k = NULL;
    char path[100], id[ID_UUID_SIZE];
    assert_int_equal(runner_add_kernel(f->r.runner, NULL, NULL, &k, NULL), 0);
    memcpy(id, kernel_id(k), sizeof(id));
    snprintf(path, sizeof(path), "/k/%s/channels", id);
    struct client *c = open_channels(f, path, WS_HEADERS V1);
    struct client *other = open_channels(f, PATH, WS_HEADERS V1);
    AWAIT(&f->r, attach_connections(f->attach, k) == 1);
    assert_int_equal(runner_remove_kernel(f->r.runner, id, NULL), 0);
    AWAIT(&f->r, c->closed);
    assert_int_equal(c->closed, WS_CLOSE_NORMAL);
    await_live(&f->r);
    ask(f, other, /* legacy= */ false);
    AWAIT(&f->r, other->n_replies == 1);
    attach_close_all(f->attach);
    AWAIT(&f->r, other->closed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    kernel_stub_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(every_handshake),
        TEST(each_client_is_answered_in_its_own_protocol),
        TEST(what_is_no_message_ends_the_connection_and_no_other),
        TEST(a_session_has_one_connection),
        TEST(the_end_of_a_kernel_ends_its_connections),
    };
    if (crypto_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
