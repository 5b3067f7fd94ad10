/*
 * Sessions at /jupyter/. A session's id names its sandbox, whose runner keeps it. Only one that was
 * moved (PATCH to a kernel of another sandbox) keeps an id of a sandbox that has ended; those are
 * looked for at all runners.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/jupyter/jupyter_internal.h"
#include "controller/pool/sandbox_requests.h"
#include "controller/relay/relay.h"
#include "controller/sandbox/runner_client.h"
#include "lib/api/jupyter_api.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include "lib/httpc/httpc.h"

/* ---- POST ---- */

struct wanted {
    const char *path, *name, *type, *kernel_id;
};

/* The kernel a body asks for: its id, or NULL for a new one. */
static int read_kernel(struct jupyter *j, const struct http_request *req, const json_t *body,
                       const char **ret, struct err *err)
{
    const json_t *kernel = json_object_get(body, "kernel");
    *ret = NULL;
    if (kernel && !json_is_null(kernel) && !json_is_object(kernel))
        return err_field(err, "kernel", "kernel must be an object");
    int r = jsonx_get_string(kernel, "id", ID_UUID_SIZE - 1, ret, err);
    if (r < 0)
        return r;
    if (!*ret)
        return jupyter_check_spec(json_object_get(kernel, "name"), err);
    struct sandbox *sb;
    return jupyter_find_kernel(j, req, *ret, &sb, err);
}

static int need(const char *value, const char *field, struct err *err)
{
    return value && value[0] ? 0 : err_field(err, field, "%s must be given, as a string", field);
}

static int read_texts(const json_t *body, struct wanted *w, struct err *err)
{
    int r = jsonx_get_string(body, "path", LIMIT_SESSION_BYTES, &w->path, err);
    if (r == 0)
        r = jsonx_get_string(body, "name", LIMIT_SESSION_BYTES, &w->name, err);
    if (r == 0)
        r = jsonx_get_string(body, "type", LIMIT_SESSION_BYTES, &w->type, err);
    return r;
}

/* As its runner would say, but before there is one. */
static int check_length(const struct wanted *w, struct err *err)
{
    if (strlen(w->path) + strlen(w->name) + strlen(w->type) <= LIMIT_SESSION_BYTES)
        return 0;
    return err_field(err, "path", "path, name and type of a session have at most %zu bytes",
                     LIMIT_SESSION_BYTES);
}

/* What Jupyter's notebooks sent before version 5, and some clients still do. */
static void read_old_form(const json_t *body, struct wanted *w)
{
    const json_t *notebook = json_object_get(body, "notebook");
    if (w->path || !json_is_object(notebook))
        return;
    (void)jsonx_get_string(notebook, "path", LIMIT_SESSION_BYTES, &w->path, NULL);
    if (!w->type)
        w->type = "notebook";
}

void jupyter_session_create(struct jupyter *j, struct http_request *req)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    _cleanup_(freep) char *key = NULL;
    struct wanted w = {.name = ""};
    struct err err = {0};
    int r = jupyter_key(req, "sessions", &key, &err);
    if (r == 0)
        r = jupyter_body(req, &body, &err);
    if (r == 0)
        r = read_texts(body, &w, &err);
    if (r == 0) {
        read_old_form(body, &w);
        r = need(w.path, "path", &err);
    }
    if (r == 0)
        r = need(w.type, "type", &err);
    if (r == 0)
        r = check_length(&w, &err);
    if (r == 0)
        r = read_kernel(j, req, body, &w.kernel_id, &err);
    if (r < 0) {
        if (err.code == ERR_TOO_LARGE)
            err.code = ERR_INVALID;
        http_answer_err(req, &err);
        return;
    }
    const struct jupyter_making_cfg cfg = {.path = w.path,
                                           .name = w.name,
                                           .type = w.type,
                                           .kernel_id = w.kernel_id,
                                           .search = true,
                                           .status = 201,
                                           .key = key,
                                           .body = body};
    jupyter_make_session(j, req, &cfg);
}

/* ---- one session ---- */

/* A request to /jupyter/api/sessions/{sid} until it is answered or given to somebody else. */
struct visit {
    struct jupyter *j;
    struct http_request *req;
    void (*run)(struct visit *v, struct sandbox *sb);
    struct jupyter_gather *gather;
    struct httpc_call *call;
    char sandbox[ID_SANDBOX_SIZE];
    char path[sizeof(JUPYTER_SESSIONS_PATH) + ID_UUID_SIZE];
    json_t *body; /* of a PATCH */
};

