#include "controller/sandbox/sandbox_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/log.h"
#include "lib/crypto/crypto.h"
#include "lib/httpc/httpc.h"
#include "tests/unit/controller/sandbox/fake_backend.h"

#define ID_A "sb-01234567-89ab-4def-8123-456789abc000"
#define ID_B "sb-11234567-89ab-4def-8123-456789abc000"
#define ID_C "sb-21234567-89ab-4def-8123-456789abc000"

struct fixture {
    struct loop *loop;
    struct httpc *http;
    struct fake_backend *backend;
    struct sandbox_table *table;
    /* what callbacks said */
    unsigned calls, warm, gone;
    struct sandbox *sb;
    json_t *json;
    struct err err;
    enum sandbox_state gone_state;
    char gone_id[ID_SANDBOX_SIZE];
};

static void on_warm(void *ctx, struct sandbox *sb)
{
    struct fixture *f = ctx;

    f->warm++;
    f->sb = sb;
}

static void on_gone(void *ctx, struct sandbox *sb, enum sandbox_state from)
{
    struct fixture *f = ctx;

    f->gone++;
    f->gone_state = from;
    memcpy(f->gone_id, sb->id, sizeof(f->gone_id));
}

static int setup(void **state)
{
    static const struct sandbox_table_hooks hooks = {.on_warm = on_warm, .on_gone = on_gone};
    struct fixture *f = MEM_NEW(struct fixture);
    struct sandbox_table_cfg cfg = {
        .start_deadline_ms = 5000,
        .adopt_deadline_ms = 300,
        .defaults = {.exec_timeout_ms = 300000, .idle_timeout_ms = 3600000}};

    crypto_init(NULL);
    log_init("test", LOG_ERROR);
    if (loop_new(&f->loop, NULL) < 0 || httpc_new(&f->http, f->loop, 64, NULL) < 0)
        return -1;
    f->backend = fake_backend_new(f->loop);
    cfg.backend = &f->backend->base;
    cfg.http = f->http;
    memset(cfg.key, 7, sizeof(cfg.key));
    if (sandbox_table_new(&f->table, f->loop, &cfg, NULL) < 0)
        return -1;
    sandbox_table_set_hooks(f->table, &hooks, f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sandbox_backend_close(&f->backend->base);
    sandbox_table_free(f->table);
    httpc_free(f->http);
    loop_free(f->loop);
    json_decref(f->json);
    free(f);
    return 0;
}

static bool called(void *ctx)
{
    return ((struct fixture *)ctx)->calls > 0;
}

static void wait_call(struct fixture *f)
{
    assert_true(fake_run_until(f->loop, called, f));
    assert_int_equal(f->calls, 1);
    f->calls = 0;
}

static bool is_gone(void *ctx)
{
    return ((struct fixture *)ctx)->gone > 0;
}

static void wait_gone(struct fixture *f)
{
    assert_true(fake_run_until(f->loop, is_gone, f));
    f->gone = 0;
}

static void on_done(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;

    f->calls++;
    f->err = err ? *err : (struct err){0};
}

static void on_start(void *ctx, struct sandbox *sb, const struct err *err)
{
    struct fixture *f = ctx;

    on_done(ctx, err);
    f->sb = sb;
}

static void on_json(void *ctx, struct sandbox *sb, json_t *json, const struct err *err)
{
    struct fixture *f = ctx;

    on_done(ctx, err);
    f->sb = sb;
    json_decref(f->json);
    f->json = json_incref(json);
}

static struct sandbox *started(struct fixture *f)
{
    struct err err = {0};

    assert_int_equal(sandbox_start(f->table, on_start, f, &err), 0);
    assert_int_equal(f->calls, 0);
    wait_call(f);
    if (f->err.code)
        fail_msg("%s", f->err.text);
    assert_int_equal(f->sb->state, SANDBOX_WARM);
    return f->sb;
}

static int claim(struct fixture *f, struct sandbox *sb, const char *owner, const char *label,
                 const char *key)
{
    struct sandbox_spec spec;
    char *text =
        mem_printf("{\"name\":\"n\",\"labels\":{\"k\":\"%s\"},\"env\":{\"S\":\"ecret\"}}", label);
    json_t *body = NULL;
    struct err err;

    assert_int_equal(jsonx_parse(&body, slice_str(text), &err), 0);
    assert_int_equal(sandbox_spec_parse(&spec, body, sandbox_table_defaults(f->table), &err), 0);
    int r = sandbox_claim(sb, owner, &spec, key, 2000, on_json, f, &err);
    sandbox_spec_done(&spec);
    json_decref(body);
    free(text);
    return r;
}

static struct sandbox *claimed(struct fixture *f, const char *owner, const char *label)
{
    struct sandbox *sb = started(f);

    assert_int_equal(claim(f, sb, owner, label, NULL), 0);
    wait_call(f);
    if (f->err.code)
        fail_msg("%s", f->err.text);
    assert_int_equal(sb->state, SANDBOX_READY);
    return sb;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "(none)";
}

static void starts_claims_and_removes(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = started(f);
    char id[ID_SANDBOX_SIZE], hash[CRYPTO_HEX_SIZE];

    memcpy(id, sb->id, sizeof(id));
    crypto_token_hash(sb->token, hash);
    assert_string_equal(fake_find(f->backend, id)->token_hash, hash);
    assert_null(sandbox_table_find(f->table, id, NULL)); /* nobody's: nobody sees it */

    assert_int_equal(claim(f, sb, "alice", "v", "key-1"), 0);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    assert_ptr_equal(f->sb, sb);
    assert_string_equal(text_of(f->json, "id"), id);
    assert_string_equal(text_of(f->json, "owner"), "alice");
    assert_string_equal(text_of(f->json, "name"), "n");
    assert_string_equal(text_of(f->json, "status"), "ready");
    assert_true(json_is_true(json_object_get(f->json, "ready")));
    assert_string_equal(text_of(f->json, "created_at"), "2026-01-02T03:04:05.250000Z");
    assert_int_equal(json_integer_value(json_object_get(f->json, "exec_timeout_s")), 300);
    assert_string_equal(text_of(json_object_get(f->json, "kernel"), "state"), "idle");
    assert_null(json_object_get(f->json, "env"));
    assert_int_equal(json_object_size(f->json), 13);

    assert_ptr_equal(sandbox_table_find(f->table, id, "alice"), sb);
    assert_ptr_equal(sandbox_table_find(f->table, id, NULL), sb);
    assert_null(sandbox_table_find(f->table, id, "bob"));
    assert_ptr_equal(sandbox_table_find_key(f->table, "alice", "key-1"), sb);
    assert_null(sandbox_table_find_key(f->table, "bob", "key-1"));
    assert_int_equal(sandbox_table_count_owned(f->table), 1);

    sandbox_remove(sb, on_done, f);
    sandbox_remove(sb, NULL, NULL);
    assert_int_equal(sb->state, SANDBOX_TERMINATING);
    assert_ptr_equal(sandbox_table_find(f->table, id, "alice"), sb);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    assert_null(sandbox_table_find(f->table, id, "alice"));
    assert_int_equal(fake_running(f->backend), 0);
    assert_int_equal(f->backend->removes, 1);
    assert_int_equal(sandbox_table_count_owned(f->table), 0);
    assert_string_equal(f->gone_id, id);
}

static void failed_creation_says_why(void **state)
{
    struct fixture *f = *state;
    struct err err;

    f->backend->fail_creates = 1;
    assert_int_equal(sandbox_start(f->table, on_start, f, &err), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_SANDBOX_FAILED);
    assert_non_null(strstr(f->err.text, "last words"));
    assert_null(f->sb);
    wait_gone(f);

    f->backend->refuse_create = true;
    assert_int_equal(sandbox_start(f->table, on_start, f, &err), -ERR_UNAVAILABLE);
    assert_int_equal(sandbox_table_count(f->table, SANDBOX_CREATING), 0);
}

static void kernel_that_does_not_start_is_removed(void **state)
{
    struct fixture *f = *state;
    struct err err;

    f->backend->ready = FAKE_PROBLEM;
    f->backend->problem_status = 502;
    f->backend->problem = "{\"code\":\"sandbox_failed\",\"detail\":\"No module named ipykernel\"}";
    assert_int_equal(sandbox_start(f->table, on_start, f, &err), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_SANDBOX_FAILED);
    assert_string_equal(f->err.text, "No module named ipykernel");
    wait_gone(f);
    assert_int_equal(fake_running(f->backend), 0);
    assert_int_equal(f->gone_state, SANDBOX_FAILED);
}

static void last_words_of_a_dying_runner_come_through(void **state)
{
    struct fixture *f = *state;
    struct err err;

    f->backend->hold_ready = true;
    assert_int_equal(sandbox_start(f->table, on_start, f, &err), 0);
    while (!f->backend->runners || !f->backend->runners->held_ready) {
        struct loop_timer *t = loop_timer_new(f->loop, (loop_fn)loop_stop, f->loop);
        loop_timer_start(t, 1, 0);
        loop_run(f->loop);
        loop_timer_free(t);
    }
    fake_lose(f->backend, f->backend->runners->id, "cannot execute python");
    wait_call(f);
    assert_int_equal(f->err.code, ERR_SANDBOX_FAILED);
    assert_non_null(strstr(f->err.text, "cannot execute python"));
    assert_int_equal(sandbox_table_count(f->table, SANDBOX_CREATING), 0);
}

static void refused_claim_leaves_it_warm(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = started(f);

    f->backend->claim = FAKE_PROBLEM;
    f->backend->problem_status = 400;
    f->backend->problem = "{\"code\":\"invalid\",\"detail\":\"env is bad\"}";
    assert_int_equal(claim(f, sb, "alice", "v", NULL), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_string_equal(f->err.text, "env is bad");
    assert_int_equal(sb->state, SANDBOX_WARM);
    assert_null(sandbox_table_find(f->table, sb->id, NULL));
    f->backend->claim = FAKE_OK;
    assert_int_equal(claim(f, sb, "bob", "v", NULL), 0);
    wait_call(f);
    assert_string_equal(sb->owner, "bob");
}

static void silent_claim_removes_it(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = started(f);

    f->backend->claim = FAKE_SILENT;
    assert_int_equal(claim(f, sb, "alice", "v", NULL), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_TIMEOUT);
    assert_null(f->sb);
    wait_gone(f);
    assert_int_equal(fake_running(f->backend), 0);
}

static void loss_tells_watches_and_empties_the_table(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = claimed(f, "alice", "v");
    struct sandbox_watch a, b;
    char id[ID_SANDBOX_SIZE];

    memcpy(id, sb->id, sizeof(id));
    sandbox_watch_start(&a, sb, on_done, f);
    sandbox_watch_start(&b, sb, on_done, f);
    sandbox_watch_stop(&b);
    sandbox_watch_stop(&b);
    fake_lose(f->backend, id, "killed by signal 9");
    assert_int_equal(f->calls, 0); /* by the loop, never from inside */
    assert_ptr_equal(a.sandbox, sb);
    assert_int_equal(sb->state, SANDBOX_GONE);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_SANDBOX_LOST);
    assert_non_null(strstr(f->err.text, "signal 9"));
    assert_null(a.sandbox);
    assert_null(sandbox_table_find(f->table, id, NULL));
    assert_int_equal(f->gone_state, SANDBOX_READY);
    assert_int_equal(f->backend->removes, 0);
    assert_int_equal(sandbox_table_count_owned(f->table), 0);
}

static void removal_while_creating_ends_it(void **state)
{
    struct fixture *f = *state;
    struct err err;

    f->backend->hold_creates = true;
    assert_int_equal(sandbox_start(f->table, on_start, f, &err), 0);
    sandbox_table_remove_all(f->table, 5000, on_done, f);
    assert_int_equal(f->calls, 0);
    wait_call(f); /* whoever started it hears so first */
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    assert_int_equal(fake_running(f->backend), 0);
    assert_int_equal(fake_creating(f->backend), 0);
}

static void failing_removal_is_told_and_tried_again(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = claimed(f, "alice", "v");

    f->backend->fail_removes = 1;
    sandbox_remove(sb, on_done, f);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    assert_int_equal(sb->state, SANDBOX_TERMINATING);
    wait_gone(f); /* a second later */
    assert_int_equal(f->backend->removes, 2);
}

static void removing_all_counts_what_stays(void **state)
{
    struct fixture *f = *state;

    claimed(f, "alice", "v");
    claimed(f, "bob", "v");
    started(f);
    f->backend->fail_removes = 1;
    sandbox_table_remove_all(f->table, 5000, on_done, f);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_TIMEOUT);
    assert_non_null(strstr(f->err.text, "1 sandboxes"));
    f->gone = 0;
    wait_gone(f);
    sandbox_table_remove_all(f->table, 5000, on_done, f);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
}

