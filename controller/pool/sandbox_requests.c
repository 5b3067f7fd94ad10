/*
 * Why: a sandbox is made and ended through several doors (the API, Jupyter's kernels), which differ
 * in what they read and answer only. Each waiting request is one small struct that lives until both
 * the operation and the request are over.
 */
#include "controller/pool/sandbox_requests.h"

#include <stdlib.h>

#include "controller/pool/create_keys.h"
#include "controller/pool/warm_pool.h"
#include "lib/base/mem.h"
#include "lib/http/http.h"

/* ---- one is made ---- */

struct creation {
    struct http_request *req;
    struct warm_pool_create *create; /* NULL once it called back */
    struct create_key *key;
    void (*answer)(struct http_request *req, json_t *json, bool existed);
};

static void creation_closed(void *ctx)
{
    struct creation *c = ctx;
    if (c->create) {
        warm_pool_create_forget(c->create);
        create_key_made(c->key, NULL);
    }
    free(c);
}

static void created(void *ctx, json_t *json, bool existed, const struct err *err)
{
    struct creation *c = ctx;
    c->create = NULL;
    if (err) {
        create_key_drop(c->key);
        http_answer_err(c->req, err);
        return;
    }
    create_key_made(c->key, json_string_value(json_object_get(json, "id")));
    c->answer(c->req, json, existed);
}

void sandbox_request_create(struct http_request *req, const struct sandbox_request *cfg)
{
    struct create_key *used = NULL;
    struct err err = {0};
    if (create_key_use(&used, cfg->keys, cfg->owner, cfg->key, cfg->spec_take, &err) < 0) {
        sandbox_spec_done(cfg->spec_take);
        http_answer_err(req, &err);
        return;
    }
    struct creation *c = MEM_NEW(struct creation);
    *c = (struct creation){.req = req, .key = used, .answer = cfg->answer};
    http_on_close(req, creation_closed, c);
    if (warm_pool_create(&c->create, cfg->pool, cfg->owner, cfg->spec_take, cfg->key, created, c,
                         &err) < 0) {
        c->create = NULL;
        create_key_drop(used);
        http_answer_err(req, &err);
    }
}

/* ---- one ends ---- */

struct removal {
    struct http_request *req; /* NULL once it is over */
    bool done;
};

static void removal_closed(void *ctx)
{
    struct removal *m = ctx;
    m->req = NULL;
    if (m->done)
        free(m);
}

static void removed(void *ctx, const struct err *err)
{
    struct removal *m = ctx;
    m->done = true;
    if (!m->req)
        free(m);
    else if (err)
        http_answer_err(m->req, err);
    else
        http_answer_empty(m->req, 204);
}

void sandbox_request_remove(struct http_request *req, struct sandbox *sb)
{
    struct removal *m = MEM_NEW(struct removal);
    m->req = req;
    http_on_close(req, removal_closed, m);
    sandbox_remove(sb, removed, m);
}
