/* Requests about executions: what they ask for is picked here, what is done is the runner's. */
#include "kernel-runner/routes/routes_exec.h"

#include "kernel-runner/core/runner.h"
#include "kernel-runner/routes/exec_list.h"
#include "kernel-runner/routes/exec_reader.h"
#include "kernel-runner/routes/routes_util.h"
#include "lib/api/limits.h"
#include "lib/base/parse.h"
#include "lib/crypto/crypto.h"

#include <strings.h>

enum form { FORM_JSON, FORM_NDJSON, FORM_SSE };

/* The first media type in `Accept` that we have; its parameters and weights are not weighed. */
static int pick_form(const struct http_request *req, enum form fallback, enum form *ret,
                     struct err *err)
{
    static const struct {
        const char *type;
        int form; /* -1: the fallback */
    } forms[] = {{"application/json", FORM_JSON},
                 {"application/x-ndjson", FORM_NDJSON},
                 {"text/event-stream", FORM_SSE},
                 {"*/*", -1},
                 {"application/*", -1}};
    const char *accept = http_header(req, "Accept");
    *ret = fallback;
    if (!accept || !accept[0])
        return 0;
    for (const char *p = accept; *p;) {
        p += strspn(p, " \t,");
        size_t len = strcspn(p, " \t,;");
        for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
            if (strlen(forms[i].type) != len || strncasecmp(p, forms[i].type, len) != 0)
                continue;
            if (forms[i].form >= 0)
                *ret = (enum form)forms[i].form;
            return 0;
        }
        p += strcspn(p, ",");
    }
    return err_set(err, ERR_NOT_ACCEPTABLE,
                   "answers come as application/json, application/x-ndjson or text/event-stream; "
                   "Accept asks for \"%.80s\"",
                   accept);
}

static bool prefers_async(const struct http_request *req)
{
    const char *prefer = http_header(req, "Prefer");
    return prefer && strcasestr(prefer, "respond-async") != NULL;
}

static int pick_id(const struct http_request *req, char id[ID_EXEC_MAX + 1], struct err *err)
{
    const char *given = http_header(req, "X-Execution-Id");
    if (!given) {
        crypto_new_uuid(id);
        return 0;
    }
    if (!id_is_exec(given))
        return err_field(err, "X-Execution-Id",
                         "an execution id is 1 to %d letters, digits, dots, dashes or underscores",
                         ID_EXEC_MAX);
    snprintf(id, ID_EXEC_MAX + 1, "%s", given);
    return 0;
}

