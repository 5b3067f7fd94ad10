/* What a kernel said, kept for readers: numbers, ceilings, the file, what is left of dropped ones.
 */
#include "kernel-runner/attach/hub_ring.h"
#include "lib/base/mem.h"
#include "lib/jupyter/jp_ws.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

#define ALL_LIVE UINT64_C(1)

static struct hub_spill room;

static int setup(void **state)
{
    room = (struct hub_spill){.dir_fd = -1, .left = HUB_SPILL_BYTES};
    *state = hub_ring_new(&room);
    return 0;
}

static int teardown(void **state)
{
    hub_ring_free(*state);
    return room.left == HUB_SPILL_BYTES ? 0 : -1; /* what was taken was given back */
}

/* A message whose v1 form has exactly `len` bytes; `n` is in its parent header and its content. */
static char *message(unsigned n, size_t len)
{
    char parent[32];
    struct jp_ws_msg msg = {.channel = JP_IOPUB};
    snprintf(parent, sizeof(parent), "{\"msg_id\":\"%u\"}", n);
    msg.frames[JP_HEADER] = msg.frames[JP_METADATA] = slice_str("{}");
    msg.frames[JP_PARENT] = slice_str(parent);
    size_t around = 8 * 7 + strlen("iopub") + 4 + strlen(parent);
    assert_true(len >= around);
    char *content = mem_alloc(len - around + 1);
    memset(content, 'a' + (int)(n % 26), len - around);
    msg.frames[JP_CONTENT] = slice_make(content, len - around);
    struct buf out;
    buf_init(&out, len);
    assert_int_equal(jp_ws_v1_encode(&out, &msg), 0);
    assert_int_equal(out.len, len);
    free(content);
    return buf_take(&out);
}

static uint64_t append(struct hub_ring *r, unsigned n, enum hub_weight weight, size_t len)
{
    return hub_ring_append(r, 0, weight, message(n, len), len);
}

static void reads(struct hub_ring *r, uint64_t seq, unsigned n, size_t len)
{
    struct slice got;
    _cleanup_(freep) char *expected = message(n, len);
    assert_true(hub_ring_read(r, seq, &got));
    assert_int_equal(got.len, len);
    assert_memory_equal(got.ptr, expected, len);
}

static void dropped(struct hub_ring *r, uint64_t seq, const char *parent, size_t len)
{
    struct slice got;
    const struct hub_entry *e = hub_ring_at(r, seq);
    assert_false(hub_ring_read(r, seq, &got));
    assert_string_equal(e->parent, parent);
    assert_int_equal(e->len, len);
}

static void numbers_begin_with_1(void **state)
{
    struct hub_ring *r = *state;
    assert_int_equal(hub_ring_first(r), 1);
    assert_int_equal(hub_ring_next(r), 1);
    for (unsigned n = 1; n <= 200; n++)
        assert_int_equal(append(r, n, HUB_LIGHT, 100), n);
    for (unsigned n = 1; n <= 200; n++)
        reads(r, n, n, 100);
    assert_int_equal(hub_ring_bytes(r), 200 * 100);
}

static void trimmed_to_nothing_and_on(void **state)
{
    struct hub_ring *r = *state;
    for (unsigned n = 1; n <= 200; n++)
        append(r, n, n % 2 ? HUB_LIGHT : HUB_HEAVY, 100);
    hub_ring_trim(r, 150);
    assert_int_equal(hub_ring_first(r), 151);
    reads(r, 151, 151, 100);
    hub_ring_trim(r, 100);
    assert_int_equal(hub_ring_first(r), 151);
    hub_ring_trim(r, 1000);
    assert_int_equal(hub_ring_first(r), 201);
    assert_int_equal(hub_ring_next(r), 201);
    assert_int_equal(hub_ring_bytes(r), 0);
    assert_int_equal(append(r, 201, HUB_LIGHT, 100), 201);
    reads(r, 201, 201, 100);
}

static void outputs_at_the_ceiling_stay_and_above_the_oldest_goes(void **state)
{
    struct hub_ring *r = *state;
    for (unsigned n = 1; n <= 16; n++)
        append(r, n, HUB_HEAVY, MIB(1));
    hub_ring_limit(r, hub_ring_next(r));
    reads(r, 1, 1, MIB(1));
    append(r, 17, HUB_HEAVY, 100);
    hub_ring_limit(r, hub_ring_next(r));
    dropped(r, 1, "{\"msg_id\":\"1\"}", MIB(1));
    reads(r, 2, 2, MIB(1));
    reads(r, 17, 17, 100);
    assert_int_equal(hub_ring_first(r), 1);
}

static void what_must_not_be_missed_stays(void **state)
{
    struct hub_ring *r = *state;
    append(r, 1, HUB_LIGHT, 1000);
    append(r, 2, HUB_HEAVY, MIB(10));
    append(r, 3, HUB_ONCE, 1000);
    append(r, 4, HUB_HEAVY, MIB(10));
    hub_ring_limit(r, hub_ring_next(r));
    reads(r, 1, 1, 1000);
    dropped(r, 2, "{\"msg_id\":\"2\"}", MIB(10));
    reads(r, 3, 3, 1000);
    reads(r, 4, 4, MIB(10));
}

