/* kernel.c over real short processes: which events a life brings, in which order. */
#include "tests/support/kernel_stub.h"

#include "kernel-runner/kernel/kernel.h"
#include "kernel-runner/kernel/kernel_walls.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>

#define WATCHDOG_MS 20000
#define ID          "11111111-1111-4111-8111-111111111000"

struct fixture {
    char dir[32];
    struct loop *loop;
    struct jp_context *jupyter;
    struct kernel_walls *walls;
    struct kernel_cfg cfg;
    struct kernel *kernel;
    struct kernel_listener listener, second;
    struct loop_timer *watchdog;
    struct kernel_death death;
    unsigned n_ready, n_down, n_probed, n_gone, n_settled, n_second;
    char last_input[200];
    char answered[64]; /* the id of the last reply */
    bool idle_seen;
    bool leave; /* the second listener leaves when it is told */
};

static void on_watchdog(void *ctx)
{
    fail_msg("nothing came for %d ms", WATCHDOG_MS);
}

static void on_msg(void *ctx, const struct jp_msg *msg)
{
    struct fixture *f = ctx;
    if (msg->kind == JP_EXECUTE_INPUT)
        snprintf(f->last_input, sizeof(f->last_input), "%.*s", (int)msg->content.len,
                 msg->content.ptr);
    if (msg->kind == JP_EXECUTE_REPLY)
        snprintf(f->answered, sizeof(f->answered), "%.60s", msg->parent_id);
    loop_stop(f->loop);
}

static void on_ready(void *ctx)
{
    struct fixture *f = ctx;
    f->n_ready++;
    loop_stop(f->loop);
}

static void on_down(void *ctx, const struct kernel_death *death)
{
    struct fixture *f = ctx;
    f->n_down++;
    f->death = *death;
    loop_stop(f->loop);
}

static void on_probed(void *ctx)
{
    struct fixture *f = ctx;
    f->n_probed++;
    loop_stop(f->loop);
}

static void on_gone(void *ctx)
{
    struct fixture *f = ctx;
    f->n_gone++;
}

static void on_second(void *ctx)
{
    struct fixture *f = ctx;
    f->n_second++;
    if (f->leave) {
        kernel_unlisten(f->kernel, &f->second);
        f->leave = false;
    }
}

static void on_settled(void *ctx)
{
    struct fixture *f = ctx;
    f->n_settled++;
    loop_stop(f->loop);
}

/* Turns the loop until `*counter` is at least n. */
static void await(struct fixture *f, const unsigned *counter, unsigned n)
{
    loop_timer_start(f->watchdog, WATCHDOG_MS, 0);
    while (*counter < n)
        loop_run(f->loop);
    loop_timer_stop(f->watchdog);
}

static void await_state(struct fixture *f, enum kernel_state state)
{
    loop_timer_start(f->watchdog, WATCHDOG_MS, 0);
    while (kernel_state(f->kernel) != state)
        loop_run(f->loop);
    loop_timer_stop(f->watchdog);
}

static void start(struct fixture *f, const char *how)
{
    _cleanup_(json_decrefp) json_t *env = json_pack("{s:s}", "CAESARION_STUB", how);
    const struct kernel_start start = {.loop = f->loop,
                                       .jupyter = f->jupyter,
                                       .cfg = &f->cfg,
                                       .id = ID,
                                       .cwd = f->dir,
                                       .env = env};
    f->kernel = kernel_new(&start);
    f->second.events = (struct kernel_events){.on_ready = on_second, .ctx = f};
    f->listener.events = (struct kernel_events){.on_msg = on_msg,
                                                .on_ready = on_ready,
                                                .on_down = on_down,
                                                .on_probed = on_probed,
                                                .on_gone = on_gone,
                                                .ctx = f};
    kernel_listen(f->kernel, &f->second);
    kernel_listen(f->kernel, &f->listener);
}

static void execute(struct fixture *f, const char *id, const char *code)
{
    char content[200];
    snprintf(content, sizeof(content), "{\"code\":\"%s\",\"silent\":false}", code);
    struct jp_send send = {.channel = JP_SHELL,
                           .msg_type = "execute_request",
                           .msg_id = id,
                           .content = slice_str(content)};
    assert_int_equal(kernel_send(f->kernel, &send, NULL), 0);
}

