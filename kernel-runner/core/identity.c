/*
 * The body is remembered by its digest: it holds variables that may be secrets, and of those only
 * the kernel is told.
 */
#include "kernel-runner/core/identity.h"

#include "lib/base/mem.h"

#include <string.h>

static void digest_of(const json_t *body, char out[CRYPTO_HEX_SIZE])
{
    _cleanup_(mem_free_secretp) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    crypto_sha256_hex(text, strlen(text), out);
}

void identity_init(struct identity *id)
{
    *id = (struct identity){.members = json_object()};
}

void identity_done(struct identity *id)
{
    json_decref(id->members);
    id->members = NULL;
}

bool identity_claimed(const struct identity *id)
{
    return id->digest[0] != '\0';
}

int identity_check(const struct identity *id, const json_t *body, struct err *err)
{
    const char *claim_id = NULL;
    int r = jsonx_object(body, err);
    if (r < 0 ||
        (r = jsonx_get_string(body, "claim_id", IDENTITY_CLAIM_ID_MAX, &claim_id, err)) < 0)
        return r;
    if (claim_id && !claim_id[0])
        return err_field(err, "claim_id", "a claim's id is not empty");
    if (!json_string_value(json_object_get(body, "owner")))
        return err_field(err, "owner", "a claim names its owner");
    if (!identity_claimed(id))
        return 0;
    char digest[CRYPTO_HEX_SIZE];
    digest_of(body, digest);
    if (strcmp(digest, id->digest) == 0)
        return IDENTITY_REPEATED;
    const char *now = json_string_value(json_object_get(id->members, "claim_id"));
    if (now && claim_id && strcmp(now, claim_id) == 0)
        return err_set(err, ERR_CONFLICT, "this claim was made before with another body");
    return err_set(err, ERR_CONFLICT, "this sandbox is claimed already");
}

void identity_take(struct identity *id, const json_t *body)
{
    static const char *const kept[] = {"claim_id", "owner",           "name",
                                       "labels",   "idempotency_key", "session_id"};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        json_t *value = json_object_get(body, kept[i]);
        if (value && !json_is_null(value))
            json_object_set(id->members, kept[i], value);
    }
    digest_of(body, id->digest);
}

json_t *identity_member(const struct identity *id, const char *key)
{
    json_t *value = json_object_get(id->members, key);
    return value ? json_incref(value) : json_null();
}
