/* A kernel's hub with its clients: what is asked, held, answered; who reads what, and from where.
 */
#include "tests/unit/kernel-runner/core/runner_fixture.h"

#include "kernel-runner/attach/hub.h"
#include "kernel-runner/attach/hub_requests.h"

/* One connection; what it is sent is written down as "type" or "type:state", blanks between. */
struct client {
    struct runner_fixture *f;
    struct hub_session *session;
    char heard[4000];
    unsigned n_replies, n_idle, n_room;
    int over; /* the code it was closed with */
    bool sending;
};

struct fixture {
    struct runner_fixture r; /* first: the macros of the runner's fixture take its address */
    struct hub_spill spill;
    struct exec_queue *queue;
    struct hub *hub;
    struct client a, b;
    unsigned n_asked;
};

static void hear(struct client *c, struct slice v1)
{
    struct jp_ws_msg msg;
    char type[80] = "", state[40] = "";
    assert_int_equal(jp_ws_v1_decode(&msg, v1, NULL), 0);
    jsonx_decode(jsonx_find(msg.frames[JP_HEADER], "msg_type"), type, sizeof(type));
    if (strcmp(type, "status") == 0)
        jsonx_decode(jsonx_find(msg.frames[JP_CONTENT], "execution_state"), state, sizeof(state));
    c->n_replies += msg.channel == JP_SHELL || msg.channel == JP_CONTROL;
    c->n_idle += strcmp(state, "idle") == 0;
    size_t n = strlen(c->heard);
    snprintf(c->heard + n, sizeof(c->heard) - n, "%s%s", n ? " " : "", state[0] ? state : type);
}

static void on_more(void *ctx)
{
    struct client *c = ctx;
    struct hub_view view;
    while (hub_peek(c->session, &view)) {
        if (!view.lost_messages)
            hear(c, view.v1);
        hub_advance(c->session, &view);
    }
}

static void on_room(void *ctx)
{
    struct client *c = ctx;
    assert_false(c->sending); /* not in the frame of what made the room */
    c->n_room++;
}

static void on_over(void *ctx, int code, const char *reason)
{
    struct client *c = ctx;
    c->over = code;
    c->session = NULL;
}

static void attach(struct fixture *f, struct client *c, const char *id)
{
    const struct hub_front front = {
        .on_more = on_more, .on_room = on_room, .on_over = on_over, .ctx = c};
    c->f = &f->r;
    c->over = 0;
    assert_int_equal(hub_attach(f->hub, id, false, &front, &c->session, NULL), 0);
}

static int ask_as(struct fixture *f, struct client *c, enum jp_channel channel, const char *id,
                  const char *type, const char *content)
{
    char header[300];
    snprintf(header, sizeof(header),
             "{\"msg_id\":\"%s\",\"msg_type\":\"%s\",\"session\":\"s\",\"username\":\"u\","
             "\"date\":\"2026-01-01T00:00:00.000000Z\",\"version\":\"5.3\"}",
             id, type);
    struct jp_ws_msg msg = {.channel = channel};
    msg.frames[JP_HEADER] = slice_str(header);
    msg.frames[JP_PARENT] = msg.frames[JP_METADATA] = slice_str("{}");
    msg.frames[JP_CONTENT] = slice_str(content);
    c->sending = true;
    int r = hub_send(c->session, &msg);
    c->sending = false;
    return r;
}

static int ask(struct fixture *f, struct client *c, enum jp_channel channel, const char *type,
               const char *content)
{
    char id[24];
    snprintf(id, sizeof(id), "ask-%u", ++f->n_asked);
    return ask_as(f, c, channel, id, type, content);
}

static void run_cell(struct fixture *f, struct client *c, const char *code)
{
    char content[100];
    snprintf(content, sizeof(content), "{\"code\":\"%s\",\"silent\":false}", code);
    ask(f, c, JP_SHELL, "execute_request", content);
}

static void on_gone(void *ctx, struct hub *h)
{
    struct fixture *f = ctx;
    f->hub = hub_free(h);
}

static void on_shutdown(void *ctx, struct hub *h, bool all)
{
}

static struct fixture *make(const char *python)
{
    struct fixture *f = MEM_NEW(struct fixture);
    runner_fixture_start(&f->r, python);
    f->spill = (struct hub_spill){.dir_fd = -1, .left = HUB_SPILL_BYTES};
    assert_int_equal(runner_queue(f->r.runner, NULL, &f->queue, NULL), 0);
    const struct hub_cfg cfg = {.runner = f->r.runner,
                                .kernel = main_kernel(&f->r),
                                .queue = f->queue,
                                .spill = &f->spill,
                                .on_gone = on_gone,
                                .on_shutdown = on_shutdown,
                                .ctx = f};
    f->hub = hub_new(&cfg);
    attach(f, &f->a, "a");
    attach(f, &f->b, "b");
    return f;
}