static void visit_closed(void *ctx)
{
    struct visit *v = ctx;
    jupyter_gather_cancel(v->gather);
    httpc_cancel(v->call);
    json_decref(v->body);
    free(v);
}

/* The request goes to somebody else. */
static struct http_request *leave(struct visit *v)
{
    struct http_request *req = v->req;
    http_on_close(req, NULL, NULL);
    visit_closed(v);
    return req;
}

static const char *sid_of(const struct visit *v)
{
    return http_param(v->req, "sid");
}

static struct sandbox *find_sandbox(const struct visit *v, const char *id)
{
    return sandbox_table_find(v->j->cfg.table, id, caller_owner_filter(jupyter_caller(v->req)));
}

static void run_at(struct visit *v, struct sandbox *sb)
{
    memcpy(v->sandbox, sb->id, sizeof(v->sandbox));
    v->run(v, sb);
}

static void searched(void *ctx, struct slice list, const struct err *failed)
{
    struct visit *v = ctx;
    _cleanup_(json_decrefp) json_t *sessions = NULL;
    char id[ID_SANDBOX_SIZE];
    struct sandbox *sb = NULL;
    size_t i;
    json_t *s;
    v->gather = NULL;
    if (!failed)
        (void)jsonx_parse(&sessions, list, NULL);
    json_array_foreach (sessions, i, s) {
        const char *sid = json_string_value(json_object_get(s, "id"));
        const char *kid = json_string_value(json_object_get(json_object_get(s, "kernel"), "id"));
        if (sid && kid && strcmp(sid, sid_of(v)) == 0 && id_kernel_sandbox(kid, id))
            sb = find_sandbox(v, id);
    }
    if (sb)
        run_at(v, sb);
    else
        jupyter_not_found(v->req, "session", sid_of(v));
}

static void visit(struct jupyter *j, struct http_request *req,
                  void (*run)(struct visit *v, struct sandbox *sb), json_t *body_take)
{
    char id[ID_SANDBOX_SIZE];
    struct visit *v = MEM_NEW(struct visit);
    const struct jupyter_gather_cfg all = {.table = j->cfg.table,
                                           .owner = caller_owner_filter(jupyter_caller(req)),
                                           .path = JUPYTER_SESSIONS_PATH,
                                           .missing = jupyter_missing_sessions,
                                           .done = searched,
                                           .ctx = v};
    *v = (struct visit){.j = j, .req = req, .run = run, .body = body_take};
    http_on_close(req, visit_closed, v);
    if (!id_session_sandbox(sid_of(v), id)) {
        jupyter_not_found(req, "session", sid_of(v));
        return;
    }
    snprintf(v->path, sizeof(v->path), JUPYTER_SESSIONS_PATH "/%s", sid_of(v));
    struct sandbox *sb;
    struct err err = {0};
    int r = sandbox_table_get(j->cfg.table, id, all.owner, &sb, &err);
    if (r == -ERR_UNAVAILABLE)
        http_answer_err(req, &err);
    else if (sb)
        run_at(v, sb);
    else
        v->gather = jupyter_gather(&all);
}

static void ask(struct visit *v, const struct sandbox *sb, const struct jupyter_question *q,
                void (*fn)(void *ctx, int status, struct slice body, const struct err *err))
{
    struct err err = {0};
    if (jupyter_ask(&v->call, v->j, sb, q, fn, v, &err) < 0)
        http_answer_err(v->req, &err);
}

static void give_back(void *ctx, int status, struct slice body, const struct err *err)
{
    struct visit *v = ctx;
    v->call = NULL;
    struct err said = {0};
    if (err) {
        runner_failure(err, &said);
        http_answer_err(v->req, &said);
    } else
        jupyter_give_back(v->req, status, body);
}

/* The model a runner answered, or NULL: then the request has been answered. */
static json_t *read_model(struct visit *v, int status, struct slice body, const struct err *err)
{
    json_t *model = NULL;
    if (err || status != 200 || jsonx_parse(&model, body, NULL) < 0)
        give_back(v, status, body, err);
    return model;
}

static const char *kernel_of(const json_t *model)
{
    return json_string_value(json_object_get(json_object_get(model, "kernel"), "id"));
}

/* ---- GET ---- */

static void run_get(struct visit *v, struct sandbox *sb)
{
    struct relay *relay = v->j->cfg.relay;
    relay_request(relay, leave(v), sb, RELAY_PLAIN);
}

void jupyter_session_get(struct jupyter *j, struct http_request *req)
{
    visit(j, req, run_get, NULL);
}

/* ---- DELETE ---- */

