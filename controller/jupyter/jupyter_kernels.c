/*
 * Kernels at /jupyter/: a main kernel is its sandbox. Making one takes a sandbox from the pool,
 * deleting it ends the sandbox; everything else is its runner's.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/jupyter/jupyter_internal.h"
#include "controller/pool/create_keys.h"
#include "controller/pool/sandbox_requests.h"
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

/* The same, whether it was made now or by an earlier request with this key. */
static void answer_created(struct http_request *req, json_t *json, bool existed)
{
    const json_t *kernel = json_object_get(json, "kernel");
    const char *id = id_main_kernel(json_string_value(json_object_get(json, "id")));
    const char *state = json_string_value(json_object_get(kernel, "state"));
    _cleanup_(freep) char *location = mem_printf(JUPYTER_KERNELS_PATH "/%s", id);
    http_set_header(req, "Location", location);
    http_answer_json(req, 201, jupyter_kernel_model(id, clk_wall_us(), state ? state : "idle"));
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
    r = sandbox_spec_parse(spec, wanted, sandbox_table_defaults(j->cfg.table), err);
    if (r == 0 && http_header(req, "Idempotency-Key"))
        create_key_keep_request(spec, body);
    return r;
}

void jupyter_kernel_create(struct jupyter *j, struct http_request *req)
{
    struct sandbox_spec spec = {0};
    struct err err = {0};
    _cleanup_(freep) char *key = NULL;
    if (jupyter_key(req, "kernels", &key, &err) < 0 || read_spec(j, req, &spec, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    const struct sandbox_request cfg = {.pool = j->cfg.pool,
                                        .keys = j->cfg.keys,
                                        .owner = jupyter_caller(req)->name,
                                        .key = key,
                                        .spec_take = &spec,
                                        .answer = answer_created};
    sandbox_request_create(req, &cfg);
}

/* ---- one kernel ---- */

void jupyter_kernel_delete(struct jupyter *j, struct http_request *req)
{
    struct sandbox *sb = jupyter_kernel_sandbox(j, req);
    if (!sb)
        return;
    if (jupyter_is_main(sb, http_param(req, "kid")))
        sandbox_request_remove(req, sb);
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
