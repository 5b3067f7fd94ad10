/* What a caller may ask for, checked field by field. */
#include "kernel-runner/exec/exec_request.h"

#include "kernel-runner/exec/held.h"
#include "lib/api/limits.h"
#include "lib/base/ids.h"
#include "lib/base/mem.h"

#include <ctype.h>

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isspace((unsigned char)s[i]))
            return false;
    return true;
}

static int get_code(struct exec_request *r, const json_t *body, struct err *err)
{
    const json_t *code = json_object_get(body, "code");
    if (!code)
        return err_field(err, "code", "\"code\" is missing: give the Python source to run");
    if (!json_is_string(code))
        return err_field(err, "code", "\"code\" must be a string");
    size_t len = json_string_length(code);
    if (len > LIMIT_CODE_BYTES) {
        err_field(err, "code", "\"code\" is %zu bytes long; at most %zu are taken", len,
                  LIMIT_CODE_BYTES);
        if (err)
            err->code = ERR_TOO_LARGE;
        return -ERR_TOO_LARGE;
    }
    if (is_blank(json_string_value(code), len))
        return err_field(err, "code", "\"code\" is empty");
    if (memchr(json_string_value(code), '\0', len))
        return err_field(err, "code", "\"code\" holds a NUL character");
    r->code = mem_dup_n(json_string_value(code), len);
    r->code_len = len;
    return 0;
}

static int get_kernel(struct exec_request *r, const json_t *body, struct err *err)
{
    const char *id = NULL;
    int e = jsonx_get_string(body, "kernel_id", 64, &id, err);
    if (e < 0 || !id)
        return e;
    if (!id_is_uuid(id))
        return err_set(err, ERR_NOT_FOUND, "there is no kernel \"%.40s\" in this sandbox", id);
    r->kernel_id = mem_dup_str(id);
    return 0;
}

static int get_on_disconnect(struct exec_request *r, const json_t *body, struct err *err)
{
    const char *what = "continue";
    int e = jsonx_get_string(body, "on_disconnect", 32, &what, err);
    if (e < 0)
        return e;
    if (strcmp(what, "continue") != 0 && strcmp(what, "interrupt") != 0)
        return err_field(err, "on_disconnect",
                         "\"on_disconnect\" is either \"continue\" or \"interrupt\"");
    r->interrupt_on_disconnect = strcmp(what, "interrupt") == 0;
    return 0;
}

static int get_all(struct exec_request *r, const json_t *body, struct err *err)
{
    static const char *const known[] = {"code",
                                        "kernel_id",
                                        "timeout_s",
                                        "stop_on_error",
                                        "silent",
                                        "store_history",
                                        "user_expressions",
                                        "allow_stdin",
                                        "generation",
                                        "on_disconnect",
                                        NULL};
    int e;
    if ((e = jsonx_object(body, err)) < 0 || (e = jsonx_only(body, known, err)) < 0)
        return e;
    if ((e = get_code(r, body, err)) < 0 || (e = get_kernel(r, body, err)) < 0)
        return e;
    if ((e = jsonx_get_seconds(body, "timeout_s", LIMIT_TIMEOUT_S, &r->timeout_ms, err)) < 0)
        return e;
    if ((e = jsonx_get_bool(body, "stop_on_error", &r->stop_on_error, err)) < 0 ||
        (e = jsonx_get_bool(body, "silent", &r->silent, err)) < 0)
        return e;
    r->store_history = !r->silent;
    if ((e = jsonx_get_bool(body, "store_history", &r->store_history, err)) < 0 ||
        (e = jsonx_get_bool(body, "allow_stdin", &r->allow_stdin, err)) < 0)
        return e;
    if ((e = jsonx_get_int(body, "generation", 1, INT32_MAX, &r->generation, err)) < 0)
        return e;
    json_t *expressions = NULL;
    if ((e = jsonx_get_string_map(body, "user_expressions", LIMIT_USER_EXPRESSIONS, KIB(64),
                                  &expressions, err)) < 0)
        return e;
    r->user_expressions = json_incref(expressions);
    return get_on_disconnect(r, body, err);
}

int exec_request_parse(struct exec_request **ret, struct slice text, struct err *err)
{
    _cleanup_(json_decrefp) json_t *body = NULL;
    int e = jsonx_parse(&body, text, err);
    if (e < 0)
        return e;
    struct exec_request *r = MEM_NEW(struct exec_request);
    e = get_all(r, body, err);
    if (e < 0) {
        exec_request_free(r);
        return e;
    }
    *ret = r;
    return 0;
}

struct exec_request *exec_request_free(struct exec_request *r)
{
    if (!r)
        return NULL;
    exec_request_let_go(r);
    free(r->kernel_id);
    free(r);
    return NULL;
}

int exec_request_hold(struct exec_request *r, struct mem_budget *budget, struct err *err)
{
    size_t bytes = r->code_len;
    const char *key;
    json_t *value;
    json_object_foreach (r->user_expressions, key, value)
        bytes += strlen(key) + json_string_length(value) + 128; /* jansson's own */
    return mem_hold(&r->held, budget, HELD_CODE, bytes, err);
}

void exec_request_let_go(struct exec_request *r)
{
    free(r->code);
    r->code = NULL;
    json_decref(r->user_expressions);
    r->user_expressions = NULL;
    mem_held_release(&r->held);
}

char *exec_request_content(const struct exec_request *r)
{
    _cleanup_(json_decrefp) json_t *content =
        json_pack("{s:s%, s:b, s:b, s:o, s:b, s:b}", "code", r->code, r->code_len, "silent",
                  r->silent, "store_history", r->store_history, "user_expressions",
                  r->user_expressions ? json_incref(r->user_expressions) : json_object(),
                  "allow_stdin", r->allow_stdin, "stop_on_error", 0);
    return jsonx_dump(content);
}