static void adoption_rebuilds_the_table(void **state)
{
    struct fixture *f = *state;
    struct err err;

    fake_leave(f->backend, ID_A,
               "{\"owner\":\"alice\",\"name\":\"old\",\"labels\":{\"k\":\"v\"},"
               "\"exec_timeout_s\":1.5,\"idle_timeout_s\":60,\"max_lifetime_s\":90,"
               "\"idempotency_key\":\"key-9\"}");
    fake_leave(f->backend, ID_B, NULL);
    assert_int_equal(sandbox_table_adopt(f->table, on_done, f, &err), 0);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    struct sandbox *sb = sandbox_table_find(f->table, ID_A, "alice");
    assert_non_null(sb);
    assert_string_equal(sb->name, "old");
    assert_int_equal(sb->exec_timeout_ms, 1500);
    assert_int_equal(sb->idle_timeout_ms, 60000);
    assert_int_equal(sb->max_lifetime_ms, 90000);
    assert_int_equal(sb->created_at, 1767323045250000);
    assert_ptr_equal(sandbox_table_find_key(f->table, "alice", "key-9"), sb);
    if (f->warm == 0) {
        while (f->warm == 0) {
            struct loop_timer *t = loop_timer_new(f->loop, (loop_fn)loop_stop, f->loop);
            loop_timer_start(t, 1, 0);
            loop_run(f->loop);
            loop_timer_free(t);
        }
    }
    assert_string_equal(f->sb->id, ID_B);
    assert_int_equal(f->sb->state, SANDBOX_WARM);
    assert_null(sandbox_table_find(f->table, ID_B, NULL));
}