static int setup(void **state)
{
    *state = make(kernel_stub_path());
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->hub = hub_free(f->hub);
    runner_fixture_stop(&f->r);
    free(f);
    return 0;
}

static void forget(struct fixture *f)
{
    f->a.heard[0] = f->b.heard[0] = '\0';
    f->a.n_replies = f->b.n_replies = f->a.n_idle = f->b.n_idle = 0;
}

static void await_ready(struct fixture *f)
{
    AWAIT(&f->r, kernel_state(main_kernel(&f->r)) == KERNEL_IDLE);
    forget(f);
}

/* What each request brings the one who asks, and everybody else. */
static void every_request(void **state)
{
    static const struct {
        enum jp_channel channel;
        const char *type, *content, *asker, *other;
    } rows[] = {
        {JP_SHELL, "kernel_info_request", "{}", "busy kernel_info_reply idle", "busy idle"},
        {JP_SHELL, "execute_request", "{\"code\":\"out x\"}",
         "busy execute_input stream execute_reply idle", "busy execute_input stream idle"},
        {JP_SHELL, "execute_request", "{\"code\":\"fail\"}",
         "busy execute_input execute_reply idle", "busy execute_input idle"},
        {JP_CONTROL, "kernel_info_request", "{}", "busy kernel_info_reply idle", "busy idle"},
        {JP_CONTROL, "interrupt_request", "{}", "busy interrupt_reply idle", "busy idle"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture *f = *state;
        await_ready(f);
        assert_int_equal(ask(f, &f->a, rows[i].channel, rows[i].type, rows[i].content), 0);
        AWAIT(&f->r, f->a.n_replies >= 1 && f->a.n_idle >= 1 && f->b.n_idle >= 1);
        /* A reply and IOPub come by two sockets: where the reply stands is open. */
        assert_int_equal(strlen(f->a.heard), strlen(rows[i].asker));
        assert_int_equal(f->a.n_replies, 1);
        assert_string_equal(f->b.heard, rows[i].other);
        assert_int_equal(f->b.n_replies, 0);
        assert_int_equal(exec_queue_outstanding(f->queue), 0);
    }
}

static void requests_wait_for_a_kernel_that_starts_and_keep_their_order(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        run_cell(f, &f->a, "None");
    assert_string_equal(f->a.heard, "");
    AWAIT(&f->r, f->a.n_replies == 5);
    for (int i = 1; i <= 5; i++) {
        char id[24];
        struct exec *e = NULL;
        snprintf(id, sizeof(id), "ask-%d", i);
        AWAIT(&f->r, exec_store_lookup(runner_execs(f->r.runner), id, &e, NULL) == 0 &&
                         e->state == EXEC_DONE);
        assert_int_equal(e->execution_count, 1 + i); /* after the runner's own first cell */
    }
}

static void a_dead_kernel_is_answered_for(void **state)
{
    struct fixture *f = *state;
    kernel_end(main_kernel(&f->r));
    AWAIT(&f->r, kernel_state(main_kernel(&f->r)) == KERNEL_DEAD);
    forget(f);
    run_cell(f, &f->a, "None");
    assert_string_equal(f->a.heard, "busy error execute_reply idle");
    assert_string_equal(f->b.heard, "busy error idle");
    forget(f);
    ask(f, &f->a, JP_CONTROL, "shutdown_request", "{\"restart\":true}");
    assert_string_equal(f->a.heard, "busy shutdown_reply idle");
    AWAIT(&f->r, kernel_state_live(kernel_state(main_kernel(&f->r))));
}

static void a_process_that_ends_leaves_no_request_unanswered(void **state)
{
    struct fixture *f = *state;
    await_live(&f->r);
    run_cell(f, &f->a, "hang");
    run_cell(f, &f->b, "None"); /* is behind it */
    AWAIT(&f->r, strstr(f->a.heard, "execute_input"));
    forget(f);
    kill(kernel_pid(main_kernel(&f->r)), SIGKILL);
    AWAIT(&f->r, f->a.n_replies == 1 && f->b.n_replies == 1);
    assert_non_null(strstr(f->a.heard, "error execute_reply idle"));
    assert_int_equal(f->b.n_idle, 2);
    assert_non_null(strstr(f->b.heard, "restarting"));
    AWAIT(&f->r, kernel_state_live(kernel_state(main_kernel(&f->r))));
    forget(f);
    run_cell(f, &f->b, "None");
    AWAIT(&f->r, f->b.n_replies == 1);
}

/* As many as may be under way, all failing at once: each is over in the end, no call in another's.
 */
static void ten_thousand_that_wait_are_over_one_after_the_other(void **state)
{
    struct fixture *f =
        make("/bin/cat"); /* which ends at once: the kernel is dead, or about to be */
    int full = 0;
    for (int i = 0; i < HUB_REQUESTS_MAX && kernel_state(main_kernel(&f->r)) != KERNEL_DEAD; i++)
        full += ask(f, &f->a, JP_SHELL, "complete_request", "{}") == HUB_FULL;
    assert_int_equal(full, 1);
    AWAIT(&f->r, f->a.n_replies == HUB_REQUESTS_MAX);
    assert_int_equal(exec_queue_outstanding(f->queue), 0);
    AWAIT(&f->r, f->a.n_room == 1);
    void *s = f;
    teardown(&s);
}

static void a_message_that_is_no_request_is_counted_and_dropped(void **state)
{
    struct fixture *f = *state;
    await_live(&f->r);
    forget(f);
    struct jp_ws_msg msg = {.channel = JP_SHELL};
    msg.frames[JP_HEADER] = slice_str("{\"msg_id\":7}");
    assert_int_equal(hub_send(f->a.session, &msg), 0);
    msg.frames[JP_HEADER] = slice_str("not json");
    assert_int_equal(hub_send(f->a.session, &msg), 0);
    ask(f, &f->a, JP_IOPUB, "execute_request", "{}");
    ask(f, &f->a, JP_STDIN, "input_reply", "{\"value\":\"nobody asked\"}");
    assert_int_equal(ask_as(f, &f->a, JP_SHELL, "one", "kernel_info_request", "{}"), 0);
    AWAIT(&f->r, f->a.n_replies == 1);
    /* The same once more, as a broken connection's client sends it. */
    assert_int_equal(ask_as(f, &f->a, JP_SHELL, "one", "kernel_info_request", "{}"), 0);
    ask(f, &f->a, JP_SHELL, "kernel_info_request", "{}");
    AWAIT(&f->r, f->a.n_replies == 2);
}

static void a_session_goes_on_where_its_client_is_known_to_be(void **state)
{
    struct fixture *f = *state;
    await_ready(f);
    ask(f, &f->b, JP_SHELL, "kernel_info_request", "{}");
    AWAIT(&f->r, f->a.n_idle >= 1);
    hub_acked(f->a.session, hub_sent(f->a.session));
    forget(f);
    ask(f, &f->b, JP_SHELL, "kernel_info_request", "{}"); /* sent, not acknowledged */
    AWAIT(&f->r, f->a.n_idle >= 1);
    hub_detach(f->a.session);
    ask(f, &f->b, JP_SHELL, "kernel_info_request", "{}"); /* missed */
    AWAIT(&f->r, f->b.n_replies == 2);
    AWAIT(&f->r, f->b.n_idle == 2);
    forget(f);
    attach(f, &f->a, "a");
    on_more(&f->a);
    assert_string_equal(f->a.heard, "busy idle busy idle");
}

static void a_newer_connection_takes_the_sessions_place(void **state)
{
    struct fixture *f = *state;
    struct client newer = {0};
    attach(f, &newer, "a");
    assert_int_equal(f->a.over, 1000);
    assert_null(f->a.session);
    await_live(&f->r);
    ask(f, &newer, JP_SHELL, "kernel_info_request", "{}");
    AWAIT(&f->r, newer.n_replies == 1);
    hub_close_all(f->hub, 1001, "the end");
    assert_int_equal(newer.over, 1001);
    assert_int_equal(hub_connections(f->hub), 0);
}

/* A notebook's cell and an execution of the API take turns by their tickets. */
static void an_execution_waits_for_a_cell_that_came_before(void **state)
{
    struct fixture *f = *state;
    struct exec *e = NULL;
    await_live(&f->r);
    run_cell(f, &f->a, "hang");
    AWAIT(&f->r, kernel_state(main_kernel(&f->r)) == KERNEL_BUSY);
    assert_int_equal(run_code(&f->r, "e1", "None", NULL, &e, NULL), 0);
    assert_int_equal(e->state, EXEC_QUEUED);
    ask(f, &f->b, JP_CONTROL, "interrupt_request", "{}");
    AWAIT(&f->r, e->state == EXEC_DONE);
    assert_string_equal(e->status, "ok");
    assert_int_equal(f->a.n_replies, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    kernel_stub_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(every_request),
        TEST(requests_wait_for_a_kernel_that_starts_and_keep_their_order),
        TEST(a_dead_kernel_is_answered_for),
        TEST(a_process_that_ends_leaves_no_request_unanswered),
        cmocka_unit_test(ten_thousand_that_wait_are_over_one_after_the_other),
        TEST(a_message_that_is_no_request_is_counted_and_dropped),
        TEST(a_session_goes_on_where_its_client_is_known_to_be),
        TEST(a_newer_connection_takes_the_sessions_place),
        TEST(an_execution_waits_for_a_cell_that_came_before),
    };
    if (crypto_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
