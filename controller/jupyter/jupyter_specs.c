/* The kernelspec: the same as at one sandbox, but for the path its logos lie below. */
#include "controller/jupyter/jupyter_internal.h"
#include "lib/api/jupyter_api.h"

void jupyter_specs(struct jupyter *j, struct http_request *req)
{
    http_answer_json(req, 200, jupyter_kernelspecs_json(JUPYTER_PREFIX));
}

void jupyter_spec(struct jupyter *j, struct http_request *req)
{
    json_t *json = jupyter_kernelspec_json(http_param(req, "name"), JUPYTER_PREFIX);
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
