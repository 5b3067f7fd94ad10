/* The kernelspec: the same at all sandboxes and at one, but for the path its logos lie below. */
#include <stdlib.h>

#include "controller/jupyter/jupyter_internal.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/mem.h"

/* Below which the caller sees the API. */
static char *prefix_of(const struct sandbox *sb)
{
    return sb ? mem_printf("/api/sandboxes/%s" JUPYTER_PREFIX, sb->id)
              : mem_dup_str(JUPYTER_PREFIX);
}

void jupyter_specs(struct jupyter *j, struct http_request *req, const struct sandbox *sb)
{
    _cleanup_(freep) char *prefix = prefix_of(sb);
    http_answer_json(req, 200, jupyter_kernelspecs_json(prefix));
}

void jupyter_spec(struct jupyter *j, struct http_request *req, const struct sandbox *sb)
{
    _cleanup_(freep) char *prefix = prefix_of(sb);
    json_t *json = jupyter_kernelspec_json(http_param(req, "name"), prefix);
    if (json)
        http_answer_json(req, 200, json);
    else
        jupyter_not_found(req, "kernelspec", http_param(req, "name"));
}

void jupyter_resource(struct jupyter *j, struct http_request *req)
{
    struct slice bytes = {0};
    const char *type = NULL;
    if (!jupyter_kernelspec_resource(http_param(req, "name"), http_param(req, "file"), &bytes,
                                     &type)) {
        jupyter_not_found(req, "such file of the kernelspec", http_param(req, "name"));
        return;
    }
    http_set_header(req, "Cache-Control", "private, max-age=2592000");
    http_answer_bytes(req, 200, type, bytes.ptr, bytes.len);
}
