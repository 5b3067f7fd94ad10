/*
 * The lists over all sandboxes, and what stands in them for a runner that does not answer: it is
 * there, and what it does is not known.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/jupyter/jupyter_internal.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/mem.h"

/* "busy": neither gone nor free for work, which is all that can be said of it. */
void jupyter_missing_kernel(const struct sandbox *sb, json_t *list)
{
    json_array_append_new(
        list, jupyter_kernel_model(id_main_kernel(sb->id), sb->last_activity_at, "busy"));
}

/* As its labels say: the runner keeps each session there, too. */
void jupyter_missing_sessions(const struct sandbox *sb, json_t *list)
{
    const char *key;
    json_t *value;
    size_t n = strlen(JUPYTER_SESSION_LABEL);
    json_object_foreach (sb->labels, key, value) {
        json_t *s = NULL;
        const char *text = json_string_value(value);
        if (strncmp(key, JUPYTER_SESSION_LABEL, n) != 0 || !text ||
            jsonx_parse(&s, slice_str(text), NULL) < 0)
            continue;
        const char *kid = json_string_value(json_object_get(s, "kernel_id"));
        _cleanup_(json_decrefp) json_t *kernels = json_array();
        jupyter_missing_kernel(sb, kernels);
        json_t *kernel = json_array_get(kernels, 0);
        if (kid)
            json_object_set_new(kernel, "id", json_string(kid));
        json_object_set_new(s, "id", json_string(key + n));
        json_object_set(s, "kernel", kernel);
        json_object_del(s, "kernel_id");
        if (json_is_string(json_object_get(s, "path")))
            json_array_append(list, s);
        json_decref(s);
    }
}

struct listing {
    struct http_request *req;
    struct jupyter_gather *gather;
};

static void listing_closed(void *ctx)
{
    struct listing *l = ctx;
    jupyter_gather_cancel(l->gather);
    free(l);
}

static void listed(void *ctx, struct slice list, const struct err *err)
{
    struct listing *l = ctx;
    l->gather = NULL;
    if (err)
        http_answer_err(l->req, err);
    else
        jupyter_give_back(l->req, 200, list);
}

static void gather_list(struct jupyter *j, struct http_request *req, const char *path,
                        void (*missing)(const struct sandbox *sb, json_t *list))
{
    struct listing *l = MEM_NEW(struct listing);
    const struct jupyter_gather_cfg cfg = {.table = j->cfg.table,
                                           .owner = caller_owner_filter(jupyter_caller(req)),
                                           .path = path,
                                           .missing = missing,
                                           .done = listed,
                                           .ctx = l};
    l->req = req;
    l->gather = jupyter_gather(&cfg);
    http_on_close(req, listing_closed, l);
}

void jupyter_kernels(struct jupyter *j, struct http_request *req)
{
    gather_list(j, req, JUPYTER_KERNELS_PATH, jupyter_missing_kernel);
}

void jupyter_sessions(struct jupyter *j, struct http_request *req)
{
    gather_list(j, req, JUPYTER_SESSIONS_PATH, jupyter_missing_sessions);
}
