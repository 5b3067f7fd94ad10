/* Requests about kernels. */
#include "kernel-runner/routes/routes_kernels.h"

#include "kernel-runner/core/runner.h"
#include "kernel-runner/routes/kernel_answer.h"
#include "kernel-runner/routes/routes_util.h"
#include "lib/api/limits.h"
#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

#include <errno.h>
#include <fcntl.h>

static json_t *kernel_model(struct runner *r, const struct kernel *k)
{
    return kernel_json(k);
}

/* `{kernel_id?}` or no body → the queue it means. */
static int body_queue(struct runner *r, const struct http_request *req, struct exec_queue **ret,
                      struct err *err)
{
    static const char *const known[] = {"kernel_id", NULL};
    _cleanup_(json_decrefp) json_t *body = NULL;
    const char *id = NULL;
    int e = routes_json_body(req, &body, err);
    if (e < 0 || (e = jsonx_only(body, known, err)) < 0 ||
        (e = jsonx_get_string(body, "kernel_id", 256, &id, err)) < 0)
        return e;
    return runner_queue(r, id, ret, err);
}

void routes_interrupt(void *ctx, struct http_request *req)
{
    struct exec_queue *q = NULL;
    struct err err;
    if (body_queue(ctx, req, &q, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    exec_queue_interrupt(q);
    http_answer_empty(req, 204);
}

void routes_restart(void *ctx, struct http_request *req)
{
    struct exec_queue *q = NULL;
    struct err err;
    if (body_queue(ctx, req, &q, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    exec_queue_restart(q);
    kernel_answer_when_settled(ctx, req, exec_queue_kernel(q), 200, kernel_model);
}

void routes_kernel_list(void *ctx, struct http_request *req)
{
    struct kernel_table *t = runner_kernels(ctx);
    json_t *list = json_array();
    for (size_t i = 0; i < kernel_table_count(t); i++)
        json_array_append_new(list, kernel_json(kernel_table_at(t, i)));
    http_answer_json(req, 200, json_pack("{s:o}", "kernels", list));
}

/* `cwd` is a folder beneath the files root, or absolute: the kernel's own view decides. */
static int resolve_cwd(struct runner *r, const char *cwd, char **ret, struct err *err)
{
    if (!cwd)
        return 0;
    size_t len = strlen(cwd);
    bool absolute = len > 0 && cwd[0] == '/';
    const char *relative = absolute ? cwd + 1 : cwd;
    if (absolute && len == 1) {
        *ret = mem_dup_str("/");
        return 0;
    }
    int e = path_check_relative(relative, strlen(relative), err);
    if (e < 0) {
        if (err)
            snprintf(err->field, sizeof(err->field), "cwd");
        return e;
    }
    *ret =
        absolute ? mem_dup_str(cwd) : mem_printf("%s/%s", file_root_path(runner_file_root(r)), cwd);
    return 0;
}

static int check_dir(const char *path, struct err *err)
{
    _cleanup_(closep) int fd = path ? beneath_open_named(path, O_PATH | O_DIRECTORY) : -1;
    if (!path || fd >= 0)
        return 0;
    if (errno == ELOOP)
        return err_field(err, "cwd",
                         "\"cwd\": %.200s leads through a link of /proc, or through links that "
                         "never end",
                         path);
    return err_field(err, "cwd", "\"cwd\": there is no folder %.200s in the sandbox", path);
}

int routes_check_env(json_t *env, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach (env, name, value) {
        size_t len = strlen(name);
        bool bad = len == 0 || len > LIMIT_ENV_NAME_BYTES;
        for (size_t i = 0; i < len; i++)
            bad = bad || name[i] == '=' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f;
        if (bad)
            return err_field(err, "env",
                             "\"env\": the name \"%.80s\" of a variable must be 1 to %d bytes "
                             "without \"=\" or control characters",
                             name, LIMIT_ENV_NAME_BYTES);
    }
    return 0;
}

static int add_kernel(struct runner *r, struct http_request *req, struct kernel **ret,
                      struct err *err)
{
    static const char *const known[] = {"cwd", "env", NULL};
    _cleanup_(json_decrefp) json_t *body = NULL;
    _cleanup_(freep) char *dir = NULL;
    const char *cwd = NULL;
    json_t *env = NULL;
    int e = routes_json_body(req, &body, err);
    if (e < 0 || (e = jsonx_only(body, known, err)) < 0 ||
        (e = jsonx_get_string(body, "cwd", PATH_USER_MAX, &cwd, err)) < 0 ||
        (e = jsonx_get_string_map(body, "env", LIMIT_ENV_ENTRIES, LIMIT_ENV_VALUE_BYTES, &env,
                                  err)) < 0 ||
        (e = routes_check_env(env, err)) < 0 || (e = resolve_cwd(r, cwd, &dir, err)) < 0 ||
        (e = check_dir(dir, err)) < 0)
        return e;
    return runner_add_kernel(r, dir, env, ret, err);
}

void routes_kernel_add(void *ctx, struct http_request *req)
{
    struct kernel *k = NULL;
    struct err err;
    if (add_kernel(ctx, req, &k, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    char location[ID_UUID_SIZE + 16];
    snprintf(location, sizeof(location), "/kernels/%s", kernel_id(k));
    http_set_header(req, "Location", location);
    kernel_answer_when_settled(ctx, req, k, 201, kernel_model);
}

static int find(struct runner *r, const struct http_request *req, struct kernel **ret,
                struct err *err)
{
    const char *id = http_param(req, "kid");
    *ret = kernel_table_find(runner_kernels(r), id);
    if (!*ret)
        return err_set(err, ERR_NOT_FOUND, "there is no kernel \"%.40s\" in this sandbox", id);
    return 0;
}

void routes_kernel_get(void *ctx, struct http_request *req)
{
    struct kernel *k = NULL;
    struct err err;
    if (find(ctx, req, &k, &err) < 0)
        http_answer_err(req, &err);
    else
        http_answer_json(req, 200, kernel_json(k));
}

void routes_kernel_delete(void *ctx, struct http_request *req)
{
    struct err err;
    if (runner_remove_kernel(ctx, http_param(req, "kid"), &err) < 0)
        http_answer_err(req, &err);
    else
        http_answer_empty(req, 204);
}
