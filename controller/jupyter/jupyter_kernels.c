/*
 * Kernels at /jupyter/: a main kernel is its sandbox. Making one takes a sandbox from the pool,
 * deleting it ends the sandbox; everything else is its runner's.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/jupyter/jupyter_internal.h"
#include "controller/pool/warm_pool.h"
#include "controller/relay/relay.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

json_t *jupyter_kernel_model(const char *id, int64_t last_activity_at, const char *state)
{
    char at[CLK_RFC3339_SIZE];
    return json_pack("{s:s,s:s,s:s,s:s,s:i}", "id", id, "name", JUPYTER_KERNEL_NAME,
                     "last_activity", clk_rfc3339(last_activity_at, at), "execution_state", state,
                     "connections", 0);
}

/* ---- POST /jupyter/api/kernels ---- */

struct creation {
    struct http_request *req;
    struct warm_pool_create *create; /* NULL once it called back */
};

static void creation_closed(void *ctx)
{
    struct creation *c = ctx;
    warm_pool_create_forget(c->create);
    free(c);
}

static void created(void *ctx, json_t *json, bool existed, const struct err *err)
{
    struct creation *c = ctx;
    c->create = NULL;
    if (err) {
        http_answer_err(c->req, err);
        return;
    }
    const json_t *kernel = json_object_get(json, "kernel");
    const char *id = id_main_kernel(json_string_value(json_object_get(json, "id")));
    const char *state = json_string_value(json_object_get(kernel, "state"));
    _cleanup_(freep) char *location = mem_printf(JUPYTER_KERNELS_PATH "/%s", id);
    http_set_header(c->req, "Location", location);
    http_answer_json(c->req, 201, jupyter_kernel_model(id, clk_wall_us(), state ? state : "idle"));
}

/* Of what Jupyter's own server knows, `env` has a meaning here; `path` and `kernel_id` have none.
 */
static int read_spec(struct jupyter *j, const struct http_request *req, struct sandbox_spec *spec,
                     struct err *err)
{
    _cleanup_(json_decrefp) json_t *body = NULL, *wanted = NULL;
    int r = jupyter_body(req, &body, err);
    if (r == 0)
        r = jupyter_check_spec(json_object_get(body, "name"), err);
    if (r < 0)
        return r;
    wanted = json_pack("{s:s,s:O?}", "name", "jupyter", "env", json_object_get(body, "env"));
    if (!wanted)
        wanted = json_pack("{s:s}", "name", "jupyter");
    return sandbox_spec_parse(spec, wanted, sandbox_table_defaults(j->cfg.table), err);
}

void jupyter_kernel_create(struct jupyter *j, struct http_request *req)
{
    struct sandbox_spec spec = {0};
    struct err err = {0};
    if (read_spec(j, req, &spec, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct creation *c = MEM_NEW(struct creation);
    c->req = req;
    http_on_close(req, creation_closed, c);
    if (warm_pool_create(&c->create, j->cfg.pool, jupyter_caller(req)->name, &spec, NULL, created,
                         c, &err) < 0) {
        c->create = NULL;
        http_answer_err(req, &err);
    }
}

/* ---- one kernel ---- */

void jupyter_kernel_delete(struct jupyter *j, struct http_request *req)
{
    struct sandbox *sb = jupyter_kernel_sandbox(j, req);
    if (!sb)
        return;
    if (jupyter_is_main(sb, http_param(req, "kid")))
        jupyter_end_sandbox(req, sb);
    else
        relay_request(j->cfg.relay, req, sb, RELAY_PLAIN);
}

void jupyter_kernel_relay(struct jupyter *j, struct http_request *req)
{
    struct sandbox *sb = jupyter_kernel_sandbox(j, req);
    if (sb)
        relay_request(j->cfg.relay, req, sb, RELAY_PLAIN);
}

void jupyter_kernel_channels(struct jupyter *j, struct http_request *req)
{
    struct sandbox *sb = jupyter_kernel_sandbox(j, req);
    if (sb)
        relay_tunnel(j->cfg.relay, req, sb);
}
