/* RFC 9457 problems out of errors. The table of codes is err.c's. */
#include "lib/base/mem.h"
#include "lib/base/utf8.h"
#include "lib/http/http_internal.h"

int http_problem_status(const struct err *err)
{
    int status = err->code > ERR_OK ? err_code_http_status(err->code) : 0;
    return status >= 400 ? status : 500;
}

json_t *http_problem_json(const struct err *err)
{
    enum err_code code = err->code > ERR_OK && err->code < ERR_CODE_MAX ? err->code : ERR_INTERNAL;
    _cleanup_(freep) char *type = mem_printf("urn:caesarion:problem:%s", err_code_name(code));
    /* A kernel's own words may be anything: what is not UTF-8 is replaced. */
    json_t *detail = json_string(err->text);
    if (!detail) {
        struct buf clean;
        buf_init(&clean, sizeof(err->text) * 4);
        for (const char *p = err->text; *p;) {
            size_t n = utf8_char_len(p, strlen(p));
            buf_append(&clean, n ? p : "\xEF\xBF\xBD", n ? n : 3);
            p += n ? n : 1;
        }
        detail = json_stringn(clean.ptr, clean.len);
        buf_done(&clean);
    }
    json_t *json =
        json_pack("{s:s, s:s, s:i, s:o, s:s, s:b}", "type", type, "title", err_code_title(code),
                  "status", err_code_http_status(code), "detail", detail, "code",
                  err_code_name(code), "retryable", err_code_retryable(code));
    if (err->field[0])
        json_object_set_new(json, "field", json_string(err->field));
    return json;
}

char *http_problem_text(const struct http_request *req, const struct err *err)
{
    _cleanup_(json_decrefp) json_t *json = http_problem_json(err);
    const struct http_server_cfg *cfg = &req->server->cfg;
    if (cfg->problem)
        cfg->problem(cfg->ctx, req, json);
    return jsonx_dump(json);
}