static void answer_exec(struct runner *r, struct http_request *req, struct exec *e, enum form form)
{
    struct err err;
    /* A repeated request reads the execution that is there, as others do. */
    if (!prefers_async(req) && exec_store_room(runner_execs(r), e, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    char location[ID_EXEC_MAX + 32];
    snprintf(location, sizeof(location), "/executions/%s", e->id);
    http_set_header(req, "Location", location);
    if (prefers_async(req))
        exec_answer_now(r, req, e, 202);
    else if (form == FORM_JSON)
        exec_answer_when_done(r, req, e);
    else
        exec_reader_start(r, req, e, 0, form == FORM_SSE);
}

static int execute(struct runner *r, struct http_request *req, struct exec **ret, enum form *form,
                   struct err *err)
{
    int e = routes_check_json(req, err);
    if (e < 0 || (e = pick_form(req, FORM_JSON, form, err)) < 0)
        return e;
    /* What would not be answered does not run. */
    if (!prefers_async(req) && (e = exec_store_room(runner_execs(r), NULL, err)) < 0)
        return e;
    char id[ID_EXEC_MAX + 1], hash[CRYPTO_HEX_SIZE];
    if ((e = pick_id(req, id, err)) < 0)
        return e;
    struct slice body = http_body(req);
    struct exec_request *request = NULL;
    if ((e = exec_request_parse(&request, body, err)) < 0)
        return e;
    crypto_sha256_hex(body.ptr, body.len, hash);
    http_body_drop(req); /* its answer may be hours away */
    return runner_execute(r, id, hash, request, ret, err);
}

void routes_execute(void *ctx, struct http_request *req)
{
    struct runner *r = ctx;
    struct exec *e = NULL;
    enum form form;
    struct err err;
    if (execute(r, req, &e, &form, &err) < 0)
        http_answer_err(req, &err);
    else
        answer_exec(r, req, e, form);
}

void routes_exec_list(void *ctx, struct http_request *req)
{
    struct err err;
    const char *state = http_query(req, "state");
    if (state && strcmp(state, "queued") != 0 && strcmp(state, "running") != 0 &&
        strcmp(state, "done") != 0) {
        err_field(&err, "state", "\"state\" is one of queued, running, done");
        http_answer_err(req, &err);
        return;
    }
    exec_list_answer(ctx, req, state);
}

static int find(struct runner *r, const struct http_request *req, struct exec **ret,
                struct err *err)
{
    const char *id = http_param(req, "eid");
    int e = id_is_exec(id) ? exec_store_lookup(runner_execs(r), id, ret, err) : EXEC_UNKNOWN;
    if (e == EXEC_UNKNOWN)
        return err_set(err, ERR_NOT_FOUND, "there is no execution \"%.64s\" in this sandbox", id);
    return e;
}

void routes_exec_get(void *ctx, struct http_request *req)
{
    struct err err;
    struct exec *e = NULL;
    if (find(ctx, req, &e, &err) < 0)
        http_answer_err(req, &err);
    else
        exec_answer_now(ctx, req, e, 200);
}

static int read_seq(const char *text, const char *field, uint64_t *ret, struct err *err)
{
    *ret = 0;
    if (!text || !text[0] || parse_u64(text, 0, INT64_MAX, ret, NULL) == 0)
        return 0;
    return err_field(err, field, "\"%s\" is the seq of the last event that was read", field);
}

/*
 * `?after=N` and `Last-Event-ID: N`: the later counts, as a browser that reconnects repeats its
 * query.
 */
static int pick_after(const struct http_request *req, uint64_t *ret, struct err *err)
{
    uint64_t after, last;
    int e = read_seq(http_query(req, "after"), "after", &after, err);
    if (e < 0 || (e = read_seq(http_header(req, "Last-Event-ID"), "Last-Event-ID", &last, err)) < 0)
        return e;
    *ret = MAX(after, last);
    return 0;
}

static int events(struct runner *r, struct http_request *req, struct err *err)
{
    struct exec *e = NULL;
    uint64_t after;
    enum form form;
    int rc = find(r, req, &e, err);
    if (rc < 0 || (rc = pick_after(req, &after, err)) < 0 ||
        (rc = pick_form(req, FORM_NDJSON, &form, err)) < 0)
        return rc;
    if ((rc = exec_store_room(runner_execs(r), e, err)) < 0)
        return rc;
    exec_reader_start(r, req, e, after, form == FORM_SSE);
    return 0;
}

void routes_exec_events(void *ctx, struct http_request *req)
{
    struct err err;
    if (events(ctx, req, &err) < 0)
        http_answer_err(req, &err);
}

void routes_exec_cancel(void *ctx, struct http_request *req)
{
    struct err err;
    struct exec *e = NULL;
    if (find(ctx, req, &e, &err) < 0) {
        http_answer_err(req, &err);
        return;
    }
    /* The controller says that its client left: what follows is the execution's own choice. */
    const char *on = http_query(req, "on");
    bool only_if_asked = on && strcmp(on, "disconnect") == 0;
    if (e->queue && (!only_if_asked || e->request->interrupt_on_disconnect))
        exec_queue_cancel(e->queue, e);
    http_answer_empty(req, 204);
}

static int input(struct runner *r, struct http_request *req, struct err *err)
{
    static const char *const known[] = {"value", NULL};
    struct exec *e = NULL;
    _cleanup_(json_decrefp) json_t *body = NULL;
    const char *value = NULL;
    int rc = find(r, req, &e, err);
    if (rc < 0 || (rc = routes_json_body(req, &body, err)) < 0 ||
        (rc = jsonx_only(body, known, err)) < 0 ||
        (rc = jsonx_get_string(body, "value", LIMIT_INPUT_BYTES, &value, err)) < 0)
        return rc;
    if (!value)
        return err_field(err, "value", "\"value\" is missing: give the line to read");
    if (!e->queue)
        return err_set(err, ERR_NO_INPUT_PENDING, "execution %s is over", e->id);
    size_t len = json_string_length(json_object_get(body, "value"));
    return exec_queue_input(e->queue, e, slice_make(value, len), err);
}

void routes_exec_input(void *ctx, struct http_request *req)
{
    struct err err;
    if (input(ctx, req, &err) < 0)
        http_answer_err(req, &err);
    else
        http_answer_empty(req, 204);
}
