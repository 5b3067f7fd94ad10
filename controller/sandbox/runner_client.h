#pragma once
#include "controller/sandbox/sandbox.h"
#include "lib/httpc/httpc.h"

/*
 * The controller's own calls to a runner. Each ends within its deadline. A problem+json answer
 * becomes the err it names; no connection: ERR_UNAVAILABLE; broken: ERR_SANDBOX_LOST.
 * A call is ended early by httpc_cancel(); the sandbox is touched only by the starting function.
 */
typedef void (*runner_reply_fn)(void *ctx, json_t *json, const struct err *err); /* json borrowed */
struct runner_call;

/* GET /readyz?wait_ms=: 200 when the main kernel is ready, else its reason. json is NULL. */
int runner_ready(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                 int64_t deadline_ms, runner_reply_fn fn, void *ctx, struct err *err);
/* GET /sandbox: who it is, its kernel, its clocks. */
int runner_info(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                int64_t deadline_ms, runner_reply_fn fn, void *ctx, struct err *err);
/* POST /claim: body_take is what it becomes; the answer is as of GET /sandbox. */
int runner_claim(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                 json_t *body_take, int64_t deadline_ms, runner_reply_fn fn, void *ctx,
                 struct err *err);
/*
 * POST of a small JSON body, or of none (NULL), to "/path?query". Any 2xx is good; json is NULL.
 * repeatable: as httpc's. ret may be NULL.
 */
int runner_post(struct runner_call **ret, struct httpc *http, const struct sandbox *sb,
                const char *path, json_t *body_take, bool repeatable, int64_t deadline_ms,
                runner_reply_fn fn, void *ctx, struct err *err);
/* The err that an answer other than 2xx speaks of. */
void runner_problem(int status, struct slice body, struct err *err);
/*
 * What the HTTP client's failure is to a user: a connection that broke is not a sandbox that is
 * lost, only its watch says that. So both are ERR_UNAVAILABLE.
 */
void runner_failure(const struct err *failure, struct err *err);
struct runner_call *runner_cancel(struct runner_call *call); /* NULL ok */

#define RUNNER_URL_MAX 4096
/*
 * Fills in where a request to this sandbox goes: url (written to `url`), unix_path and, as one
 * header line, `auth` ("Authorization: Bearer …"). `path` begins with "/" and may have a query.
 */
#define RUNNER_AUTH_SIZE (SANDBOX_TOKEN_SIZE + 32)
int runner_address(const struct sandbox *sb, const char *path, char url[RUNNER_URL_MAX],
                   char auth[RUNNER_AUTH_SIZE], struct httpc_request *req, struct err *err);