static void delete_known(void *ctx, int status, struct slice body, const struct err *err)
{
    struct visit *v = ctx;
    const struct jupyter_question q = {"DELETE", v->path, NULL};
    v->call = NULL;
    _cleanup_(json_decrefp) json_t *model = read_model(v, status, body, err);
    if (!model)
        return;
    struct sandbox *sb = find_sandbox(v, v->sandbox);
    if (!sb)
        http_answer_empty(v->req, 204);
    else if (jupyter_is_main(sb, kernel_of(model)))
        sandbox_request_remove(leave(v), sb);
    else
        ask(v, sb, &q, give_back);
}

static void run_delete(struct visit *v, struct sandbox *sb)
{
    const struct jupyter_question q = {"GET", v->path, NULL};
    ask(v, sb, &q, delete_known);
}

void jupyter_session_delete(struct jupyter *j, struct http_request *req)
{
    visit(j, req, run_delete, NULL);
}

/* ---- PATCH ---- */

/* What is left of a session that has moved. */
struct moved {
    char sandbox[ID_SANDBOX_SIZE];
    char path[sizeof(JUPYTER_SESSIONS_PATH) + ID_UUID_SIZE];
    bool is_main;
};

static void forget_answer(void *ctx, int status, struct slice body, const struct err *err)
{
}

/* As Jupyter Server does: the kernel it had ends. */
static void remove_old(void *ctx, struct jupyter *j)
{
    const struct moved *old = ctx;
    struct httpc_call *call = NULL;
    const struct jupyter_question q = {"DELETE", old->path, NULL};
    struct sandbox *sb = sandbox_table_find(j->cfg.table, old->sandbox, NULL);
    if (sb && old->is_main)
        sandbox_remove(sb, NULL, NULL);
    else if (sb)
        (void)jupyter_ask(&call, j, sb, &q, forget_answer, NULL, NULL);
}

static const char *text_of(const json_t *first, const json_t *second, const char *key)
{
    const char *s = json_string_value(json_object_get(first, key));
    if (!s)
        s = json_string_value(json_object_get(second, key));
    return s ? s : "";
}

static void move_known(void *ctx, int status, struct slice body, const struct err *err)
{
    struct visit *v = ctx;
    v->call = NULL;
    _cleanup_(json_decrefp) json_t *model = read_model(v, status, body, err);
    const struct sandbox *sb = model ? find_sandbox(v, v->sandbox) : NULL;
    if (!model)
        return;
    struct moved *old = MEM_NEW(struct moved);
    memcpy(old->sandbox, v->sandbox, sizeof(old->sandbox));
    memcpy(old->path, v->path, sizeof(old->path));
    old->is_main = sb && jupyter_is_main(sb, kernel_of(model));
    _cleanup_(json_decrefp) json_t *patch = json_incref(v->body);
    const struct jupyter_making_cfg cfg = {.path = text_of(patch, model, "path"),
                                           .name = text_of(patch, model, "name"),
                                           .type = text_of(patch, model, "type"),
                                           .kernel_id = kernel_of(patch),
                                           /* Its own sandbox may not find it under this id. */
                                           .id = old->is_main ? sid_of(v) : NULL,
                                           .status = 200,
                                           .then = remove_old,
                                           .then_ctx_take = old};
    struct jupyter *j = v->j;
    jupyter_make_session(j, leave(v), &cfg);
}

static void run_patch(struct visit *v, struct sandbox *sb)
{
    const json_t *kernel = json_object_get(v->body, "kernel");
    const char *kid = kernel_of(v->body);
    char id[ID_SANDBOX_SIZE] = "";
    bool names_one = json_string_value(json_object_get(kernel, "name")) != NULL;
    bool moves = kid ? id_kernel_sandbox(kid, id) && strcmp(id, sb->id) != 0 : names_one;
    if (moves) {
        const struct jupyter_question get = {"GET", v->path, NULL};
        ask(v, sb, &get, move_known);
        return;
    }
    _cleanup_(freep) char *text = jsonx_dump(v->body);
    const struct jupyter_question patch = {"PATCH", v->path, text};
    ask(v, sb, &patch, give_back);
}

void jupyter_session_patch(struct jupyter *j, struct http_request *req)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    struct wanted w = {0};
    struct err err = {0};
    int r = jupyter_body(req, &body, &err);
    if (r == 0)
        r = read_texts(body, &w, &err);
    if (r == 0)
        r = read_kernel(j, req, body, &w.kernel_id, &err);
    if (r < 0) {
        if (err.code == ERR_TOO_LARGE)
            err.code = ERR_INVALID;
        http_answer_err(req, &err);
        return;
    }
    visit(j, req, run_patch, TAKE_PTR(body));
}
