/*
 * Sessions of a sandbox. One that asks for no particular kernel gets the main one while no other
 * session has it: a sandbox is one live kernel that the API, a chat and a notebook share. Later
 * ones get kernels of their own.
 */
#include "kernel-runner/attach/attach.h"
#include "kernel-runner/core/session_list.h"
#include "kernel-runner/routes/routes_jupyter.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/mem.h"

static json_t *model(struct runner *r, const struct jupyter_session *s)
{
    struct kernel *k = kernel_table_find(runner_kernels(r), s->kernel_id);
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:s, s:s}}", "id", s->id, "path", s->path,
                     "name", s->name, "type", s->type, "kernel", jupyter_kernel_model(r, k),
                     "notebook", "path", s->path, "name", s->name);
}

static void answer(struct runner *r, struct http_request *req, int status,
                   const struct jupyter_session *s)
{
    char location[ID_UUID_SIZE + 32];
    snprintf(location, sizeof(location), "/jupyter/api/sessions/%s", s->id);
    if (status == 201)
        http_set_header(req, "Location", location);
    http_answer_json(req, status, model(r, s));
}

struct listing {
    struct runner *runner;
    json_t *list;
};

static void add_model(void *ctx, const struct jupyter_session *s)
{
    struct listing *l = ctx;
    json_array_append_new(l->list, model(l->runner, s));
}

void jupyter_session_list(void *ctx, struct http_request *req)
{
    struct listing l = {.runner = ctx, .list = json_array()};
    session_list_each(ctx, add_model, &l);
    http_answer_json(req, 200, l.list);
}

/* ---- POST, PATCH ---- */

/* What a body says of a session; borrowed from it, NULL where it says nothing. */
struct wish {
    const char *path, *name, *type;
    const char *kernel_id, *kernel_name;
    const char *id; /* the controller's: a session that comes from another sandbox keeps its id */
};

static void read_id(const struct http_request *req, const json_t *body, struct wish *w)
{
    char sandbox[ID_SANDBOX_SIZE];
    const char *id = json_string_value(json_object_get(body, "id"));
    if (id && http_header(req, JUPYTER_SCOPE_HEADER) && id_session_sandbox(id, sandbox))
        w->id = id;
}

/* Old clients say {"notebook": {"path": …}}. */
static int read_wish(const json_t *body, struct wish *ret, struct err *err)
{
    const json_t *kernel = json_object_get(body, "kernel");
    const json_t *notebook = json_object_get(body, "notebook");
    *ret = (struct wish){0};
    int e = jupyter_string(body, "path", &ret->path, err);
    if (e < 0 || (e = jupyter_string(body, "name", &ret->name, err)) < 0 ||
        (e = jupyter_string(body, "type", &ret->type, err)) < 0)
        return e;
    if (!ret->path && json_is_object(notebook)) {
        ret->type = ret->type ? ret->type : "notebook";
        if ((e = jupyter_string(notebook, "path", &ret->path, err)) < 0)
            return e;
    }
    if (!json_is_object(kernel))
        return 0;
    e = jupyter_string(kernel, "id", &ret->kernel_id, err);
    return e < 0 ? e : jupyter_string(kernel, "name", &ret->kernel_name, err);
}

static int pick_kernel(struct runner *r, const struct wish *w, const char *path,
                       struct kernel **ret, struct err *err)
{
    struct kernel *main_kernel = kernel_table_main(runner_kernels(r));
    if (w->kernel_id)
        return attach_find_kernel(r, w->kernel_id, ret, err);
    bool named =
        w->kernel_name && w->kernel_name[0] && strcmp(w->kernel_name, JUPYTER_KERNEL_NAME) != 0;
    bool free_main = !kernel_is_ended(main_kernel) && kernel_state(main_kernel) != KERNEL_DEAD &&
                     !session_list_has_kernel(r, kernel_id(main_kernel));
    if (named || !free_main)
        return jupyter_start_kernel(r, w->kernel_name, path, NULL, ret, err);
    *ret = main_kernel;
    return 0;
}

/* A kernel of its own that no session has any more is ended; the main one is the sandbox's. */
static void leave_kernel(struct runner *r, const char *id)
{
    if (strcmp(id, kernel_id(kernel_table_main(runner_kernels(r)))) != 0 &&
        !session_list_has_kernel(r, id))
        runner_remove_kernel(r, id, NULL);
}

