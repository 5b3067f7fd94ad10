/* Room for large messages: who gets it, who waits, who gives way. */
#include "kernel-runner/attach/send_room.h"
#include "lib/base/macros.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

struct user {
    struct send_room_user room;
    struct loop *loop;
    unsigned told, gave_way;
};

static void on_room(void *ctx)
{
    struct user *u = ctx;
    u->told++;
    loop_stop(u->loop);
}

static void give_way(void *ctx)
{
    struct user *u = ctx;
    u->gave_way++;
    send_room_leave(&u->room);
}

struct fixture {
    struct loop *loop;
    struct send_room *room;
    struct user a, b, c;
};

static void join(struct fixture *f, struct user *u)
{
    *u = (struct user){.loop = f->loop};
    u->room = (struct send_room_user){.on_room = on_room, .give_way = give_way, .ctx = u};
    send_room_join(f->room, &u->room);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    if (loop_new(&f.loop, NULL) < 0)
        return -1;
    f.room = send_room_new(f.loop);
    join(&f, &f.a);
    join(&f, &f.b);
    join(&f, &f.c);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    send_room_leave(&f->a.room);
    send_room_leave(&f->b.room);
    send_room_leave(&f->c.room);
    send_room_free(f->room);
    loop_free(f->loop);
    return 0;
}

static void small_messages_need_none(void **state)
{
    struct fixture *f = *state;
    assert_true(send_room_take(&f->a.room, SEND_ROOM_BYTES));
    assert_true(send_room_take(&f->b.room, SEND_ROOM_SMALL));
    assert_false(send_room_take(&f->b.room, SEND_ROOM_SMALL + 1));
}

static void taken_up_to_the_ceiling(void **state)
{
    struct fixture *f = *state;
    assert_true(send_room_take(&f->a.room, SEND_ROOM_BYTES / 2));
    assert_true(send_room_take(&f->b.room, SEND_ROOM_BYTES / 2));
    assert_false(send_room_take(&f->c.room, SEND_ROOM_SMALL + 1));
}

static void one_above_all_room_goes_alone(void **state)
{
    struct fixture *f = *state;
    assert_true(send_room_take(&f->a.room, SEND_ROOM_BYTES * 2));
    assert_false(send_room_take(&f->b.room, SEND_ROOM_BYTES * 2));
}

static void who_waits_is_told_when_room_is_given(void **state)
{
    struct fixture *f = *state;
    assert_true(send_room_take(&f->a.room, SEND_ROOM_BYTES));
    assert_false(send_room_take(&f->b.room, MIB(1)));
    send_room_give(&f->a.room);
    loop_run(f->loop);
    assert_int_equal(f->b.told, 1);
    assert_int_equal(f->a.told + f->c.told, 0);
    assert_true(send_room_take(&f->b.room, MIB(1)));
}

static void who_leaves_gives_back(void **state)
{
    struct fixture *f = *state;
    assert_true(send_room_take(&f->a.room, SEND_ROOM_BYTES));
    assert_false(send_room_take(&f->b.room, MIB(1)));
    send_room_leave(&f->a.room);
    loop_run(f->loop);
    assert_int_equal(f->b.told, 1);
}

static void the_largest_gives_way_to_who_waits_long(void **state)
{
    struct fixture *f = *state;
    assert_true(send_room_take(&f->a.room, MIB(1)));
    assert_true(send_room_take(&f->c.room, SEND_ROOM_BYTES - MIB(1)));
    assert_false(send_room_take(&f->b.room, MIB(1)));
    loop_run(f->loop); /* to b's turn: SEND_ROOM_MS */
    assert_int_equal(f->c.gave_way, 1);
    assert_int_equal(f->a.gave_way + f->b.gave_way, 0);
    assert_int_equal(f->b.told, 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(small_messages_need_none),      TEST(taken_up_to_the_ceiling),
        TEST(one_above_all_room_goes_alone), TEST(who_waits_is_told_when_room_is_given),
        TEST(who_leaves_gives_back),         TEST(the_largest_gives_way_to_who_waits_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
