/* What clients have asked and a kernel owes: order, ceilings and shares. */
#include "kernel-runner/attach/hub_requests.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* after the four headers it needs */
#include <cmocka.h>

static struct hub_request *add(struct hub_requests *t, const char *id, uint32_t from,
                               bool main_shell, size_t bytes)
{
    struct hub_request *r = hub_request_new(id, "execute_request", slice_str("{}"));
    r->from = from;
    r->channel = main_shell ? JP_SHELL : JP_CONTROL;
    r->main_shell = main_shell;
    r->bytes = bytes;
    hub_requests_add(t, r);
    return r;
}

static struct hub_request *add_nth(struct hub_requests *t, unsigned n, uint32_t from,
                                   bool main_shell)
{
    char id[16];
    snprintf(id, sizeof(id), "r%u", n);
    return add(t, id, from, main_shell, 100);
}

static void clear(struct hub_requests *t)
{
    while (t->main)
        hub_requests_remove(t, t->main);
    while (t->others)
        hub_requests_remove(t, t->others);
    assert_int_equal(t->n_held_main, 0);
    assert_int_equal(t->n_main, 0);
    assert_int_equal(t->n_others, 0);
    assert_int_equal(t->bytes, 0);
}

static void replies_are_due_by_type(void **state)
{
    static const struct {
        const char *type;
        bool wants;
    } rows[] = {
        {"execute_request", true},    {"a_request", true}, {"_request", false}, {"comm_msg", false},
        {"execute_request_x", false}, {"request", false},  {"", false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hub_requests t = {0};
        struct hub_request *r = hub_request_new("id", rows[i].type, slice_str("{}"));
        hub_requests_add(&t, r);
        assert_int_equal(r->wants_reply, rows[i].wants);
        clear(&t);
    }
}

static void over_by_idle_and_reply_in_either_order(void **state)
{
    struct hub_requests t = {0};
    struct hub_request *r = add(&t, "a", 1, true, 10);
    assert_false(hub_request_is_over(r));
    r->replied = true;
    assert_false(hub_request_is_over(r));
    r->idle = true;
    assert_true(hub_request_is_over(r));
    r->replied = false;
    assert_false(hub_request_is_over(r));
    r->wants_reply = false;
    assert_true(hub_request_is_over(r));
    clear(&t);
}

static void found_by_id_until_removed(void **state)
{
    struct hub_requests t = {0};
    struct hub_request *a = add(&t, "a", 1, true, 10);
    struct hub_request *b = add(&t, "b", 1, false, 20);
    assert_ptr_equal(hub_requests_find(&t, "a"), a);
    assert_ptr_equal(hub_requests_find(&t, "b"), b);
    assert_null(hub_requests_find(&t, "c"));
    assert_true(a->order < b->order);
    assert_int_equal(t.bytes, 10); /* what the kernel may never answer does not count */
    hub_requests_remove(&t, a);
    assert_null(hub_requests_find(&t, "a"));
    assert_int_equal(t.bytes, 0);
    clear(&t);
}

static void full_at_the_ceiling_by_number(void **state)
{
    struct hub_requests t = {0};
    for (unsigned n = 0; n < HUB_REQUESTS_MAX - 1; n++)
        add_nth(&t, n, 1, true);
    assert_false(hub_requests_are_full(&t, 1));
    add_nth(&t, HUB_REQUESTS_MAX, 1, true);
    assert_true(hub_requests_are_full(&t, 1));
    while (t.n_main > HUB_REQUESTS_MAX / 2 + 1)
        hub_requests_remove(&t, t.main);
    assert_false(hub_requests_have_room(&t));
    hub_requests_remove(&t, t.main);
    assert_true(hub_requests_have_room(&t));
    clear(&t);
}

static void full_at_the_ceiling_by_size(void **state)
{
    struct hub_requests t = {0};
    add(&t, "a", 1, true, HUB_REQUEST_BYTES - 1);
    assert_false(hub_requests_are_full(&t, 1));
    struct hub_request *b = add(&t, "b", 1, true, 1);
    assert_true(hub_requests_are_full(&t, 1));
    assert_false(hub_requests_have_room(&t));
    hub_requests_remove(&t, b);
    assert_false(hub_requests_are_full(&t, 1));
    clear(&t);
}

/* One that floods is not read; one with little under way is. */
static void full_for_those_above_their_share(void **state)
{
    struct hub_requests t = {0};
    for (unsigned n = 0; n < HUB_REQUESTS_MAX; n++)
        add_nth(&t, n, 1, true);
    for (unsigned n = 0; n < HUB_SHARE; n++)
        add_nth(&t, 100000 + n, 2, true);
    add(&t, "big", 3, true, HUB_SHARE_BYTES);
    assert_true(hub_requests_are_full(&t, 1));
    assert_false(hub_requests_are_full(&t, 2));
    assert_false(hub_requests_are_full(&t, 3));
    assert_false(hub_requests_are_full(&t, 4));
    add_nth(&t, 200000, 2, true);
    add(&t, "more", 3, true, 1);
    assert_true(hub_requests_are_full(&t, 2));
    assert_true(hub_requests_are_full(&t, 3));
    clear(&t);
}

static void of_others_the_last_are_remembered(void **state)
{
    struct hub_requests t = {0};
    add(&t, "main", 1, true, 10);
    for (unsigned n = 0; n < HUB_OTHERS_MAX; n++)
        add_nth(&t, n, 1, false);
    assert_ptr_equal(hub_requests_surplus(&t), hub_requests_find(&t, "r0"));
    hub_requests_remove(&t, hub_requests_surplus(&t));
    assert_null(hub_requests_surplus(&t));
    assert_non_null(hub_requests_find(&t, "main"));
    clear(&t);
}

static void held_ones_count_until_they_go(void **state)
{
    struct hub_requests t = {0};
    struct hub_request *a = add(&t, "a", 1, true, 10);
    struct hub_request *o = add(&t, "o", 1, false, 20);
    size_t len = 0;
    hub_requests_hold(&t, a, mem_dup_str("first"), 5);
    hub_requests_hold(&t, o, mem_dup_str("control"), 7);
    hub_requests_hold(&t, a, mem_dup_str("second"), 6);
    assert_int_equal(t.n_held_main, 1);
    assert_int_equal(t.bytes, 30);
    _cleanup_(freep) char *control = hub_requests_unhold(&t, o, &len);
    assert_string_equal(control, "control");
    assert_int_equal(len, 7);
    assert_int_equal(t.bytes, 10);
    _cleanup_(freep) char *second = hub_requests_unhold(&t, a, &len);
    assert_string_equal(second, "second");
    assert_null(hub_requests_unhold(&t, a, &len));
    assert_int_equal(t.n_held_main, 0);
    assert_int_equal(t.bytes, 10);
    clear(&t);
}

static void what_a_later_one_overtook(void **state)
{
    struct hub_requests t = {0};
    struct hub_request *a = add(&t, "a", 1, true, 10);
    struct hub_request *other = add(&t, "o", 1, false, 10);
    struct hub_request *b = add(&t, "b", 1, true, 10);
    struct hub_request *c = add(&t, "c", 1, true, 10);
    assert_null(hub_requests_overtaken(&t, a->order, false));
    assert_ptr_equal(hub_requests_overtaken(&t, c->order, false), a);
    a->idle = true;
    assert_ptr_equal(hub_requests_overtaken(&t, c->order, false), b);
    assert_null(hub_requests_overtaken(&t, b->order, false));
    /* Idle, and a later one was replied to: its own reply does not come any more. */
    assert_ptr_equal(hub_requests_overtaken(&t, b->order, true), a);
    a->replied = true;
    assert_null(hub_requests_overtaken(&t, b->order, true));
    /* One that was never sent is not overtaken. */
    hub_requests_hold(&t, b, mem_dup_str("held"), 4);
    assert_null(hub_requests_overtaken(&t, c->order, false));
    assert_false(other->idle);
    clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_due_by_type),
        cmocka_unit_test(over_by_idle_and_reply_in_either_order),
        cmocka_unit_test(found_by_id_until_removed),
        cmocka_unit_test(full_at_the_ceiling_by_number),
        cmocka_unit_test(full_at_the_ceiling_by_size),
        cmocka_unit_test(full_for_those_above_their_share),
        cmocka_unit_test(of_others_the_last_are_remembered),
        cmocka_unit_test(held_ones_count_until_they_go),
        cmocka_unit_test(what_a_later_one_overtook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