static int add(struct runner *r, const struct wish *w, struct jupyter_session *s, struct err *err)
{
    struct kernel *k = NULL;
    if (!w->path)
        return err_field(err, "path", "\"path\" is missing: name the notebook of the session");
    if (!w->type)
        return err_field(err, "type", "\"type\" is missing: notebook, console or file");
    if (session_list_find_path(r, w->path, s) == 0)
        return 0;
    int e = pick_kernel(r, w, w->path, &k, err);
    if (e < 0)
        return e;
    *s = (struct jupyter_session){.path = mem_dup_str(w->path),
                                  .name = mem_dup_str(w->name ? w->name : ""),
                                  .type = mem_dup_str(w->type)};
    memcpy(s->kernel_id, kernel_id(k), sizeof(s->kernel_id));
    if (w->id)
        memcpy(s->id, w->id, sizeof(s->id));
    e = session_list_put(r, s, err);
    if (e < 0 && !w->kernel_id)
        leave_kernel(r, s->kernel_id); /* it was started for this session */
    return e;
}

static int read_new(const struct http_request *req, json_t **body, struct wish *w, struct err *err)
{
    int e = jupyter_body(req, body, err);
    if (e == 0)
        e = read_wish(*body, w, err);
    if (e == 0)
        read_id(req, *body, w);
    return e;
}

void jupyter_session_add(void *ctx, struct http_request *req)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    struct jupyter_session s = {0};
    struct wish w = {0};
    struct err err;
    if (read_new(req, &body, &w, &err) < 0 || add(ctx, &w, &s, &err) < 0)
        http_answer_err(req, &err);
    else
        answer(ctx, req, 201, &s);
    jupyter_session_done(&s);
}

void jupyter_session_get(void *ctx, struct http_request *req)
{
    struct jupyter_session s;
    struct err err;
    if (session_list_get(ctx, http_param(req, "sid"), &s, &err) < 0)
        http_answer_err(req, &err);
    else
        answer(ctx, req, 200, &s);
    jupyter_session_done(&s);
}

static void replace(char **field, const char *value)
{
    if (!value)
        return;
    free(*field);
    *field = mem_dup_str(value);
}

static int change(struct runner *r, const struct wish *w, struct jupyter_session *s,
                  struct err *err)
{
    char old[ID_UUID_SIZE];
    struct kernel *k = NULL;
    int e = 0;
    memcpy(old, s->kernel_id, sizeof(old));
    if (w->kernel_id || w->kernel_name)
        e = w->kernel_id ? attach_find_kernel(r, w->kernel_id, &k, err)
                         : jupyter_start_kernel(r, w->kernel_name, s->path, NULL, &k, err);
    if (e < 0)
        return e;
    if (k)
        memcpy(s->kernel_id, kernel_id(k), sizeof(s->kernel_id));
    replace(&s->path, w->path);
    replace(&s->name, w->name);
    replace(&s->type, w->type);
    e = session_list_put(r, s, err);
    if (e < 0 && k && !w->kernel_id)
        leave_kernel(r, s->kernel_id); /* it was started for this session */
    if (e == 0 && strcmp(old, s->kernel_id) != 0)
        leave_kernel(r, old);
    return e;
}

void jupyter_session_change(void *ctx, struct http_request *req)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    struct jupyter_session s = {0};
    struct wish w = {0};
    struct err err;
    if (session_list_get(ctx, http_param(req, "sid"), &s, &err) < 0 ||
        jupyter_body(req, &body, &err) < 0 || read_wish(body, &w, &err) < 0 ||
        change(ctx, &w, &s, &err) < 0)
        http_answer_err(req, &err);
    else
        answer(ctx, req, 200, &s);
    jupyter_session_done(&s);
}

/* As in Jupyter Server, its kernel ends with it. */
void jupyter_session_delete(void *ctx, struct http_request *req)
{
    struct runner *r = ctx;
    struct jupyter_session s;
    struct err err;
    if (session_list_get(r, http_param(req, "sid"), &s, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    struct kernel *k = kernel_table_find(runner_kernels(r), s.kernel_id);
    session_list_remove(r, s.id);
    attach_end_kernel(runner_attach(r), k);
    jupyter_session_done(&s);
    http_answer_empty(req, 204);
}
