/*
 * Status codes and models are Jupyter Server's, which its clients check to the letter: 201 with a
 * Location, 204 without a body, times with six decimals.
 */
#include "kernel-runner/routes/routes_jupyter.h"

#include "kernel-runner/attach/attach.h"
#include "kernel-runner/routes/kernel_answer.h"
#include "kernel-runner/routes/routes_kernels.h"
#include "lib/api/jupyter_api.h"
#include "lib/api/limits.h"
#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <fcntl.h>

/* ---- what the files share ---- */

int jupyter_body(const struct http_request *req, json_t **ret, struct err *err)
{
    struct slice body = http_body(req);
    if (body.len == 0) {
        *ret = json_object();
        return 0;
    }
    _cleanup_(json_decrefp) json_t *json = NULL;
    int e = jsonx_parse(&json, body, err);
    if (e < 0 || (e = jsonx_object(json, err)) < 0)
        return e;
    *ret = TAKE_PTR(json);
    return 0;
}

int jupyter_string(const json_t *body, const char *key, const char **ret, struct err *err)
{
    return jsonx_get_string(body, key, LIMIT_SESSION_BYTES, ret, err);
}

json_t *jupyter_kernel_model(struct runner *r, const struct kernel *k)
{
    char at[CLK_RFC3339_SIZE];
    return json_pack("{s:s, s:s, s:s, s:s, s:i}", "id", kernel_id(k), "name", JUPYTER_KERNEL_NAME,
                     "last_activity", clk_rfc3339(kernel_last_activity(k), at), "execution_state",
                     kernel_state_name(kernel_state(k)), "connections",
                     (int)attach_connections(runner_attach(r), k));
}

/* The folder of a notebook, or the nearest one above that exists, as Jupyter Server has it. */
static int folder_of(struct runner *r, const char *path, char **ret, struct err *err)
{
    _cleanup_(freep) char *folder =
        mem_printf("%s/%s", file_root_path(runner_file_root(r)), path + strspn(path, "/"));
    size_t root = strlen(file_root_path(runner_file_root(r)));
    while (strlen(folder) > root) {
        _cleanup_(closep) int fd = beneath_open_named(folder, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno == ELOOP)
            return err_field(err, "cwd",
                             "the kernel's folder %.200s leads through a link of /proc, or through "
                             "links that never end",
                             path);
        if (fd >= 0)
            break;
        *strrchr(folder, '/') = '\0';
    }
    *ret = TAKE_PTR(folder);
    return 0;
}

int jupyter_start_kernel(struct runner *r, const char *name, const char *path, json_t *env,
                         struct kernel **ret, struct err *err)
{
    if (name && name[0] && strcmp(name, JUPYTER_KERNEL_NAME) != 0)
        return err_set(err, ERR_NOT_FOUND, "there is no kernelspec \"%.80s\", only \"%s\"", name,
                       JUPYTER_KERNEL_NAME);
    bool inside = path && !strstr(path, "..") && strlen(path) < PATH_MAX;
    _cleanup_(freep) char *cwd = NULL;
    int e = inside ? folder_of(r, path, &cwd, err) : 0;
    if (e < 0)
        return e;
    return runner_add_kernel(r, cwd, env, ret, err);
}

/* Where the caller sees this API: below the sandbox, as the controller passes it on. */
static char *prefix_of(struct runner *r)
{
    return mem_printf("/api/sandboxes/%s/jupyter", runner_id(r));
}

/* ---- the server ---- */

void jupyter_index(void *ctx, struct http_request *req)
{
    http_answer_json(req, 200, json_pack("{s:s}", "version", JUPYTER_API_VERSION));
}

void jupyter_version(void *ctx, struct http_request *req)
{
    jupyter_index(ctx, req);
}

void jupyter_status(void *ctx, struct http_request *req)
{
    struct runner *r = ctx;
    struct kernel_table *t = runner_kernels(r);
    char started[CLK_RFC3339_SIZE], last[CLK_RFC3339_SIZE];
    unsigned connections = 0, kernels = 0;
    for (size_t i = 0; i < kernel_table_count(t); i++) {
        const struct kernel *k = kernel_table_at(t, i);
        kernels += !kernel_is_ended(k);
        connections += attach_connections(runner_attach(r), k);
    }
    http_answer_json(req, 200,
                     json_pack("{s:s, s:s, s:i, s:i}", "started",
                               clk_rfc3339(runner_created_at(r), started), "last_activity",
                               clk_rfc3339(runner_last_activity(r), last), "kernels", (int)kernels,
                               "connections", (int)connections));
}

void jupyter_me(void *ctx, struct http_request *req)
{
    const json_t *owner = json_object_get(runner_identity(ctx), "owner");
    const char *name = json_string_value(owner) ? json_string_value(owner) : "user";
    char initial[2] = {name[0], '\0'};
    http_answer_json(req, 200,
                     json_pack("{s:{s:s, s:s, s:s, s:s, s:n, s:n}, s:{}}", "identity", "username",
                               name, "name", name, "display_name", name, "initials", initial,
                               "avatar_url", "color", "permissions"));
}

