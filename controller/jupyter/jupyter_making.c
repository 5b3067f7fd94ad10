/*
 * Why: a client that opens a notebook twice, or retries, must get one session and one sandbox. So
 * the sessions a caller makes for one path are made one after the other, and each first looks for
 * one that is there.
 *
 *   WAITING   another one of this caller and path is under way
 *   NEXT      that one has ended; this one begins in a turn of its own, because it may end at once,
 *             and so may the thousand behind it
 *   SEARCHING all runners of the caller are asked for their sessions
 *   CREATING  a sandbox comes from the pool
 *   POSTING   its runner makes the session
 *
 * A client that leaves ends it, but while POSTING: then it is finished for when the client asks
 * again. A sandbox whose runner refuses the session is removed.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "controller/jupyter/jupyter_internal.h"
#include "controller/pool/create_keys.h"
#include "controller/pool/warm_pool.h"
#include "controller/sandbox/runner_client.h"
#include "lib/base/mem.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"

enum step { WAITING, NEXT, SEARCHING, CREATING, POSTING };

struct jupyter_making {
    struct jupyter *j;
    struct jupyter_making *prev, *next;
    struct http_request *req; /* NULL: the client left */
    char *owner;
    char *path, *name, *type, *kernel_id, *id;
    int status;
    bool search;
    void (*then)(void *ctx, struct jupyter *j);
    void *then_ctx;
    enum step step;
    struct loop_post begin;
    struct jupyter_gather *gather;
    struct warm_pool_create *create;
    struct httpc_call *call;
    char sandbox[ID_SANDBOX_SIZE]; /* made for it, or "" */
    char *key;
    struct create_key *used;  /* of `key` */
    struct sandbox_spec spec; /* of a new sandbox */
};

static void begin(void *ctx);

static void making_free(struct jupyter_making *m)
{
    DL_DELETE(m->j->makings, m);
    loop_post_cancel(&m->begin);
    jupyter_gather_cancel(m->gather);
    warm_pool_create_forget(m->create);
    httpc_cancel(m->call);
    free(m->owner);
    free(m->path);
    free(m->name);
    free(m->type);
    free(m->kernel_id);
    free(m->id);
    free(m->then_ctx);
    free(m->key);
    create_key_drop(m->used);
    sandbox_spec_done(&m->spec);
    free(m);
}

void jupyter_makings_free(struct jupyter *j)
{
    while (j->makings)
        making_free(j->makings);
}

static bool is_same(const struct jupyter_making *a, const struct jupyter_making *b)
{
    return strcmp(a->owner, b->owner) == 0 && strcmp(a->path, b->path) == 0;
}

/* The next of its kind begins. Returns the request that is to be answered, or NULL. */
static struct http_request *end(struct jupyter_making *m)
{
    struct http_request *req = m->req;
    struct jupyter_making *other;
    if (req)
        http_on_close(req, NULL, NULL);
    DL_FOREACH (m->j->makings, other)
        if (other != m && is_same(m, other))
            break;
    if (other && other->step == WAITING) {
        other->step = NEXT;
        loop_post(&other->begin, sandbox_table_loop(m->j->cfg.table), begin, other);
    }
    making_free(m);
    return req;
}

static void fail(struct jupyter_making *m, const struct err *err)
{
    struct http_request *req = end(m);
    if (req)
        http_answer_err(req, err);
}

static void on_close(void *ctx)
{
    struct jupyter_making *m = ctx;
    m->req = NULL;
    if (m->step == POSTING)
        return;
    if (m->step == CREATING) /* goes on where it has a key */
        create_key_made(TAKE_PTR(m->used), NULL);
    end(m);
}

/* The key is the session's as long as the sandbox of its kernel lives. */
static void remember_key(struct jupyter_making *m, struct slice model)
{
    char kid[ID_UUID_SIZE], id[ID_SANDBOX_SIZE];
    if (jsonx_decode(jsonx_find(jsonx_find(model, "kernel"), "id"), kid, sizeof(kid)) == 0 &&
        id_kernel_sandbox(kid, id))
        create_key_made(TAKE_PTR(m->used), id);
}

/* It is there: `text` is the session's model. */
static void succeed(struct jupyter_making *m, struct slice text)
{
    int status = m->status;
    char id[ID_UUID_SIZE];
    if (m->then)
        m->then(m->then_ctx, m->j);
    bool has_id = jsonx_decode(jsonx_find(text, "id"), id, sizeof(id)) == 0;
    remember_key(m, text);
    struct http_request *req = end(m);
    if (!req)
        return;
    _cleanup_(freep) char *location = has_id ? mem_printf(JUPYTER_SESSIONS_PATH "/%s", id) : NULL;
    if (location && status == 201)
        http_set_header(req, "Location", location);
    jupyter_give_back(req, status, text);
}

/* ---- POSTING ---- */

static void drop_sandbox(struct jupyter_making *m)
{
    struct sandbox *sb =
        m->sandbox[0] ? sandbox_table_find(m->j->cfg.table, m->sandbox, m->owner) : NULL;
    if (sb)
        sandbox_remove(sb, NULL, NULL);
}

static void posted(void *ctx, int status, struct slice body, const struct err *err)
{
    struct jupyter_making *m = ctx;
    m->call = NULL;
    if (!err && (status == 200 || status == 201) && jsonx_valid(body) && body.ptr[0] == '{') {
        succeed(m, body);
        return;
    }
    drop_sandbox(m);
    if (err) {
        struct err said = {0};
        runner_failure(err, &said);
        fail(m, &said);
        return;
    }
    struct http_request *req = end(m);
    if (req)
        jupyter_give_back(req, status < 400 ? 0 : status, body);
}

