/*
 * Why: a notebook client knows one server with many kernels. Here the caller's sandboxes are that
 * server: each main kernel stands for its sandbox. What one runner can answer is relayed; lists are
 * gathered from all; making and ending are the pool's and the table's. Nothing is kept here.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/jupyter/jupyter_internal.h"
#include "controller/pool/create_keys.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

#define INITIALS_MAX 2

struct jupyter *jupyter_new(const struct jupyter_cfg *cfg)
{
    struct jupyter *j = MEM_NEW(struct jupyter);
    j->cfg = *cfg;
    j->started_at = clk_wall_us();
    return j;
}

struct jupyter *jupyter_free(struct jupyter *j)
{
    if (j)
        jupyter_makings_free(j);
    free(j);
    return NULL;
}

/* ---- for all files ---- */

const struct caller *jupyter_caller(const struct http_request *req)
{
    return http_data(req);
}

void jupyter_not_found(struct http_request *req, const char *what, const char *id)
{
    struct err err = {0};
    err_set(&err, ERR_NOT_FOUND, "there is no %s %.64s", what, id);
    http_answer_err(req, &err);
}

int jupyter_find_kernel(struct jupyter *j, const struct http_request *req, const char *kernel_id,
                        struct sandbox **ret, struct err *err)
{
    char id[ID_SANDBOX_SIZE] = "";
    *ret = NULL;
    if (id_kernel_sandbox(kernel_id, id)) {
        int r =
            sandbox_table_get(j->cfg.table, id, caller_owner_filter(jupyter_caller(req)), ret, err);
        if (r == 0 || r == -ERR_UNAVAILABLE)
            return r;
    }
    return err_set(err, ERR_NOT_FOUND, "there is no kernel %.64s", kernel_id);
}

struct sandbox *jupyter_kernel_sandbox(struct jupyter *j, struct http_request *req)
{
    struct sandbox *sb = NULL;
    struct err err = {0};
    if (jupyter_find_kernel(j, req, http_param(req, "kid"), &sb, &err) < 0)
        http_answer_err(req, &err);
    return sb;
}

int jupyter_body(const struct http_request *req, json_t **ret, struct err *err)
{
    struct slice body = http_body(req);
    _cleanup_(json_decrefp) json_t *json = NULL;
    if (body.len == 0) {
        *ret = json_object();
        return 0;
    }
    int r = jsonx_parse(&json, body, err);
    if (r == 0)
        r = jsonx_object(json, err);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(json);
    return 0;
}

int jupyter_check_spec(const json_t *name, struct err *err)
{
    const char *s = json_string_value(name);
    if (!name || json_is_null(name) || (s && (!s[0] || strcmp(s, JUPYTER_KERNEL_NAME) == 0)))
        return 0;
    if (!s)
        return err_field(err, "name", "the name of a kernelspec must be a string");
    return err_set(err, ERR_NOT_FOUND, "there is no kernelspec %.64s, only " JUPYTER_KERNEL_NAME,
                   s);
}

int jupyter_key(const struct http_request *req, const char *door, char **ret, struct err *err)
{
    const char *key = http_header(req, "Idempotency-Key");
    *ret = NULL;
    if (key && idempotency_key_check(key, err) < 0)
        return -ERR_INVALID;
    *ret = create_key_scoped(door, key);
    return 0;
}

bool jupyter_is_main(const struct sandbox *sb, const char *kernel_id)
{
    return kernel_id && strcmp(id_main_kernel(sb->id), kernel_id) == 0;
}

void jupyter_give_back(struct http_request *req, int status, struct slice body)
{
    struct err err = {0};
    if (status == 204) {
        http_answer_empty(req, 204);
    } else if (status == 401 || status < 200 || status > 599) {
        err_set(&err, ERR_INTERNAL, "the runner answered %d", status);
        http_answer_err(req, &err);
    } else {
        http_set_header(req, "Cache-Control", "no-store");
        http_answer_bytes(req, status,
                          status < 400 ? "application/json" : "application/problem+json", body.ptr,
                          body.len);
    }
}

/* ---- what needs no runner ---- */

void jupyter_version(struct jupyter *j, struct http_request *req)
{
    http_answer_json(req, 200, json_pack("{s:s}", "version", JUPYTER_API_VERSION));
}

void jupyter_terminals(struct jupyter *j, struct http_request *req)
{
    struct err err = {0};
    err_set(&err, ERR_NOT_FOUND, "there are no terminals");
    http_answer_err(req, &err);
}

/* The permissions a client asks about are all granted: there is nothing in between. */
static json_t *permissions(const char *asked)
{
    _cleanup_(json_decrefp) json_t *json = NULL;
    const char *key;
    json_t *value;
    if (!asked || jsonx_parse(&json, slice_str(asked), NULL) < 0 || !json_is_object(json))
        return json_object();
    json_t *out = json_object();
    json_object_foreach (json, key, value)
        if (json_is_array(value))
            json_object_set(out, key, value);
    return out;
}

void jupyter_me(struct jupyter *j, struct http_request *req)
{
    const char *name = jupyter_caller(req)->name;
    char initials[INITIALS_MAX + 1] = {0};
    memcpy(initials, name, strnlen(name, INITIALS_MAX));
    http_answer_json(req, 200,
                     json_pack("{s:{s:s,s:s,s:s,s:s,s:n,s:n},s:o}", "identity", "username", name,
                               "name", name, "display_name", name, "initials", initials,
                               "avatar_url", "color", "permissions",
                               permissions(http_query(req, "permissions"))));
}

/* ---- GET /jupyter/api/status ---- */

struct status {
    struct jupyter *j;
    struct http_request *req;
    struct jupyter_gather *gather;
};

static void status_closed(void *ctx)
{
    struct status *s = ctx;
    jupyter_gather_cancel(s->gather);
    free(s);
}

static void answer_status(void *ctx, struct slice list, const struct err *failed)
{
    struct status *s = ctx;
    _cleanup_(json_decrefp) json_t *kernels = NULL;
    struct err err = {0};
    char started[CLK_RFC3339_SIZE];
    const char *last = clk_rfc3339(s->j->started_at, started);
    json_int_t connections = 0;
    size_t i;
    json_t *k;
    s->gather = NULL;
    if (failed || jsonx_parse(&kernels, list, &err) < 0) {
        http_answer_err(s->req, failed ? failed : &err);
        return;
    }
    json_array_foreach (kernels, i, k) {
        const char *at = json_string_value(json_object_get(k, "last_activity"));
        connections += json_integer_value(json_object_get(k, "connections"));
        if (at && strcmp(at, last) > 0) /* all in one format */
            last = at;
    }
    http_answer_json(s->req, 200,
                     json_pack("{s:s,s:s,s:I,s:I}", "started", started, "last_activity", last,
                               "kernels", (json_int_t)json_array_size(kernels), "connections",
                               connections));
}

void jupyter_status(struct jupyter *j, struct http_request *req)
{
    struct status *s = MEM_NEW(struct status);
    const struct jupyter_gather_cfg cfg = {.table = j->cfg.table,
                                           .owner = caller_owner_filter(jupyter_caller(req)),
                                           .path = JUPYTER_KERNELS_PATH,
                                           .missing = jupyter_missing_kernel,
                                           .done = answer_status,
                                           .ctx = s};
    s->j = j;
    s->req = req;
    s->gather = jupyter_gather(&cfg);
    http_on_close(req, status_closed, s);
}