void jupyter_specs(void *ctx, struct http_request *req)
{
    _cleanup_(freep) char *prefix = prefix_of(ctx);
    http_answer_json(req, 200, jupyter_kernelspecs_json(prefix));
}

void jupyter_spec(void *ctx, struct http_request *req)
{
    _cleanup_(freep) char *prefix = prefix_of(ctx);
    json_t *spec = jupyter_kernelspec_json(http_param(req, "name"), prefix);
    if (spec) {
        http_answer_json(req, 200, spec);
        return;
    }
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "there is no kernelspec \"%.80s\"", http_param(req, "name"));
    http_answer_err(req, &err);
}

void jupyter_resource(void *ctx, struct http_request *req)
{
    struct slice bytes;
    const char *type;
    if (jupyter_kernelspec_resource(http_param(req, "name"), http_param(req, "file"), &bytes,
                                    &type)) {
        http_set_header(req, "Cache-Control", "max-age=2592000");
        http_answer_bytes(req, 200, type, bytes.ptr, bytes.len);
        return;
    }
    struct err err;
    err_set(&err, ERR_NOT_FOUND, "this kernelspec has no file \"%.80s\"", http_param(req, "file"));
    http_answer_err(req, &err);
}

/* ---- kernels ---- */

void jupyter_kernel_list(void *ctx, struct http_request *req)
{
    struct kernel_table *t = runner_kernels(ctx);
    json_t *list = json_array();
    for (size_t i = 0; i < kernel_table_count(t); i++)
        if (!kernel_is_ended(kernel_table_at(t, i)))
            json_array_append_new(list, jupyter_kernel_model(ctx, kernel_table_at(t, i)));
    http_answer_json(req, 200, list);
}

static int add_kernel(struct runner *r, const struct http_request *req, struct kernel **ret,
                      struct err *err)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    const char *name = NULL, *path = NULL;
    json_t *env = NULL;
    int e = jupyter_body(req, &body, err);
    if (e < 0 || (e = jupyter_string(body, "name", &name, err)) < 0 ||
        (e = jupyter_string(body, "path", &path, err)) < 0 ||
        (e = jsonx_get_string_map(body, "env", LIMIT_ENV_ENTRIES, LIMIT_ENV_VALUE_BYTES, &env,
                                  err)) < 0 ||
        (e = routes_check_env(env, err)) < 0)
        return e;
    return jupyter_start_kernel(r, name, path, env, ret, err);
}

static void answer_new(struct runner *r, struct http_request *req, const struct kernel *k)
{
    char location[ID_UUID_SIZE + 32];
    snprintf(location, sizeof(location), "/jupyter/api/kernels/%s", kernel_id(k));
    http_set_header(req, "Location", location);
    http_answer_json(req, 201, jupyter_kernel_model(r, k));
}

void jupyter_kernel_add(void *ctx, struct http_request *req)
{
    struct kernel *k = NULL;
    struct err err;
    if (add_kernel(ctx, req, &k, &err) < 0)
        http_answer_err(req, &err);
    else
        answer_new(ctx, req, k);
}

/* The kernel {kid} of a request, or an answer and NULL. */
static struct kernel *find(struct runner *r, struct http_request *req)
{
    struct kernel *k = NULL;
    struct err err;
    if (attach_find_kernel(r, http_param(req, "kid"), &k, &err) == 0)
        return k;
    http_answer_err(req, &err);
    return NULL;
}

void jupyter_kernel_get(void *ctx, struct http_request *req)
{
    struct kernel *k = find(ctx, req);
    if (k)
        http_answer_json(req, 200, jupyter_kernel_model(ctx, k));
}

void jupyter_kernel_delete(void *ctx, struct http_request *req)
{
    struct kernel *k = find(ctx, req);
    if (!k)
        return;
    attach_end_kernel(runner_attach(ctx), k);
    http_answer_empty(req, 204);
}

void jupyter_kernel_interrupt(void *ctx, struct http_request *req)
{
    struct kernel *k = find(ctx, req);
    struct exec_queue *q = NULL;
    if (!k || runner_queue(ctx, kernel_id(k), &q, NULL) < 0)
        return;
    exec_queue_interrupt(q);
    http_answer_empty(req, 204);
}

void jupyter_kernel_restart(void *ctx, struct http_request *req)
{
    struct kernel *k = find(ctx, req);
    struct exec_queue *q = NULL;
    if (!k || runner_queue(ctx, kernel_id(k), &q, NULL) < 0)
        return;
    exec_queue_restart(q);
    kernel_answer_when_settled(ctx, req, k, 200, jupyter_kernel_model);
}