static void post(struct jupyter_making *m, const struct sandbox *sb)
{
    struct err err = {0};
    _cleanup_(json_decrefp) json_t *body =
        json_pack("{s:s,s:s,s:s,s:{s:s},s:s*}", "path", m->path, "name", m->name, "type", m->type,
                  "kernel", "id", m->kernel_id, "id", m->id);
    _cleanup_(freep) char *text = jsonx_dump(body);
    const struct jupyter_question q = {"POST", JUPYTER_SESSIONS_PATH, text};
    m->step = POSTING;
    if (jupyter_ask(&m->call, m->j, sb, &q, posted, m, &err) < 0) {
        drop_sandbox(m);
        fail(m, &err);
    }
}

/* ---- CREATING ---- */

static void created(void *ctx, json_t *json, bool existed, const struct err *err)
{
    struct jupyter_making *m = ctx;
    struct err gone = {0};
    m->create = NULL;
    if (err) {
        fail(m, err);
        return;
    }
    const char *id = json_string_value(json_object_get(json, "id"));
    const struct sandbox *sb = sandbox_table_find(m->j->cfg.table, id, m->owner);
    if (!sb) {
        err_set(&gone, ERR_SANDBOX_LOST, "the sandbox has ended");
        fail(m, &gone);
        return;
    }
    if (!existed)
        memcpy(m->sandbox, sb->id, sizeof(m->sandbox));
    m->kernel_id = mem_dup_str(id_main_kernel(sb->id));
    post(m, sb);
}

static void create(struct jupyter_making *m)
{
    struct err err = {0};
    m->step = CREATING;
    if (warm_pool_create(&m->create, m->j->cfg.pool, m->owner, &m->spec, m->key, created, m, &err) <
        0) {
        m->create = NULL;
        fail(m, &err);
    }
}

/* ---- SEARCHING ---- */

static void make(struct jupyter_making *m)
{
    char id[ID_SANDBOX_SIZE];
    struct err err = {0};
    if (!m->kernel_id) {
        create(m);
        return;
    }
    /* An admin's may be another's; that was checked by who asked. */
    const struct sandbox *sb =
        id_kernel_sandbox(m->kernel_id, id) ? sandbox_table_find(m->j->cfg.table, id, NULL) : NULL;
    if (sb) {
        post(m, sb);
        return;
    }
    err_set(&err, ERR_NOT_FOUND, "there is no kernel %.64s", m->kernel_id);
    fail(m, &err);
}

static void searched(void *ctx, struct slice list, const struct err *failed)
{
    struct jupyter_making *m = ctx;
    _cleanup_(json_decrefp) json_t *sessions = NULL;
    struct err err = {0};
    size_t i;
    json_t *s;
    m->gather = NULL;
    if (failed || jsonx_parse(&sessions, list, &err) < 0) {
        fail(m, failed ? failed : &err);
        return;
    }
    json_array_foreach (sessions, i, s) {
        const char *path = json_string_value(json_object_get(s, "path"));
        if (!path || strcmp(path, m->path) != 0)
            continue;
        _cleanup_(freep) char *text = jsonx_dump(s);
        succeed(m, slice_str(text));
        return;
    }
    make(m);
}

static void begin(void *ctx)
{
    struct jupyter_making *m = ctx;
    const struct jupyter_gather_cfg cfg = {.table = m->j->cfg.table,
                                           .owner = m->owner,
                                           .path = JUPYTER_SESSIONS_PATH,
                                           .missing = jupyter_missing_sessions,
                                           .done = searched,
                                           .ctx = m};
    m->step = SEARCHING;
    if (m->search)
        m->gather = jupyter_gather(&cfg);
    else
        make(m);
}

void jupyter_make_session(struct jupyter *j, struct http_request *req,
                          const struct jupyter_making_cfg *cfg)
{
    struct jupyter_making *m = MEM_NEW(struct jupyter_making), *other;
    bool waits = false;
    *m = (struct jupyter_making){.j = j,
                                 .req = req,
                                 .owner = mem_dup_str(jupyter_caller(req)->name),
                                 .path = mem_dup_str(cfg->path),
                                 .name = mem_dup_str(cfg->name),
                                 .type = mem_dup_str(cfg->type),
                                 .kernel_id = mem_dup_str(cfg->kernel_id),
                                 .id = mem_dup_str(cfg->id),
                                 .status = cfg->status,
                                 .search = cfg->search,
                                 .then = cfg->then,
                                 .then_ctx = cfg->then_ctx_take,
                                 .key = mem_dup_str(cfg->key)};
    _cleanup_(json_decrefp) json_t *wanted = json_pack("{s:s}", "name", "jupyter");
    struct err err = {0};
    int r = sandbox_spec_parse(&m->spec, wanted, sandbox_table_defaults(j->cfg.table), &err);
    if (r == 0 && m->key)
        create_key_keep_request(&m->spec, cfg->body);
    if (r == 0)
        r = create_key_use(&m->used, j->cfg.keys, m->owner, m->key, &m->spec, &err);
    if (r < 0) {
        DL_APPEND(j->makings, m);
        making_free(m);
        http_answer_err(req, &err);
        return;
    }
    DL_FOREACH (j->makings, other)
        waits = waits || is_same(m, other);
    DL_APPEND(j->makings, m);
    http_on_close(req, on_close, m);
    if (!waits)
        begin(m);
}