static bool is_adopted(void *ctx)
{
    struct fixture *f = ctx;

    return sandbox_table_count(f->table, SANDBOX_READY) > 0;
}

static bool was_asked(void *ctx)
{
    return ((struct fixture *)ctx)->backend->infos > 0;
}

static void expect_unknown(struct fixture *f, const char *id)
{
    struct sandbox *sb = NULL;
    struct err err = {0};

    assert_int_equal(sandbox_table_get(f->table, id, "alice", &sb, &err), -ERR_UNAVAILABLE);
    assert_int_equal(sandbox_table_get(f->table, id, NULL, &sb, &err), -ERR_UNAVAILABLE);
    assert_null(sb);
    assert_null(sandbox_table_find(f->table, id, NULL));
    assert_int_equal(sandbox_table_count_owned(f->table), 1);
    assert_int_equal(sandbox_table_count_of(f->table, "alice"), 0);
    assert_int_equal(fake_running(f->backend), 1);
}

static void adoption_keeps_what_does_not_say_whose_it_is(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum fake_answer info;
        const char *problem;
    } cases[] = {
        {FAKE_BREAK, NULL},
        {FAKE_SILENT, NULL},
        {FAKE_PROBLEM, "{\"code\":\"internal\",\"detail\":\"not now\"}"},
        {FAKE_PROBLEM, "no JSON"},
    };
    struct sandbox *sb;
    struct err err;

    fake_leave(f->backend, ID_A, "{\"owner\":\"alice\",\"idempotency_key\":\"k\"}");
    f->backend->info = FAKE_BREAK;
    f->backend->problem_status = 500;
    assert_int_equal(sandbox_table_adopt(f->table, on_done, f, &err), 0);
    wait_call(f); /* in bounded time */
    assert_int_equal(f->err.code, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->backend->info = cases[i].info;
        f->backend->problem = cases[i].problem;
        f->backend->infos = 0;
        assert_true(fake_run_until(f->loop, was_asked, f));
        expect_unknown(f, ID_A);
        assert_true(sandbox_table_may_hold_key(f->table));
        if (cases[i].info == FAKE_SILENT)
            fake_hang_up(f->backend, ID_A);
    }
    f->backend->info = FAKE_OK;
    assert_true(fake_run_until(f->loop, is_adopted, f));
    assert_int_equal(sandbox_table_get(f->table, ID_A, "alice", &sb, &err), 0);
    assert_int_equal(sandbox_table_get(f->table, ID_A, "bob", &sb, &err), -ERR_NOT_FOUND);
    assert_false(sandbox_table_may_hold_key(f->table));
    assert_int_equal(sandbox_table_count_owned(f->table), 1);
    assert_int_equal(sandbox_table_count_of(f->table, "alice"), 1);
    assert_int_equal(f->backend->removes, 0);
}