static void await_reply(struct fixture *f, const char *id)
{
    loop_timer_start(f->watchdog, WATCHDOG_MS, 0);
    while (strcmp(f->answered, id) != 0)
        loop_run(f->loop);
    loop_timer_stop(f->watchdog);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    snprintf(f->dir, sizeof(f->dir), "/tmp/ck-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(jp_context_new(&f->jupyter, f->loop, NULL), 0);
    assert_int_equal(kernel_walls_new(&f->walls, NULL), 0);
    f->watchdog = loop_timer_new(f->loop, on_watchdog, f);
    f->cfg = (struct kernel_cfg){.python = kernel_stub_path(),
                                 .run_dir = f->dir,
                                 .cwd = f->dir,
                                 .walls = f->walls,
                                 .start_timeout_ms = WATCHDOG_MS};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    kernel_free(f->kernel);
    kernel_walls_free(f->walls);
    jp_context_free(f->jupyter);
    loop_timer_free(f->watchdog);
    loop_free(f->loop);
    assert_int_equal(rmdir(f->dir), 0); /* nothing is left in it */
    free(f);
    return 0;
}

static void a_kernel_starts_and_settles(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    assert_int_equal(kernel_state(f->kernel), KERNEL_STARTING);
    assert_int_equal(kernel_generation(f->kernel), 1);
    struct kernel_wait *back = kernel_wait_settled(f->kernel, on_settled, f);
    kernel_wait_settled(f->kernel, on_settled, f);
    kernel_wait_settled(f->kernel, on_settled, f);
    kernel_wait_cancel(back);
    assert_int_equal(f->n_settled, 0);
    await(f, &f->n_settled, 2);
    assert_int_equal(f->n_ready, 1);
    assert_int_equal(kernel_state(f->kernel), KERNEL_IDLE);
    assert_int_not_equal(kernel_session(f->kernel)[0], 0);
}

static void its_state_follows_what_it_runs(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    await(f, &f->n_ready, 1);
    execute(f, "e1", "hang");
    await_state(f, KERNEL_BUSY);
    assert_true(kernel_probe(f->kernel));
    assert_false(kernel_probe(f->kernel)); /* one is under way */
    assert_int_equal(f->n_probed, 0);      /* the shell does not come to it */
    kernel_interrupt(f->kernel);
    await_reply(f, "e1");
    await_state(f, KERNEL_IDLE);
    await(f, &f->n_probed, 1);
    assert_true(kernel_execution_count(f->kernel) > 0);
}

/* What a process's end makes of the kernel. */
static void every_end(void **state)
{
    static const struct {
        const char *how; /* code, or an order */
        struct kernel_death death;
        enum kernel_state then;
        unsigned generation;
        bool ended;
    } rows[] = {
        {"exit 3", {.exit_code = 3, .generation = 1}, KERNEL_IDLE, 2, false},
        {"exit 0", {.exit_code = 0, .generation = 1}, KERNEL_IDLE, 2, false},
        {"kill", {.signal = SIGKILL, .generation = 1}, KERNEL_IDLE, 2, false},
        {"restart", {.wanted = true, .signal = SIGKILL, .generation = 1}, KERNEL_IDLE, 2, false},
        {"end", {.wanted = true, .signal = SIGKILL, .generation = 1}, KERNEL_DEAD, 2, true},
        {"oom", {.oom = true, .signal = SIGKILL, .generation = 1}, KERNEL_IDLE, 2, false},
        {"shutdown", {.wanted = true, .exit_code = 0, .generation = 1}, KERNEL_DEAD, 2, true},
        {"shutdown and restart", {.wanted = true, .generation = 1}, KERNEL_IDLE, 2, false},
    };
    struct jp_send shutdown = {
        .channel = JP_CONTROL, .msg_type = "shutdown_request", .content = slice_str("{}")};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        void *s = NULL;
        assert_int_equal(setup(&s), 0);
        struct fixture *f = s;
        start(f, "");
        await(f, &f->n_ready, 1);
        if (strcmp(rows[i].how, "restart") == 0) {
            kernel_restart(f->kernel);
            assert_int_equal(kernel_state(f->kernel), KERNEL_STOPPING);
            kernel_restart(f->kernel); /* is under way */
        } else if (strcmp(rows[i].how, "end") == 0) {
            kernel_end(f->kernel);
        } else if (strcmp(rows[i].how, "oom") == 0) {
            kernel_kill_oom(f->kernel);
        } else if (strncmp(rows[i].how, "shutdown", 8) == 0) {
            assert_int_equal(kernel_send(f->kernel, &shutdown, NULL), 0);
            kernel_expect_exit(f->kernel, /* restart= */ rows[i].how[8] != '\0');
        } else {
            execute(f, "e1", rows[i].how);
        }
        await(f, &f->n_down, 1);
        assert_int_equal(f->death.wanted, rows[i].death.wanted);
        assert_int_equal(f->death.oom, rows[i].death.oom);
        assert_int_equal(f->death.signal, rows[i].death.signal);
        assert_int_equal(f->death.exit_code, rows[i].death.exit_code);
        assert_int_equal(f->death.generation, rows[i].death.generation);
        await_state(f, rows[i].then);
        assert_int_equal(kernel_generation(f->kernel), rows[i].generation);
        assert_int_equal(kernel_is_ended(f->kernel), rows[i].ended);
        if (rows[i].then == KERNEL_DEAD) {
            assert_true(kernel_send(f->kernel, &shutdown, NULL) < 0);
            kernel_restart(f->kernel);
            await_state(f, KERNEL_IDLE);
            assert_int_equal(kernel_generation(f->kernel), 2);
        }
        execute(f, "after", "None");
        await_reply(f, "after");
        teardown(&s);
    }
}

