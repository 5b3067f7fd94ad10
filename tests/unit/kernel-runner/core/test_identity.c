/* One claim a sandbox: which are the same, which are refused. */
#include "kernel-runner/core/identity.h"
#include "lib/base/macros.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static int check(const struct identity *id, const char *text, struct err *err)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    assert_int_equal(jsonx_parse(&body, slice_str(text), NULL), 0);
    return identity_check(id, body, err);
}

static void take(struct identity *id, const char *text)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    assert_int_equal(jsonx_parse(&body, slice_str(text), NULL), 0);
    identity_take(id, body);
}

static void which_claims_are_taken(void **state)
{
    static const struct {
        const char *first, *second;
        int r;
    } rows[] = {
        {NULL, "{\"owner\":\"ann\",\"claim_id\":\"1\"}", 0},
        {NULL, "{\"owner\":\"ann\"}", 0},
        {NULL, "{}", -ERR_INVALID},
        {NULL, "[]", -ERR_INVALID},
        {NULL, "{\"owner\":1}", -ERR_INVALID},
        {NULL, "{\"owner\":\"ann\",\"claim_id\":\"\"}", -ERR_INVALID},
        {NULL, "{\"owner\":\"ann\",\"claim_id\":7}", -ERR_INVALID},
        /* the same, in whatever order */
        {"{\"owner\":\"ann\",\"claim_id\":\"1\",\"name\":\"n\"}",
         "{\"name\":\"n\", \"claim_id\":\"1\", \"owner\":\"ann\"}", IDENTITY_REPEATED},
        {"{\"owner\":\"ann\",\"name\":\"n\"}", "{\"owner\":\"ann\",\"name\":\"n\"}",
         IDENTITY_REPEATED},
        /* another claim of the same owner */
        {"{\"owner\":\"ann\",\"claim_id\":\"1\"}", "{\"owner\":\"ann\",\"claim_id\":\"2\"}",
         -ERR_CONFLICT},
        {"{\"owner\":\"ann\",\"claim_id\":\"1\"}", "{\"owner\":\"ann\"}", -ERR_CONFLICT},
        {"{\"owner\":\"ann\"}", "{\"owner\":\"ann\",\"claim_id\":\"1\"}", -ERR_CONFLICT},
        {"{\"owner\":\"ann\",\"claim_id\":\"1\"}",
         "{\"owner\":\"ann\",\"claim_id\":\"1\",\"env\":{\"A\":\"b\"}}", -ERR_CONFLICT},
        {"{\"owner\":\"ann\",\"name\":\"n\"}", "{\"owner\":\"ann\",\"name\":\"m\"}", -ERR_CONFLICT},
        {"{\"owner\":\"ann\",\"claim_id\":\"1\"}", "{\"owner\":\"bob\",\"claim_id\":\"1\"}",
         -ERR_CONFLICT},
        {"{\"owner\":\"ann\"}", "{\"owner\":\"bob\"}", -ERR_CONFLICT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct identity id;
        struct err err;
        identity_init(&id);
        if (rows[i].first)
            take(&id, rows[i].first);
        assert_int_equal(identity_claimed(&id), rows[i].first != NULL);
        assert_int_equal(check(&id, rows[i].second, &err), rows[i].r);
        identity_done(&id);
    }
}

static void what_is_kept_of_a_claim(void **state)
{
    struct identity id;
    identity_init(&id);
    take(&id, "{\"owner\":\"ann\",\"claim_id\":\"1\",\"name\":null,\"env\":{\"KEY\":\"secret\"}}");
    _cleanup_(json_decrefp) json_t *owner = identity_member(&id, "owner");
    _cleanup_(json_decrefp) json_t *name = identity_member(&id, "name");
    assert_string_equal(json_string_value(owner), "ann");
    assert_true(json_is_null(name));
    assert_null(json_object_get(id.members, "env"));
    identity_done(&id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_claims_are_taken),
        cmocka_unit_test(what_is_kept_of_a_claim),
    };
    if (crypto_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