static void the_newest_stays_however_long(void **state)
{
    struct hub_ring *r = *state;
    append(r, 1, HUB_HEAVY, HUB_HEAVY_BYTES + 1);
    hub_ring_limit(r, hub_ring_next(r));
    reads(r, 1, 1, HUB_HEAVY_BYTES + 1);
}

static void what_a_connected_reader_needs_goes_to_a_file(void **state)
{
    struct hub_ring *r = *state;
    for (unsigned n = 1; n <= 40; n++) {
        append(r, n, HUB_HEAVY, MIB(1));
        hub_ring_limit(r, 11); /* up to 10 everybody has had */
    }
    assert_true(hub_ring_bytes(r) <= HUB_HEAVY_BYTES + KIB(1));
    for (unsigned n = 1; n <= 10; n++) {
        char parent[32];
        snprintf(parent, sizeof(parent), "{\"msg_id\":\"%u\"}", n);
        dropped(r, n, parent, MIB(1));
    }
    for (unsigned n = 11; n <= 40; n++)
        reads(r, n, n, MIB(1));
    hub_ring_trim(r, 40);
    assert_int_equal(hub_ring_bytes(r), 0);
}

static void entries_at_the_ceiling_and_above(void **state)
{
    struct hub_ring *r = *state;
    for (unsigned n = 1; n <= HUB_ENTRIES; n++)
        append(r, n, HUB_LIGHT, 100);
    hub_ring_limit(r, hub_ring_next(r));
    assert_int_equal(hub_ring_first(r), 1);
    append(r, 1, HUB_LIGHT, 100);
    hub_ring_limit(r, hub_ring_next(r));
    assert_int_equal(hub_ring_first(r), 2);
}

static void light_bytes_at_the_ceiling_and_above(void **state)
{
    struct hub_ring *r = *state;
    for (unsigned n = 1; n <= 8; n++)
        append(r, n, HUB_LIGHT, HUB_LIGHT_BYTES / 8);
    hub_ring_limit(r, hub_ring_next(r));
    assert_int_equal(hub_ring_first(r), 1);
    append(r, 9, HUB_LIGHT, 100);
    hub_ring_limit(r, hub_ring_next(r));
    assert_int_equal(hub_ring_first(r), 2);
}

static void what_nobody_may_miss_goes_to_the_file_too(void **state)
{
    struct hub_ring *r = *state;
    for (unsigned n = 1; n <= 20; n++) {
        append(r, n, n % 2 ? HUB_LIGHT : HUB_ONCE, MIB(1));
        hub_ring_limit(r, ALL_LIVE);
    }
    assert_int_equal(hub_ring_first(r), 1);
    assert_true(hub_ring_bytes(r) <= HUB_LIGHT_BYTES);
    for (unsigned n = 1; n <= 20; n++)
        reads(r, n, n, MIB(1));
    assert_int_equal(hub_ring_at(r, 2)->weight, HUB_ONCE);
}

static void without_room_outputs_are_dropped_and_the_rest_is_not(void **state)
{
    struct hub_ring *r = *state;
    room.left = (int64_t)MIB(2) - 1;
    for (unsigned n = 1; n <= 19; n++) {
        append(r, n, HUB_HEAVY, MIB(1));
        hub_ring_limit(r, ALL_LIVE);
    }
    reads(r, 1, 1, MIB(1));
    dropped(r, 2, "{\"msg_id\":\"2\"}", MIB(1));
    dropped(r, 3, "{\"msg_id\":\"3\"}", MIB(1));
    reads(r, 4, 4, MIB(1));
    for (unsigned n = 20; n <= 30; n++) {
        append(r, n, HUB_LIGHT, MIB(1));
        hub_ring_limit(r, ALL_LIVE);
    }
    for (unsigned n = 20; n <= 30; n++)
        reads(r, n, n, MIB(1));
    room.left += (int64_t)HUB_SPILL_BYTES - ((int64_t)MIB(2) - 1);
}

static void without_any_room_who_does_not_read_is_overrun(void **state)
{
    struct hub_ring *r = *state;
    room.left = -(int64_t)HUB_SPILL_LIGHT;
    for (unsigned n = 1; n <= 64; n++) {
        append(r, n, HUB_LIGHT, MIB(1));
        hub_ring_limit(r, ALL_LIVE);
    }
    assert_int_equal(hub_ring_first(r), 1);
    append(r, 65, HUB_LIGHT, 100);
    hub_ring_limit(r, ALL_LIVE);
    assert_int_equal(hub_ring_first(r), 2);
    room.left = HUB_SPILL_BYTES;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_begin_with_1),
        TEST(trimmed_to_nothing_and_on),
        TEST(outputs_at_the_ceiling_stay_and_above_the_oldest_goes),
        TEST(what_must_not_be_missed_stays),
        TEST(the_newest_stays_however_long),
        TEST(what_a_connected_reader_needs_goes_to_a_file),
        TEST(entries_at_the_ceiling_and_above),
        TEST(light_bytes_at_the_ceiling_and_above),
        TEST(what_nobody_may_miss_goes_to_the_file_too),
        TEST(without_room_outputs_are_dropped_and_the_rest_is_not),
        TEST(without_any_room_who_does_not_read_is_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
