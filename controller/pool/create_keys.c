/*
 * Why: "the same key with another body" must be an error, and a sandbox does not say everything it
 * was made of. So each key of this process is kept with a hash of its request. An entry ends with
 * its sandbox; one whose creation goes on unobserved (its caller left) is looked up again when it
 * matters, in the pool and in the table, and is swept when there are very many.
 */
#include "controller/pool/create_keys.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "controller/pool/warm_pool.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#define SWEEP_ABOVE   1024
#define REQUEST_LABEL "caesarion.request"

struct create_key {
    struct create_keys *keys;
    char *name; /* owner, blank, key: neither holds a blank */
    char *owner, *key;
    char hash[CRYPTO_HEX_SIZE];
    unsigned pending;
    struct sandbox_watch watch;
    UT_hash_handle hh;
};

struct create_keys {
    struct sandbox_table *table;
    const struct warm_pool *pool;
    struct create_key *by_name;
};

struct create_keys *create_keys_new(struct sandbox_table *table, const struct warm_pool *pool)
{
    struct create_keys *k = MEM_NEW(struct create_keys);
    k->table = table;
    k->pool = pool;
    return k;
}

static void entry_free(struct create_key *c)
{
    HASH_DEL(c->keys->by_name, c);
    sandbox_watch_stop(&c->watch);
    free(c->name);
    free(c->owner);
    free(c->key);
    free(c);
}

struct create_keys *create_keys_free(struct create_keys *k)
{
    struct create_key *c, *tmp;
    if (!k)
        return NULL;
    HASH_ITER (hh, k->by_name, c, tmp)
        entry_free(c);
    free(k);
    return NULL;
}

static void on_sandbox_gone(void *ctx, const struct err *err)
{
    struct create_key *c = ctx;
    if (c->pending == 0)
        entry_free(c);
}

static void hash_spec(const struct sandbox_spec *s, char out[CRYPTO_HEX_SIZE])
{
    _cleanup_(json_decrefp) json_t *json =
        json_pack("[s?,O,O,I,I,I]", s->name, s->labels, s->env, (json_int_t)s->exec_timeout_ms,
                  (json_int_t)s->idle_timeout_ms, (json_int_t)s->max_lifetime_ms);
    _cleanup_(freep) char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    crypto_sha256_hex(text ? text : "", text ? strlen(text) : 0, out);
}

char *create_key_scoped(const char *door, const char *key)
{
    return key ? mem_printf("%s %s", door, key) : NULL;
}

void create_key_keep_request(struct sandbox_spec *spec, const json_t *body)
{
    _cleanup_(mem_free_secretp) char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    char hash[CRYPTO_HEX_SIZE];
    crypto_sha256_hex(text, strlen(text), hash);
    json_object_set_new(spec->labels, REQUEST_LABEL, json_string(hash));
}

/* As far as a sandbox says what it was made of. */
static bool is_same(const struct sandbox *sb, const struct sandbox_spec *s)
{
    /* The runner may add labels of its own; those are reserved. */
    const char *key;
    json_t *value;
    json_object_foreach (s->labels, key, value)
        if (!json_equal(json_object_get(sb->labels, key), value))
            return false;
    json_object_foreach (sb->labels, key, value)
        if (strncmp(key, "caesarion", 9) != 0 && strcmp(key, "owner") != 0 &&
            !json_object_get(s->labels, key))
            return false;
    return strcmp(sb->name ? sb->name : "", s->name ? s->name : "") == 0 &&
           sb->exec_timeout_ms == s->exec_timeout_ms && sb->idle_timeout_ms == s->idle_timeout_ms &&
           sb->max_lifetime_ms == s->max_lifetime_ms;
}

static void sweep(struct create_keys *k)
{
    struct create_key *c, *tmp;
    if (HASH_COUNT(k->by_name) < SWEEP_ABOVE)
        return;
    HASH_ITER (hh, k->by_name, c, tmp)
        if (c->pending == 0 && !c->watch.sandbox)
            entry_free(c);
}

int create_key_use(struct create_key **ret, struct create_keys *k, const char *owner,
                   const char *key, const struct sandbox_spec *spec, struct err *err)
{
    char hash[CRYPTO_HEX_SIZE];
    struct create_key *c = NULL;
    *ret = NULL;
    if (!key)
        return 0;
    _cleanup_(freep) char *name = mem_printf("%s %s", owner, key);
    struct sandbox *sb = sandbox_table_find_key(k->table, owner, key);
    hash_spec(spec, hash);
    sweep(k);
    HASH_FIND_STR(k->by_name, name, c);
    bool lives =
        sb ||
        (c && (c->pending > 0 || c->watch.sandbox || warm_pool_is_making(k->pool, owner, key)));
    bool other = c ? lives && strcmp(c->hash, hash) != 0 : sb && !is_same(sb, spec);
    if (other)
        return err_set(err, ERR_CONFLICT,
                       "this Idempotency-Key was used before, with another request");
    if (!c) {
        c = MEM_NEW(struct create_key);
        c->keys = k;
        c->owner = mem_dup_str(owner);
        c->key = mem_dup_str(key);
        c->name = TAKE_PTR(name);
        HASH_ADD_KEYPTR(hh, k->by_name, c->name, strlen(c->name), c);
    }
    memcpy(c->hash, hash, sizeof(hash));
    c->pending++;
    *ret = c;
    return 0;
}

void create_key_made(struct create_key *c, const char *sandbox_id)
{
    if (!c)
        return;
    c->pending--;
    struct sandbox *sb =
        sandbox_id ? sandbox_table_find(c->keys->table, sandbox_id, c->owner) : NULL;
    if (sb && !c->watch.sandbox)
        sandbox_watch_start(&c->watch, sb, on_sandbox_gone, c);
}

void create_key_drop(struct create_key *c)
{
    if (c && --c->pending == 0 && !c->watch.sandbox)
        entry_free(c);
}
