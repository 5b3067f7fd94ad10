/* One sandbox from the inside: ids, claims, kernels, clocks, over kernels that are stubs. */
#include "tests/unit/kernel-runner/core/runner_fixture.h"

static int setup(void **state)
{
    struct runner_fixture *f = MEM_NEW(struct runner_fixture);
    runner_fixture_start(f, kernel_stub_path());
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct runner_fixture *f = *state;
    runner_fixture_stop(f);
    free(f);
    return 0;
}

static int claim(struct runner_fixture *f, const char *text, struct err *err)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    assert_int_equal(jsonx_parse(&body, slice_str(text), NULL), 0);
    return runner_claim(f->runner, body, err);
}

static void an_id_runs_once(void **state)
{
    struct runner_fixture *f = *state;
    struct exec *first = NULL, *again = NULL;
    struct err err;
    assert_int_equal(run_code(f, "e1", "out a", NULL, &first, &err), 0);
    assert_int_equal(run_code(f, "e1", "out a", NULL, &again, &err), RUNNER_REPEATED);
    assert_ptr_equal(first, again);
    assert_int_equal(run_code(f, "e1", "out b", NULL, &again, &err), -ERR_CONFLICT);
    AWAIT(f, first->state == EXEC_DONE);
    assert_string_equal(first->status, "ok");
    assert_int_equal(run_code(f, "e1", "out a", NULL, &again, &err), RUNNER_REPEATED);
}

static void what_is_refused_leaves_its_id_free(void **state)
{
    struct runner_fixture *f = *state;
    struct exec *e = NULL;
    struct err err;
    assert_int_equal(run_code(f, "e1", "None", "no-such-kernel", &e, &err), -ERR_NOT_FOUND);
    kernel_end(main_kernel(f));
    AWAIT(f, kernel_state(main_kernel(f)) == KERNEL_DEAD);
    assert_int_equal(run_code(f, "e1", "None", NULL, &e, &err), -ERR_KERNEL_DEAD);
    struct exec_queue *q = NULL;
    assert_int_equal(runner_queue(f->runner, NULL, &q, &err), 0);
    exec_queue_restart(q);
    assert_int_equal(run_code(f, "e1", "None", NULL, &e, &err), 0);
    AWAIT(f, e->state == EXEC_DONE);
    assert_string_equal(e->status, "ok");
}

static void a_claim_is_made_once(void **state)
{
    static const char first[] = "{\"claim_id\":\"1\",\"owner\":\"ann\",\"name\":\"n\","
                                "\"exec_timeout_s\":7,\"env\":{\"KEY\":\"secret\"}}";
    struct runner_fixture *f = *state;
    struct err err;
    assert_int_equal(claim(f, "{\"owner\":\"ann\",\"idle_timeout_s\":0}", &err), -ERR_INVALID);
    assert_int_equal(claim(f, "{\"owner\":\"ann\",\"env\":[]}", &err), -ERR_INVALID);
    assert_int_equal(claim(f, first, &err), 0);
    assert_int_equal(claim(f, first, &err), 0);
    assert_int_equal(claim(f, "{\"claim_id\":\"2\",\"owner\":\"ann\"}", &err), -ERR_CONFLICT);
    assert_int_equal(claim(f, "{\"owner\":\"bob\"}", &err), -ERR_CONFLICT);
    _cleanup_(json_decrefp) json_t *told = runner_claim_json(f->runner);
    _cleanup_(json_decrefp) json_t *sandbox = runner_sandbox_json(f->runner, true);
    _cleanup_(freep) char *told_text = jsonx_dump(told), *text = jsonx_dump(sandbox);
    assert_string_equal(told_text, "{\"claim_id\":\"1\",\"owner\":\"ann\",\"name\":\"n\","
                                   "\"idempotency_key\":null,\"session_id\":null}");
    assert_non_null(strstr(text, "\"exec_timeout_s\":7"));
    assert_null(strstr(text, "secret"));
}

static void further_kernels_come_and_go(void **state)
{
    struct runner_fixture *f = *state;
    struct kernel *k = NULL;
    struct exec *e = NULL;
    struct err err;
    assert_int_equal(runner_remove_kernel(f->runner, kernel_id(main_kernel(f)), &err),
                     -ERR_CONFLICT);
    assert_int_equal(runner_add_kernel(f->runner, NULL, NULL, &k, &err), 0);
    char id[ID_UUID_SIZE];
    memcpy(id, kernel_id(k), sizeof(id));
    assert_int_equal(run_code(f, "e1", "hang", id, &e, &err), 0);
    AWAIT(f, e->state == EXEC_RUNNING);
    assert_int_equal(runner_remove_kernel(f->runner, id, &err), 0);
    assert_string_equal(e->status, "cancelled");
    assert_int_equal(runner_remove_kernel(f->runner, id, &err), -ERR_NOT_FOUND);
    assert_int_equal(run_code(f, "e2", "None", id, &e, &err), -ERR_NOT_FOUND);
}

static void draining_ends_all_and_takes_nothing(void **state)
{
    struct runner_fixture *f = *state;
    struct exec *running = NULL, *waiting = NULL, *e = NULL;
    struct err err;
    assert_int_equal(run_code(f, "e1", "hang", NULL, &running, &err), 0);
    assert_int_equal(run_code(f, "e2", "None", NULL, &waiting, &err), 0);
    AWAIT(f, running->state == EXEC_RUNNING);
    runner_drain(f->runner);
    assert_string_equal(running->status, "cancelled");
    assert_string_equal(waiting->status, "cancelled");
    assert_int_equal(run_code(f, "e3", "None", NULL, &e, &err), -ERR_UNAVAILABLE);
}

/* A longest life ends it also in use; idleness only when nothing runs. */
static void a_sandbox_in_use_ends_by_its_longest_life_alone(void **state)
{
    struct runner_fixture *f = *state;
    struct exec *e = NULL;
    struct err err;
    await_live(f);
    assert_int_equal(run_code(f, "e1", "hang", NULL, &e, &err), 0);
    assert_int_equal(
        claim(f, "{\"owner\":\"ann\",\"idle_timeout_s\":0.05,\"max_lifetime_s\":0.4}", &err), 0);
    AWAIT(f, f->expired[0]);
    assert_string_equal(f->expired, "max_lifetime");
    assert_int_not_equal(e->state, EXEC_DONE);
}

static void one_that_nobody_uses_ends(void **state)
{
    struct runner_fixture *f = *state;
    struct err err;
    assert_int_equal(claim(f, "{\"owner\":\"ann\",\"idle_timeout_s\":0.05}", &err), 0);
    AWAIT(f, f->expired[0]);
    assert_string_equal(f->expired, "idle_timeout");
}

static void one_that_nobody_claims_ends(void **state)
{
    struct runner_fixture *f = MEM_NEW(struct runner_fixture);
    f->quick = true;
    runner_fixture_start(f, kernel_stub_path());
    AWAIT(f, f->expired[0]);
    assert_string_equal(f->expired, "idle_timeout");
    runner_fixture_stop(f);
    free(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    kernel_stub_main(argc, argv);
    const struct CMUnitTest tests[] = {
        TEST(an_id_runs_once),
        TEST(what_is_refused_leaves_its_id_free),
        TEST(a_claim_is_made_once),
        TEST(further_kernels_come_and_go),
        TEST(draining_ends_all_and_takes_nothing),
        TEST(a_sandbox_in_use_ends_by_its_longest_life_alone),
        TEST(one_that_nobody_uses_ends),
        cmocka_unit_test(one_that_nobody_claims_ends),
    };
    if (crypto_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
