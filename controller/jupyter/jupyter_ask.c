/* The controller's own questions to a runner's Jupyter API. */
#include "controller/jupyter/jupyter_internal.h"
#include "controller/relay/relay.h"
#include "controller/sandbox/runner_client.h"
#include "lib/api/jupyter_api.h"

int jupyter_ask(struct httpc_call **ret, struct jupyter *j, const struct sandbox *sb,
                const struct jupyter_question *q,
                void (*fn)(void *ctx, int status, struct slice body, const struct err *err),
                void *ctx, struct err *err)
{
    char url[RUNNER_URL_MAX], auth[RUNNER_AUTH_SIZE];
    const char *const headers[] = {auth, JUPYTER_SCOPE_HEADER ": " JUPYTER_SCOPE_ALL,
                                   "Content-Type: application/json", NULL};
    struct httpc_request req = {.method = q->method,
                                .headers = headers,
                                .body = q->body,
                                .body_len = q->body ? strlen(q->body) : 0,
                                .total_timeout_ms = JUPYTER_ASK_MS};
    int r = relay_usable(sb, err);
    if (r == 0)
        r = runner_address(sb, q->path, url, auth, &req, err);
    if (r == 0)
        r = httpc_exchange(ret, sandbox_table_http(j->cfg.table), &req, JUPYTER_ANSWER_MAX, fn, ctx,
                           err);
    explicit_bzero(auth, sizeof(auth));
    return r;
}
