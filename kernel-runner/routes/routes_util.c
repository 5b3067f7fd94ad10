/* What several routes need to read a request. */
#include "kernel-runner/routes/routes_util.h"

#include <strings.h>

int routes_check_json(const struct http_request *req, struct err *err)
{
    static const char json[] = "application/json";
    const char *type = http_header(req, "Content-Type");
    if (!type || http_body(req).len == 0)
        return 0;
    size_t len = strcspn(type, "; \t");
    if (len == sizeof(json) - 1 && strncasecmp(type, json, len) == 0)
        return 0;
    return err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
                   "the body must be application/json, not \"%.80s\" (with curl: --json)", type);
}

int routes_json_body(const struct http_request *req, json_t **ret, struct err *err)
{
    int r = routes_check_json(req, err);
    if (r < 0)
        return r;
    struct slice body = http_body(req);
    if (body.len == 0) {
        *ret = json_object();
        return 0;
    }
    _cleanup_(json_decrefp) json_t *json = NULL;
    if ((r = jsonx_parse(&json, body, err)) < 0 || (r = jsonx_object(json, err)) < 0)
        return r;
    *ret = TAKE_PTR(json);
    return 0;
}