static void a_first_process_that_dies_is_not_tried_twice(void **state)
{
    struct fixture *f = *state;
    start(f, "die");
    kernel_wait_settled(f->kernel, on_settled, f);
    await(f, &f->n_settled, 1);
    assert_int_equal(kernel_state(f->kernel), KERNEL_DEAD);
    assert_string_equal(kernel_last_words(f->kernel), "the stub dies\n");
    kernel_restart(f->kernel); /* a wish to try again */
    await(f, &f->n_down, 2);
    assert_int_equal(kernel_state(f->kernel), KERNEL_DEAD);
}

static void one_that_does_not_answer_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->cfg.start_timeout_ms = 100;
    start(f, "mute");
    await(f, &f->n_down, 1);
    assert_int_equal(kernel_state(f->kernel), KERNEL_DEAD);
    assert_non_null(strstr(kernel_last_words(f->kernel), "did not answer in time"));
}

static void one_that_cannot_be_started_is_dead_with_the_reason(void **state)
{
    struct fixture *f = *state;
    f->cfg.python = "/nonexistent/python";
    start(f, "");
    kernel_wait_settled(f->kernel, on_settled, f);
    await(f, &f->n_settled, 1);
    assert_int_equal(kernel_state(f->kernel), KERNEL_DEAD);
    assert_non_null(strstr(kernel_last_words(f->kernel), "/nonexistent/python"));
}

static void the_fifth_death_is_the_last_until_a_restart(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    for (unsigned n = 1; n <= KERNEL_DEATHS_MAX; n++) {
        await(f, &f->n_ready, n);
        execute(f, "e", "kill");
        await(f, &f->n_down, n);
        assert_int_equal(kernel_state(f->kernel),
                         n < KERNEL_DEATHS_MAX ? KERNEL_RESTARTING : KERNEL_DEAD);
    }
    kernel_restart(f->kernel);
    await(f, &f->n_ready, KERNEL_DEATHS_MAX + 1);
    execute(f, "e", "kill"); /* and they are counted anew */
    await(f, &f->n_ready, KERNEL_DEATHS_MAX + 2);
}

static void restarts_are_no_deaths(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    for (unsigned n = 1; n <= KERNEL_DEATHS_MAX + 1; n++) {
        await(f, &f->n_ready, n);
        kernel_restart(f->kernel);
        await(f, &f->n_down, n);
        assert_int_equal(kernel_state(f->kernel), KERNEL_RESTARTING);
    }
}

static void variables_before_it_serves_replace_the_process(void **state)
{
    struct fixture *f = *state;
    _cleanup_(json_decrefp) json_t *env = json_pack("{s:s}", "A", "b");
    start(f, "");
    kernel_wait_settled(f->kernel, on_settled, f);
    kernel_set_env(f->kernel, env);
    assert_int_equal(kernel_state(f->kernel), KERNEL_STOPPING);
    await(f, &f->n_settled, 1);
    assert_int_equal(kernel_generation(f->kernel), 2);
    kernel_set_env(f->kernel, env); /* it serves: they are set in it */
    assert_int_equal(kernel_state(f->kernel), KERNEL_IDLE);
    kernel_wait_settled(f->kernel, on_settled, f);
    await(f, &f->n_settled, 2);
    assert_int_equal(kernel_generation(f->kernel), 2);
}

static void a_listener_may_leave_while_it_is_told(void **state)
{
    struct fixture *f = *state;
    f->leave = true;
    start(f, "");
    await(f, &f->n_ready, 1);
    kernel_restart(f->kernel);
    await(f, &f->n_ready, 2);
    assert_int_equal(f->n_second, 1);
}

static void who_waits_is_told_after_the_kernel_is_freed_and_not_by_it(void **state)
{
    struct fixture *f = *state;
    start(f, "mute");
    kernel_wait_settled(f->kernel, on_settled, f);
    struct kernel_wait *back = kernel_wait_settled(f->kernel, on_settled, f);
    f->kernel = kernel_free(f->kernel);
    assert_int_equal(f->n_gone, 1);
    assert_int_equal(f->n_settled, 0);
    kernel_wait_cancel(back);
    await(f, &f->n_settled, 1);
    assert_int_equal(f->n_settled, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    kernel_stub_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(a_kernel_starts_and_settles),
        TEST(its_state_follows_what_it_runs),
        cmocka_unit_test(every_end),
        TEST(a_first_process_that_dies_is_not_tried_twice),
        TEST(one_that_does_not_answer_is_given_up),
        TEST(one_that_cannot_be_started_is_dead_with_the_reason),
        TEST(the_fifth_death_is_the_last_until_a_restart),
        TEST(restarts_are_no_deaths),
        TEST(variables_before_it_serves_replace_the_process),
        TEST(a_listener_may_leave_while_it_is_told),
        TEST(who_waits_is_told_after_the_kernel_is_freed_and_not_by_it),
    };
    if (crypto_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
