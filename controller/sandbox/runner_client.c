/*
 * Why: the few questions the controller itself asks a runner. Every call has a deadline and one
 * answer; what the runner says in problem+json comes through with its own code.
 */
#include "controller/sandbox/runner_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

#define ANSWER_MAX MIB(2) /* labels and names only: far below */

struct runner_call {
    struct httpc_call *call;
    runner_reply_fn fn;
    void *ctx;
    bool wants_json;
};

int runner_address(const struct sandbox *sb, const char *path, char url[RUNNER_URL_MAX],
                   char auth[RUNNER_AUTH_SIZE], struct httpc_request *req, struct err *err)
{
    bool is_unix = sb->endpoint.unix_path[0] != 0;
    int n = snprintf(url, RUNNER_URL_MAX, "http://%s%s", is_unix ? sb->id : sb->endpoint.host_port,
                     path);

    if (n < 0 || n >= RUNNER_URL_MAX)
        return err_set(err, ERR_URI_TOO_LONG, "the path is longer than %d bytes", RUNNER_URL_MAX);
    req->url = url;
    req->unix_path = is_unix ? sb->endpoint.unix_path : NULL;
    snprintf(auth, RUNNER_AUTH_SIZE, "Authorization: Bearer %s", sb->token);
    return 0;
}

void runner_problem(int status, struct slice body, struct err *err)
{
    _cleanup_(json_decrefp) json_t *json = NULL;
    const char *code, *detail;

    if (jsonx_parse(&json, body, NULL) < 0) {
        err_set(err, ERR_INTERNAL, "the runner answered %d: %.*s", status,
                (int)MIN(body.len, (size_t)512), body.ptr ? body.ptr : "");
        return;
    }
    code = json_string_value(json_object_get(json, "code"));
    detail = json_string_value(json_object_get(json, "detail"));
    if (!detail)
        detail = json_string_value(json_object_get(json, "title"));
    err_set(err, code ? err_code_from_name(code) : ERR_INTERNAL, "%s", detail ? detail : "");
}

void runner_failure(const struct err *failure, struct err *err)
{
    if (failure->code == ERR_SANDBOX_LOST || failure->code == ERR_UNAVAILABLE)
        err_set(err, ERR_UNAVAILABLE, "the sandbox does not answer (%s); try again", failure->text);
    else
        *err = *failure;
}

/* The client calls it from the loop. */
static void tell_reply(void *ctx, int status, struct slice body, const struct err *failure)
{
    struct runner_call *c = ctx;
    _cleanup_(json_decrefp) json_t *json = NULL;
    struct err err = {0};

    if (failure) {
        err = *failure;
    } else if (status / 100 != 2) {
        runner_problem(status, body, &err);
    } else if (c->wants_json) {
        if (jsonx_parse(&json, body, &err) < 0 || jsonx_object(json, &err) < 0)
            err_wrap(&err, "the runner's answer");
    }
    c->fn(c->ctx, json, err.code ? &err : NULL);
    free(c);
}

static int start(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                 struct httpc_request *req, const char *path, bool wants_json, runner_reply_fn fn,
                 void *ctx, struct err *err)
{
    struct runner_call *c;
    char url[RUNNER_URL_MAX], auth[RUNNER_AUTH_SIZE];
    const char *const with_body[] = {auth, "Content-Type: application/json", NULL};
    const char *const without[] = {auth, NULL};

    int r = runner_address(sb, path, url, auth, req, err);
    if (r < 0)
        return r;
    req->headers = req->body ? with_body : without;
    c = MEM_NEW(struct runner_call);
    *c = (struct runner_call){.fn = fn, .ctx = ctx, .wants_json = wants_json};
    r = httpc_exchange(&c->call, http, req, ANSWER_MAX, tell_reply, c, err);
    explicit_bzero(auth, sizeof(auth));
    if (r < 0) {
        free(c);
        return r;
    }
    if (ret)
        *ret = c;
    return 0;
}

int runner_post(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                const char *path, json_t *body_take, bool repeatable, int64_t deadline_ms,
                runner_reply_fn fn, void *ctx, struct err *err)
{
    _cleanup_(mem_free_secretp) char *body = body_take ? jsonx_dump(body_take) : NULL;
    struct httpc_request req = {.method = "POST",
                                .body = body,
                                .body_len = body ? strlen(body) : 0,
                                .repeatable = repeatable,
                                .total_timeout_ms = deadline_ms};

    json_decref(body_take);
    return start(ret, http, sb, &req, path, /* wants_json= */ false, fn, ctx, err);
}

int runner_ready(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                 int64_t deadline_ms, runner_reply_fn fn, void *ctx, struct err *err)
{
    char path[64];
    /* The runner gives up first, so that its own words come back. */
    int64_t wait_ms = MAX(deadline_ms - 500, 0);
    struct httpc_request req = {.method = "GET", .total_timeout_ms = MAX(deadline_ms, 1)};

    snprintf(path, sizeof(path), "/readyz?wait_ms=%lld", (long long)wait_ms);
    return start(ret, http, sb, &req, path, /* wants_json= */ false, fn, ctx, err);
}

int runner_info(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                int64_t deadline_ms, runner_reply_fn fn, void *ctx, struct err *err)
{
    struct httpc_request req = {.method = "GET", .total_timeout_ms = deadline_ms};

    return start(ret, http, sb, &req, "/sandbox", /* wants_json= */ true, fn, ctx, err);
}

int runner_claim(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                 json_t *body_take, int64_t deadline_ms, runner_reply_fn fn, void *ctx,
                 struct err *err)
{
    _cleanup_(mem_free_secretp) char *body = jsonx_dump(body_take); /* env may hold secrets */
    struct httpc_request req = {.method = "POST",
                                .body = body,
                                .body_len = strlen(body),
                                .repeatable = true, /* the same claim twice is one */
                                .connect_timeout_ms = deadline_ms,
                                .total_timeout_ms = deadline_ms};

    json_decref(body_take);
    return start(ret, http, sb, &req, "/claim", /* wants_json= */ true, fn, ctx, err);
}

struct runner_call *runner_cancel(struct runner_call *call)
{
    if (call) {
        httpc_cancel(call->call);
        free(call);
    }
    return NULL;
}
