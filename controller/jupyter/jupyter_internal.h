#pragma once
/* What the files of this folder share. */
#include "controller/auth/auth.h"
#include "controller/jupyter/jupyter.h"
#include "controller/jupyter/jupyter_gather.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/http/http.h"

#include <stdint.h>
struct httpc_call;
struct jupyter_making;

#define JUPYTER_PREFIX        "/jupyter"
#define JUPYTER_KERNELS_PATH  "/jupyter/api/kernels"
#define JUPYTER_SESSIONS_PATH "/jupyter/api/sessions"
#define JUPYTER_ANSWER_MAX    MIB(1) /* of a runner to one question */
#define JUPYTER_ASK_MS        10000

struct jupyter {
    struct jupyter_cfg cfg;
    int64_t started_at;             /* wall, µs */
    struct jupyter_making *makings; /* sessions being made, in the order they were asked for */
};

/* ---- jupyter.c ---- */

const struct caller *jupyter_caller(const struct http_request *req);
/*
 * The sandbox of a kernel that this caller may use: ERR_NOT_FOUND, or ERR_UNAVAILABLE while nobody
 * knows whose it is.
 */
int jupyter_find_kernel(struct jupyter *j, const struct http_request *req, const char *kernel_id,
                        struct sandbox **ret, struct err *err);
/*
 * The sandbox whose kernel {kid} of the request is, if this caller may use it; else answers and
 * returns NULL.
 */
struct sandbox *jupyter_kernel_sandbox(struct jupyter *j, struct http_request *req);
void jupyter_not_found(struct http_request *req, const char *what, const char *id);
/*
 * The body of the request as an object, whatever its Content-Type; an empty one is {}. The caller
 * owns *ret.
 */
int jupyter_body(const struct http_request *req, json_t **ret, struct err *err);
/* Is it a name of the one kernelspec, or absent? ERR_NOT_FOUND otherwise. */
int jupyter_check_spec(const json_t *name, struct err *err);
bool jupyter_is_main(const struct sandbox *sb, const char *kernel_id);
/* A runner's answer as the caller's. */
void jupyter_give_back(struct http_request *req, int status, struct slice body);

/* ---- jupyter_ask.c ---- */

/*
 * A question to one runner, below its /jupyter/ and on behalf of /jupyter/ here. `body` is JSON
 * text, or NULL. `fn` comes once unless the call was cancelled (httpc_cancel()).
 */
struct jupyter_question {
    const char *method, *path, *body;
};
int jupyter_ask(struct httpc_call **ret, struct jupyter *j, const struct sandbox *sb,
                const struct jupyter_question *q,
                void (*fn)(void *ctx, int status, struct slice body, const struct err *err),
                void *ctx, struct err *err);

/* ---- jupyter_kernels.c, jupyter_lists.c ---- */

/* A kernel that nobody is connected to. */
json_t *jupyter_kernel_model(const char *id, int64_t last_activity_at, const char *state);
/* The main kernel as it is shown when its runner does not answer. */
void jupyter_missing_kernel(const struct sandbox *sb, json_t *list);
void jupyter_missing_sessions(const struct sandbox *sb, json_t *list);

/* ---- jupyter_making.c: a session, and a sandbox where none is given ---- */

struct jupyter_making_cfg {
    const char *path, *name, *type;
    const char *kernel_id; /* an existing kernel; NULL: a new sandbox */
    const char *id;        /* wanted for the session; NULL: any */
    bool search;           /* a session of this path is the answer, if there is one */
    int status;            /* of the answer: 201, or 200 */
    const char *key;       /* of jupyter_key(), or NULL; then `body` is the request's */
    const json_t *body;
    /* It was made, or found; before it is answered. NULL ok. */
    void (*then)(void *ctx, struct jupyter *j);
    void *then_ctx_take; /* freed with free() in any case */
};
/*
 * The request's Idempotency-Key (NULL: none) in the room of this door. ERR_INVALID. The caller
 * frees.
 */
int jupyter_key(const struct http_request *req, const char *door, char **ret, struct err *err);
/* Answers the request. Of those with the same caller and path, one after the other. */
void jupyter_make_session(struct jupyter *j, struct http_request *req,
                          const struct jupyter_making_cfg *cfg);
void jupyter_makings_free(struct jupyter *j);
