/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "attach/attach_relay.h"

#include "lib/base/mem.h"

#include <stdio.h>

struct fixture {
    struct attach_relay *relay;
    struct jp_request req;
    struct attach_answer answer;
    struct buf out;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->relay = attach_relay_new();
    attach_relay_kernel(f->relay, "k-id");
    buf_init(&f->out, KIB(64));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    attach_relay_free(f->relay);
    buf_done(&f->out);
    free(f);
    return 0;
}

static int ask(struct fixture *f, enum jp_channel channel, const char *msg_id, const char *ident)
{
    static char header[200];
    snprintf(header, sizeof(header), "{\"msg_id\":\"%s\",\"msg_type\":\"execute_request\"}",
             msg_id);
    f->req = (struct jp_request){.n_idents = 1, .idents = {slice_str(ident)}};
    f->req.msg.channel = channel;
    snprintf(f->req.msg.msg_id, sizeof(f->req.msg.msg_id), "%s", msg_id);
    strcpy(f->req.msg.msg_type, "execute_request");
    f->req.msg.header = slice_str(header);
    f->req.msg.parent = slice_str("{}");
    f->req.msg.metadata = slice_str("{\"m\":1}");
    f->req.msg.content = slice_str("{\"code\":\"1\"}");
    f->req.msg.buffers[0] = slice_str("b0");
    f->req.msg.n_buffers = 1;
    buf_clear(&f->out);
    return attach_relay_request(f->relay, &f->req, &f->out);
}

/* What the runner sends: a message on `channel`, in answer to `parent`. */
static int answer(struct fixture *f, enum jp_channel channel, const char *type, const char *parent)
{
    static unsigned n;
    char header[200], parent_header[200];
    snprintf(header, sizeof(header), "{\"msg_id\":\"r%u\",\"msg_type\":\"%s\"}", ++n, type);
    snprintf(parent_header, sizeof(parent_header), "{\"msg_id\":\"%s\"}", parent);
    struct jp_ws_msg ws = {
        .channel = channel,
        .frames = {slice_str(header), slice_str(parent_header), slice_str("{}"), slice_str("{}")}};
    buf_clear(&f->out);
    assert_int_equal(jp_ws_v1_encode(&f->out, &ws), 0);
    return attach_relay_answer(f->relay, buf_slice(&f->out), &f->answer);
}

static void a_request_is_a_v1_message(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, JP_CONTROL, "m1", "alice"), 0);
    struct jp_ws_msg ws;
    assert_int_equal(jp_ws_v1_decode(&ws, buf_slice(&f->out), NULL), 0);
    assert_int_equal(ws.channel, JP_CONTROL);
    assert_true(slice_eq(ws.frames[JP_HEADER], f->req.msg.header));
    assert_true(slice_eq_str(ws.frames[JP_METADATA], "{\"m\":1}"));
    assert_true(slice_eq_str(ws.frames[JP_CONTENT], "{\"code\":\"1\"}"));
    assert_int_equal(ws.n_buffers, 1);
    assert_true(slice_eq_str(ws.buffers[0], "b0"));
}

static void replies_find_who_asked(void **state)
{
    struct fixture *f = *state;
    ask(f, JP_SHELL, "m1", "alice");
    ask(f, JP_CONTROL, "m2", "bob");
    assert_int_equal(answer(f, JP_SHELL, "execute_reply", "m1"), 0);
    assert_int_equal(f->answer.channel, JP_SHELL);
    assert_true(slice_eq_str(f->answer.route.idents[0], "alice"));
    assert_string_equal(f->answer.msg.msg_type, "execute_reply");
    assert_int_equal(answer(f, JP_CONTROL, "interrupt_reply", "m2"), 0);
    assert_int_equal(f->answer.channel, JP_CONTROL);
    /* a reply comes where the request was made, whatever the runner says */
    assert_int_equal(answer(f, JP_SHELL, "interrupt_reply", "m2"), 0);
    assert_int_equal(f->answer.channel, JP_CONTROL);
    assert_int_equal(answer(f, JP_STDIN, "input_request", "m1"), 0);
    assert_int_equal(f->answer.channel, JP_STDIN);
    assert_true(slice_eq_str(f->answer.route.idents[0], "alice"));
    assert_int_equal(answer(f, JP_SHELL, "execute_reply", "unknown"), -ERR_NOT_FOUND);
    assert_int_equal(answer(f, JP_STDIN, "input_request", ""), -ERR_NOT_FOUND);
}

/* It is an answer itself: nothing comes back to it. */
static void an_input_reply_is_no_request(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, JP_STDIN, "m1", "alice"), 0);
    assert_int_equal(answer(f, JP_SHELL, "execute_reply", "m1"), -ERR_NOT_FOUND);
}

static void output_has_a_topic(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(answer(f, JP_IOPUB, "stream", "of-somebody-else"), 0);
    assert_int_equal(f->answer.channel, JP_IOPUB);
    assert_string_equal(f->answer.topic, "kernel.k-id.stream");
    assert_int_equal(answer(f, JP_IOPUB, "iopub_welcome", ""), -ERR_CONFLICT);
}

static void what_comes_again_is_known(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(answer(f, JP_IOPUB, "stream", "m"), 0);
    assert_true(attach_relay_is_new(f->relay, &f->answer));
    assert_false(attach_relay_is_new(f->relay, &f->answer));
    assert_int_equal(answer(f, JP_IOPUB, "stream", "m"), 0); /* under another id */
    assert_true(attach_relay_is_new(f->relay, &f->answer));
}

static void refuses_what_is_no_message(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(attach_relay_answer(f->relay, slice_str(""), &f->answer), -ERR_INVALID);
    assert_int_equal(attach_relay_answer(f->relay, slice_str("{\"header\":{}}"), &f->answer),
                     -ERR_INVALID);
    static const char *const headers[] = {
        "", "{}", "[]", "{\"msg_id\":\"m\"}", "{\"msg_id\":1,\"msg_type\":\"stream\"}", "{"};
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct jp_ws_msg ws = {
            .channel = JP_IOPUB,
            .frames = {slice_str(headers[i]), slice_str("{}"), slice_str("{}"), slice_str("{}")}};
        buf_clear(&f->out);
        jp_ws_v1_encode(&f->out, &ws);
        assert_int_equal(attach_relay_answer(f->relay, buf_slice(&f->out), &f->answer),
                         -ERR_INVALID);
    }
}

static void too_much_is_not_passed_on(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, JP_SHELL, "m1", "alice"), 0);
    size_t fits = f->out.len;
    buf_done(&f->out);
    buf_init(&f->out, fits);
    assert_int_equal(ask(f, JP_SHELL, "m2", "alice"), 0);
    buf_done(&f->out);
    buf_init(&f->out, fits - 1);
    assert_int_equal(ask(f, JP_SHELL, "m3", "alice"), -ERR_TOO_LARGE);
    buf_done(&f->out);
    buf_init(&f->out, KIB(64));
    assert_int_equal(answer(f, JP_SHELL, "execute_reply", "m2"), 0);
    assert_int_equal(answer(f, JP_SHELL, "execute_reply", "m3"), -ERR_NOT_FOUND);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_a_v1_message),    TEST(replies_find_who_asked),
        TEST(an_input_reply_is_no_request), TEST(output_has_a_topic),
        TEST(what_comes_again_is_known),    TEST(refuses_what_is_no_message),
        TEST(too_much_is_not_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