static void adoption_leaves_alone_what_obeys_another_key(void **state)
{
    struct fixture *f = *state;
    struct err err;

    fake_leave(f->backend, ID_A, "{\"owner\":\"alice\"}");
    f->backend->info = FAKE_PROBLEM;
    f->backend->problem_status = 401;
    f->backend->problem = "{\"code\":\"unauthorized\",\"detail\":\"wrong token\"}";
    assert_int_equal(sandbox_table_adopt(f->table, on_done, f, &err), 0);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    assert_int_equal(f->backend->infos, 1);
    expect_unknown(f, ID_A);
    assert_false(sandbox_table_may_hold_key(f->table));
    fake_lose(f->backend, ID_A, "ended");
    wait_gone(f);
    assert_int_equal(f->gone_state, SANDBOX_ASKING);
    assert_int_equal(sandbox_table_count_owned(f->table), 0);
}

static void a_broken_claim_is_made_again_as_the_same(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = started(f);

    fake_hang_up(f->backend,
                 sb->id); /* a new connection: libcurl itself repeats only on old ones */
    f->backend->break_claims = 1;
    assert_int_equal(claim(f, sb, "alice", "v", NULL), 0);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    assert_int_equal(f->backend->claims, 2);
    assert_string_equal(sb->owner, "alice");
    json_t *identity = fake_find(f->backend, sb->id)->identity;
    assert_true(id_is_uuid(text_of(identity, "claim_id")));

    sb = started(f);
    f->backend->break_claims = 100; /* and not for ever */
    assert_int_equal(claim(f, sb, "alice", "v", NULL), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_SANDBOX_LOST);
    assert_null(f->sb);
    wait_gone(f);
}

