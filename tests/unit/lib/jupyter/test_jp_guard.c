/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/jupyter/jp_guard.h"

#include "lib/base/mem.h"
#include "lib/jupyter/jp_seen.h"
#include "lib/jupyter/jp_wire.h"

#include <stdio.h>

#define KEY "test-key"

struct fixture {
    struct jp_guard *guard;
    struct crypto_hmac key; /* a client's */
    struct jp_request req;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->guard = jp_guard_new(KEY);
    crypto_hmac_init(&f->key, KEY, strlen(KEY));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    jp_guard_free(f->guard);
    crypto_hmac_done(&f->key);
    free(f);
    return 0;
}

/* A signed message number n behind these identity frames. */
static int take(struct fixture *f, const struct slice *idents, size_t n_idents, unsigned n)
{
    char header[100], sig[CRYPTO_HEX_SIZE];
    snprintf(header, sizeof(header), "{\"msg_id\":\"m%u\",\"msg_type\":\"execute_request\"}", n);
    const struct slice json[] = {slice_str(header), slice_str("{}"), slice_str("{}"),
                                 slice_str("{\"code\":\"1\"}")};
    struct slice frames[JP_FRAMES_MAX + 10];
    if (n_idents)
        memcpy(frames, idents, n_idents * sizeof(*idents));
    size_t len =
        n_idents + jp_wire_encode(frames + n_idents, sig, &f->key, slice_str(""), json, NULL, 0);
    return jp_guard_take(f->guard, &f->req, frames, len);
}

static void takes_what_is_signed_with_its_idents(void **state)
{
    struct fixture *f = *state;
    const struct slice idents[] = {slice_str("client"), slice_make("\0\1", 2)};
    assert_int_equal(take(f, idents, 2, 1), 0);
    assert_string_equal(f->req.msg.msg_id, "m1");
    assert_string_equal(f->req.msg.msg_type, "execute_request");
    assert_int_equal(f->req.n_idents, 2);
    assert_true(slice_eq_str(f->req.idents[0], "client"));
    assert_true(slice_eq(f->req.idents[1], idents[1]));
    assert_int_equal(take(f, NULL, 0, 2), 0);
    assert_int_equal(f->req.n_idents, 0);
}

static void drops_the_forged_and_the_unsigned(void **state)
{
    struct fixture *f = *state;
    crypto_hmac_done(&f->key);
    crypto_hmac_init(&f->key, "another", 7);
    assert_int_equal(take(f, NULL, 0, 1), -ERR_UNAUTHORIZED);
    const struct slice header = slice_str("{\"msg_id\":\"m\",\"msg_type\":\"t\"}");
    struct slice frames[] = {slice_str(JP_DELIMITER), slice_str(""),   header,
                             slice_str("{}"),         slice_str("{}"), slice_str("{}")};
    assert_int_equal(jp_guard_take(f->guard, &f->req, frames, 6), -ERR_UNAUTHORIZED);
    frames[1] = slice_str("00");
    assert_int_equal(jp_guard_take(f->guard, &f->req, frames, 6), -ERR_UNAUTHORIZED);
    assert_int_equal(jp_guard_take(f->guard, &f->req, frames, 5), -ERR_INVALID);
    assert_int_equal(jp_guard_take(f->guard, &f->req, frames, 0), -ERR_INVALID);
    const struct jp_guard_counts *c = jp_guard_counts(f->guard);
    assert_int_equal(c->forged, 3);
    assert_int_equal(c->malformed, 2);
    assert_int_equal(c->replayed, 0);
}

/* What was refused is not remembered: the true message may still come. */
static void a_forgery_does_not_shut_out_the_message(void **state)
{
    struct fixture *f = *state;
    const struct slice bad[] = {slice_str("a"), slice_str("b"), slice_str("c"), slice_str("d"),
                                slice_str("e")};
    assert_int_equal(take(f, bad, 5, 1), -ERR_INVALID);
    assert_int_equal(take(f, bad, JP_IDENTS_MAX, 1), 0);
}

static void idents_have_a_ceiling(void **state)
{
    struct fixture *f = *state;
    char long_one[JP_IDENT_MAX + 1];
    memset(long_one, 'i', sizeof(long_one));
    struct slice ident = slice_make(long_one, JP_IDENT_MAX);
    assert_int_equal(take(f, &ident, 1, 1), 0);
    ident.len++;
    assert_int_equal(take(f, &ident, 1, 2), -ERR_INVALID);
}

static void a_repeated_signature_is_dropped(void **state)
{
    struct fixture *f = *state;
    const struct slice a = slice_str("a"), b = slice_str("b");
    assert_int_equal(take(f, &a, 1, 7), 0);
    assert_int_equal(take(f, &a, 1, 7), -ERR_CONFLICT);
    assert_int_equal(take(f, &b, 1, 7), -ERR_CONFLICT); /* whoever sends it */
    assert_int_equal(take(f, &a, 1, 8), 0);
    assert_int_equal(jp_guard_counts(f->guard)->replayed, 2);
}

static void remembers_as_many_as_it_says(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 0; n < JP_SEEN_MAX; n++)
        assert_int_equal(take(f, NULL, 0, n), 0);
    /* all are there, the oldest too */
    assert_int_equal(take(f, NULL, 0, 0), -ERR_CONFLICT);
    assert_int_equal(take(f, NULL, 0, JP_SEEN_MAX - 1), -ERR_CONFLICT);
    /* one more, and the oldest is gone, but not the one behind it */
    assert_int_equal(take(f, NULL, 0, JP_SEEN_MAX), 0);
    assert_int_equal(take(f, NULL, 0, 1), -ERR_CONFLICT);
    assert_int_equal(take(f, NULL, 0, 0), 0);
    /* and so on, all the way round: the index stays whole while slots are emptied */
    for (unsigned n = 1; n < JP_SEEN_MAX; n++)
        assert_int_equal(take(f, NULL, 0, JP_SEEN_MAX + n), 0);
    for (unsigned n = 0; n < JP_SEEN_MAX; n += 97)
        assert_int_equal(take(f, NULL, 0, JP_SEEN_MAX + n), n ? -ERR_CONFLICT : 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(takes_what_is_signed_with_its_idents),    TEST(drops_the_forged_and_the_unsigned),
        TEST(a_forgery_does_not_shut_out_the_message), TEST(idents_have_a_ceiling),
        TEST(a_repeated_signature_is_dropped),         TEST(remembers_as_many_as_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
