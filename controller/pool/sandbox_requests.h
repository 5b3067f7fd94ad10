#pragma once
#include "lib/base/err.h"
#include "lib/json/jsonx.h"
struct create_keys;
struct http_request;
struct sandbox;
struct sandbox_spec;
struct warm_pool;

/* Requests that make a sandbox or end one, through whatever door: each is answered, now or later.
 */

struct sandbox_request {
    struct warm_pool *pool; /* borrowed, as all here */
    struct create_keys *keys;
    const char *owner;
    const char *key; /* Idempotency-Key in its door's own room (create_key_scoped()), or NULL */
    struct sandbox_spec *spec_take;
    /* Answers for a sandbox that is there: the API's object; existed: an earlier request made it.
     */
    void (*answer)(struct http_request *req, json_t *json, bool existed);
};
/* Sets the request's on_close. */
void sandbox_request_create(struct http_request *req, const struct sandbox_request *cfg);
/* 204 when it is gone. Sets the request's on_close. */
void sandbox_request_remove(struct http_request *req, struct sandbox *sb);