static void a_claim_that_came_second_learns_whose_it_is(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = started(f);

    fake_find(f->backend, sb->id)->identity = json_pack("{s:s,s:s}", "owner", "bob", "name", "b");
    assert_int_equal(claim(f, sb, "alice", "v", NULL), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_CONFLICT);
    assert_null(f->sb);
    assert_true(fake_run_until(f->loop, is_adopted, f));
    assert_ptr_equal(sandbox_table_find(f->table, sb->id, "bob"), sb);
    assert_null(sandbox_table_find(f->table, sb->id, "alice"));
    assert_int_equal(f->backend->removes, 0);
}

#define MANY 20000

static unsigned n_told;

static void count_told(void *ctx, const struct err *err)
{
    n_told++;
}

static void thousands_wait_for_one_removal(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = claimed(f, "alice", "v");
    struct sandbox_watch *w = MEM_NEW_N(struct sandbox_watch, MANY);

    n_told = 0;
    for (size_t i = 0; i < MANY; i++) {
        sandbox_watch_start(&w[i], sb, count_told, NULL);
        sandbox_remove(sb, count_told, NULL);
        assert_int_equal(n_told, 0);
    }
    sandbox_remove(sb, on_done, f);
    wait_call(f);
    assert_int_equal(n_told, 2 * MANY);
    free(w);
}

static void describe_asks_the_runner(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = claimed(f, "alice", "v");
    struct sandbox_describe *d = NULL;
    struct err err;

    assert_int_equal(sandbox_describe(&d, sb, on_json, f, &err), 0);
    wait_call(f);
    assert_int_equal(f->err.code, 0);
    assert_string_equal(text_of(f->json, "expires_at"), "2027-01-02T03:04:05.000000Z");
    assert_non_null(json_object_get(f->json, "kernel"));

    f->backend->info = FAKE_SILENT; /* and it dies meanwhile */
    assert_int_equal(sandbox_describe(&d, sb, on_json, f, &err), 0);
    fake_lose(f->backend, sb->id, "gone");
    wait_call(f);
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
    f->backend->info = FAKE_OK;

    sb = claimed(f, "alice", "v");
    assert_int_equal(sandbox_describe(&d, sb, on_json, f, &err), 0);
    assert_null(sandbox_describe_cancel(d));
    sandbox_remove(sb, NULL, NULL); /* terminating: answered from what is known */
    assert_int_equal(sandbox_describe(&d, sb, on_json, f, &err), 0);
    wait_call(f);
    assert_true(f->err.code == ERR_NOT_FOUND ||
                strcmp(text_of(f->json, "status"), "terminating") == 0);
}

/* That its connections break says nothing about a sandbox: its backend says when it is gone. */
static void describe_of_an_unreachable_runner_is_unavailable(void **state)
{
    struct fixture *f = *state;
    struct sandbox *sb = claimed(f, "alice", "v");
    struct sandbox_describe *d = NULL;
    struct err err;

    fake_hang_up(f->backend,
                 sb->id); /* a new connection: libcurl itself repeats only on old ones */
    f->backend->info = FAKE_BREAK;
    unsigned asked = f->backend->infos;
    assert_int_equal(sandbox_describe(&d, sb, on_json, f, &err), 0);
    wait_call(f);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    assert_int_equal(f->backend->infos, asked + 2);
    assert_int_equal(sb->state, SANDBOX_READY);

    assert_int_equal(sandbox_describe(&d, sb, on_json, f, &err), 0);
    fake_lose(f->backend, sb->id, "gone");
    wait_call(f);
    assert_int_equal(f->err.code, ERR_NOT_FOUND);
}

