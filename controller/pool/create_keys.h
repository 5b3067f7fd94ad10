#pragma once
#include "lib/base/err.h"
#include "lib/json/jsonx.h"

#include <stdbool.h>
struct sandbox_spec;
struct sandbox_table;
struct warm_pool;

/*
 * What was asked for with which Idempotency-Key: a key comes again with the same request, or it is
 * a mistake of the caller. Remembered as long as the sandbox is being made or lives; of adopted
 * sandboxes only what they say about themselves is compared (not `env`).
 */
struct create_keys;
struct create_key;

struct create_keys *create_keys_new(struct sandbox_table *table, const struct warm_pool *pool);
struct create_keys *create_keys_free(struct create_keys *k); /* NULL ok */

/*
 * The request may go on: call create_key_made() or create_key_drop() afterwards. ERR_CONFLICT when
 * the key was used for something else. key NULL: *ret is NULL.
 */
int create_key_use(struct create_key **ret, struct create_keys *k, const char *owner,
                   const char *key, const struct sandbox_spec *spec, struct err *err);
/*
 * A key of another door than POST /api/sandboxes, whose keys have no blank: the same key there is
 * another. NULL gives NULL; the caller frees.
 */
char *create_key_scoped(const char *door, const char *key);
/* Where a sandbox says less than the request for it did: keeps the request's hash as a label. */
void create_key_keep_request(struct sandbox_spec *spec, const json_t *body);
/* The sandbox is there (or still being made without us: id NULL). */
void create_key_made(struct create_key *c, const char *sandbox_id);
/* It could not be made. */
void create_key_drop(struct create_key *c);
