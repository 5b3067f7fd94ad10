/*
 * Sandboxes as resources: made, listed, shown, removed. Each waiting request is one small struct
 * that lives until both the operation and the request are over.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "controller/auth/auth.h"
#include "controller/pool/sandbox_requests.h"
#include "controller/pool/warm_pool.h"
#include "controller/routes/routes_internal.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/mem.h"

/* ---- POST /api/sandboxes ---- */

static void answer_created(struct http_request *req, json_t *json, bool existed)
{
    _cleanup_(freep) char *location =
        mem_printf("/api/sandboxes/%s", json_string_value(json_object_get(json, "id")));
    http_set_header(req, "Location", location);
    http_answer_json(req, existed ? 200 : 201, json_incref(json));
}

static int check_json_type(struct http_request *req, struct err *err)
{
    static const char json[] = "application/json";
    const char *type = http_header(req, "Content-Type");
    size_t n = strlen(json);
    if (!type || http_body(req).len == 0 ||
        (strncasecmp(type, json, n) == 0 && (!type[n] || strchr("; \t", type[n]))))
        return 0;
    return err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
                   "the body must be JSON: send it with Content-Type: application/json");
}

static int read_spec(struct routes *r, struct http_request *req, struct sandbox_spec *spec,
                     struct err *err)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    const char *key = http_header(req, "Idempotency-Key");
    int result = check_json_type(req, err);
    if (result == 0 && key)
        result = idempotency_key_check(key, err);
    if (result == 0 && http_body(req).len > 0)
        result = jsonx_parse(&body, http_body(req), err);
    if (result == 0)
        result = sandbox_spec_parse(spec, body, sandbox_table_defaults(r->cfg.table), err);
    return result;
}

void routes_create(void *ctx, struct http_request *req)
{
    struct routes *r = ctx;
    struct sandbox_spec spec = {0};
    struct err err = {0};
    const char *owner = routes_caller(req)->name;
    if (read_spec(r, req, &spec, &err) < 0) {
        sandbox_spec_done(&spec);
        http_answer_err(req, &err);
        return;
    }
    const struct sandbox_request cfg = {.pool = r->cfg.pool,
                                        .keys = r->keys,
                                        .owner = owner,
                                        .key = http_header(req, "Idempotency-Key"),
                                        .spec_take = &spec,
                                        .answer = answer_created};
    sandbox_request_create(req, &cfg);
}

/* ---- GET /api/sandboxes ---- */

void routes_list(void *ctx, struct http_request *req)
{
    struct routes *r = ctx;
    struct err err = {0};
    json_t *json = NULL;
    const struct sandbox_list_query q = {.owner = caller_owner_filter(routes_caller(req)),
                                         .label = http_query(req, "label"),
                                         .status = http_query(req, "status"),
                                         .limit = http_query(req, "limit"),
                                         .cont = http_query(req, "continue")};
    if (sandbox_table_list(r->cfg.table, &q, &json, &err) < 0)
        http_answer_err(req, &err);
    else
        http_answer_json(req, 200, json);
}

/* ---- GET /api/sandboxes/{id} ---- */

struct showing {
    struct http_request *req;
    struct sandbox_describe *describe; /* NULL once it called back */
};

static void showing_closed(void *ctx)
{
    struct showing *s = ctx;
    sandbox_describe_cancel(s->describe);
    free(s);
}

static void described(void *ctx, struct sandbox *sb, json_t *json, const struct err *err)
{
    struct showing *s = ctx;
    s->describe = NULL;
    if (err)
        http_answer_err(s->req, err);
    else
        http_answer_json(s->req, 200, json_incref(json));
}

void routes_get(void *ctx, struct http_request *req)
{
    struct sandbox *sb = routes_sandbox(ctx, req);
    struct err err = {0};
    if (!sb)
        return;
    struct showing *s = MEM_NEW(struct showing);
    s->req = req;
    http_on_close(req, showing_closed, s);
    if (sandbox_describe(&s->describe, sb, described, s, &err) < 0) {
        s->describe = NULL;
        http_answer_err(req, &err);
    }
}

/* ---- DELETE /api/sandboxes/{id} ---- */

void routes_delete(void *ctx, struct http_request *req)
{
    struct routes *r = ctx;
    const char *id = http_param(req, "id");
    struct err err = {0};
    if (!id_is_sandbox(id)) {
        err_set(&err, ERR_NOT_FOUND, "there is no sandbox %.64s", id);
        http_answer_err(req, &err);
        return;
    }
    struct sandbox *sb;
    int found =
        sandbox_table_get(r->cfg.table, id, caller_owner_filter(routes_caller(req)), &sb, &err);
    if (found == -ERR_UNAVAILABLE) {
        http_answer_err(req, &err);
        return;
    }
    if (!sb) {
        http_answer_empty(req, 204);
        return;
    }
    sandbox_request_remove(req, sb);
}