static json_t *list(struct fixture *f, const struct sandbox_list_query *q)
{
    struct err err = {0};
    json_t *o = NULL;

    if (sandbox_table_list(f->table, q, &o, &err) < 0)
        fail_msg("%s", err.text);
    return o;
}

static size_t count(struct fixture *f, const struct sandbox_list_query *q)
{
    json_t *o = list(f, q);
    size_t n = json_array_size(json_object_get(o, "sandboxes"));

    assert_true(json_is_null(json_object_get(o, "continue")));
    json_decref(o);
    return n;
}

static void list_filters_and_pages(void **state)
{
    struct fixture *f = *state;
    char cont[128] = "";
    unsigned seen = 0, pages = 0;

    started(f);
    for (int i = 0; i < 5; i++)
        claimed(f, i < 3 ? "alice" : "bob", i % 2 ? "odd" : "even");
    assert_int_equal(count(f, &(struct sandbox_list_query){0}), 5);
    assert_int_equal(count(f, &(struct sandbox_list_query){.owner = "alice"}), 3);
    assert_int_equal(count(f, &(struct sandbox_list_query){.owner = "carol"}), 0);
    assert_int_equal(count(f, &(struct sandbox_list_query){.label = "k=odd"}), 2);
    assert_int_equal(count(f, &(struct sandbox_list_query){.label = "k="}), 0);
    assert_int_equal(count(f, &(struct sandbox_list_query){.status = "ready"}), 5);
    assert_int_equal(count(f, &(struct sandbox_list_query){.status = "failed"}), 0);

    do { /* all have the same created_at here: the id decides */
        json_t *o =
            list(f, &(struct sandbox_list_query){.limit = "2", .cont = cont[0] ? cont : NULL});
        json_t *page = json_object_get(o, "sandboxes");
        assert_null(json_object_get(json_array_get(page, 0), "kernel"));
        seen += (unsigned)json_array_size(page);
        pages++;
        snprintf(cont, sizeof(cont), "%s",
                 json_is_string(json_object_get(o, "continue"))
                     ? json_string_value(json_object_get(o, "continue"))
                     : "");
        json_decref(o);
    } while (cont[0]);
    assert_int_equal(seen, 5);
    assert_int_equal(pages, 3);
}

static void bad_list_queries_are_named(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct sandbox_list_query q;
        const char *field;
    } cases[] = {
        {{.limit = "0"}, "limit"},
        {{.limit = "1001"}, "limit"},
        {{.limit = "x"}, "limit"},
        {{.status = "warm"}, "status"},
        {{.status = ""}, "status"},
        {{.label = "k"}, "label"},
        {{.label = "=v"}, "label"},
        {{.cont = "x"}, "continue"},
        {{.cont = "1.x"}, "continue"},
        {{.cont = ""}, "continue"},
        {{.cont = "99999999999999999999." ID_A}, "continue"},
    };
    json_t *o = NULL;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        assert_int_equal(sandbox_table_list(f->table, &cases[i].q, &o, &err), -ERR_INVALID);
        assert_string_equal(err.field, cases[i].field);
        assert_null(o);
    }
    assert_int_equal(
        sandbox_table_list(f->table, &(struct sandbox_list_query){.limit = "1000"}, &o, NULL), 0);
    json_decref(o);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(starts_claims_and_removes),
        T(failed_creation_says_why),
        T(kernel_that_does_not_start_is_removed),
        T(last_words_of_a_dying_runner_come_through),
        T(refused_claim_leaves_it_warm),
        T(silent_claim_removes_it),
        T(loss_tells_watches_and_empties_the_table),
        T(removal_while_creating_ends_it),
        T(failing_removal_is_told_and_tried_again),
        T(removing_all_counts_what_stays),
        T(adoption_rebuilds_the_table),
        T(adoption_keeps_what_does_not_say_whose_it_is),
        T(adoption_leaves_alone_what_obeys_another_key),
        T(a_broken_claim_is_made_again_as_the_same),
        T(a_claim_that_came_second_learns_whose_it_is),
        T(thousands_wait_for_one_removal),
        T(describe_asks_the_runner),
        T(describe_of_an_unreachable_runner_is_unavailable),
        T(list_filters_and_pages),
        T(bad_list_queries_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
