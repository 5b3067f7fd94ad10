/*
 * One request at a time:
 *
 *   file there   GET the kernel → 200: POST its restart → ready       404: as if no file was there
 *   no file      POST a new kernel → write the file → ready
 *   end          wait for what is under way → DELETE → remove the file
 *
 * A request that finds nobody, or a server that is busy, is made again until START_MS have passed.
 * All attempts to make a kernel have one idempotency key.
 */
#include "attach/attach_kernel.h"

#include "attach/attach_dirs.h"
#include "attach/attach_http.h"
#include "lib/base/cleanup.h"
#include "lib/base/ids.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/httpc/httpc.h"
#include "lib/json/jsonx.h"
#include "lib/loop/loop.h"

#include <fcntl.h>
#include <string.h>

#define START_MS   45000 /* Jupyter waits a minute */
#define CALL_MS    30000
#define BACKOFF_MS 2000
#define END_MS     2500
#define BODY_MAX   KIB(64)
#define KERNELS    "/jupyter/api/kernels"

enum step { STEP_FIND, STEP_RESTART, STEP_CREATE, STEP_NONE, STEP_DELETE };

struct attach_kernel {
    struct attach_kernel_cfg cfg;
    char *file, *auth;
    char id[ID_UUID_SIZE], idempotency[ID_UUID_SIZE];
    enum step step;
    struct httpc_call *call;
    struct loop_timer *timer; /* the next attempt, or the end's deadline */
    unsigned attempts;
    int64_t started_ms;
    bool ending, keep;
    void (*done)(void *ctx);
};

/* ---- the file ---- */

static bool read_id(struct attach_kernel *k)
{
    char text[ID_UUID_SIZE + 1] = "";
    _cleanup_(closep) int fd = open(k->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < ID_UUID_SIZE - 1)
        return false;
    text[ID_UUID_SIZE - 1] = '\0';
    if (!id_is_uuid(text))
        return false;
    memcpy(k->id, text, sizeof(k->id));
    return true;
}

static int write_id(const struct attach_kernel *k, struct err *err)
{
    _cleanup_(freep) char *line = mem_printf("%s\n", k->id);
    return attach_write_file(k->file, 0600, slice_str(line), err);
}

void attach_kernel_forget(struct attach_kernel *k)
{
    unlink(k->file);
    k->id[0] = '\0';
}

/* ---- requests ---- */

static void on_reply(void *ctx, int status, struct slice body, const struct err *err);

static void finish(struct attach_kernel *k)
{
    loop_timer_stop(k->timer);
    k->call = httpc_cancel(k->call);
    k->step = STEP_NONE;
    k->done(k->cfg.ctx);
}

static void fail(struct attach_kernel *k, const struct err *err)
{
    k->step = STEP_NONE;
    if (k->ending)
        finish(k);
    else
        k->cfg.on_failed(k->cfg.ctx, err);
}

static void request(struct attach_kernel *k, enum step step)
{
    static const char *const methods[] = {[STEP_FIND] = "GET",
                                          [STEP_RESTART] = "POST",
                                          [STEP_CREATE] = "POST",
                                          [STEP_DELETE] = "DELETE"};
    static const char body[] = "{\"name\":\"python3\"}";
    bool create = step == STEP_CREATE;
    const char *id = create ? "" : k->id;
    _cleanup_(freep) char *url =
        mem_printf("%s" KERNELS "%s%s%s", k->cfg.url->base, create ? "" : "/", id,
                   step == STEP_RESTART ? "/restart" : "");
    _cleanup_(freep) char *key = mem_printf("Idempotency-Key: %s", k->idempotency);
    const char *const headers[] = {"Content-Type: application/json", key, k->auth, NULL};
    const struct httpc_request req = {.method = methods[step],
                                      .url = url,
                                      .unix_path = k->cfg.url->unix_path,
                                      .headers = headers,
                                      .body = create ? body : NULL,
                                      .body_len = create ? sizeof(body) - 1 : 0,
                                      .total_timeout_ms = CALL_MS};
    struct err err;
    k->step = step;
    if (httpc_exchange(&k->call, k->cfg.http, &req, BODY_MAX, on_reply, k, &err) < 0)
        fail(k, &err);
}

static void on_timer(void *ctx)
{
    struct attach_kernel *k = ctx;
    if (k->ending)
        finish(k);
    else
        request(k, k->step);
}

static void end_now(struct attach_kernel *k)
{
    if (k->keep || !k->id[0])
        finish(k);
    else
        request(k, STEP_DELETE);
}

static void ready(struct attach_kernel *k)
{
    k->step = STEP_NONE;
    if (k->ending)
        end_now(k);
    else
        k->cfg.on_ready(k->cfg.ctx, k->id);
}

static void on_created(struct attach_kernel *k, struct slice body)
{
    struct err err;
    char id[ID_UUID_SIZE] = "";
    if (jsonx_valid(body))
        jsonx_decode(jsonx_find(body, "id"), id, sizeof(id));
    if (!id_is_uuid(id)) {
        err_set(&err, ERR_UNAVAILABLE, "what %s answered is not a kernel", k->cfg.url->base);
        fail(k, &err);
        return;
    }
    memcpy(k->id, id, sizeof(id));
    /* Without the file a restart would lose the sandbox, but the kernel works. */
    write_id(k, NULL);
    ready(k);
}

static void on_answer(struct attach_kernel *k, int status, struct slice body)
{
    switch (k->step) {
    case STEP_FIND:
        request(k, STEP_RESTART);
        return;
    case STEP_CREATE:
        on_created(k, body);
        return;
    case STEP_RESTART:
        ready(k);
        return;
    case STEP_DELETE:
        attach_kernel_forget(k);
        finish(k);
        return;
    case STEP_NONE:
        return;
    }
}

/* Another answer than the wanted one, or none. */
static void on_refused(struct attach_kernel *k, int status, struct slice body,
                       const struct err *cause)
{
    struct err err;
    bool gone = status == 404 || status == 410;
    if (gone && k->step == STEP_DELETE) {
        on_answer(k, status, body);
        return;
    }
    if (gone && k->step != STEP_CREATE && !k->ending) {
        attach_kernel_forget(k);
        request(k, STEP_CREATE);
        return;
    }
    if (!k->ending && attach_http_passing(status) &&
        loop_now_ms(k->cfg.loop) - k->started_ms < START_MS) {
        loop_timer_start(k->timer, attach_backoff_ms(k->attempts++, BACKOFF_MS), 0);
        return;
    }
    attach_http_error(&err, k->cfg.url->base, status, body, cause);
    fail(k, &err);
}

static void on_reply(void *ctx, int status, struct slice body, const struct err *err)
{
    struct attach_kernel *k = ctx;
    k->call = NULL;
    if (!err && status >= 200 && status < 300)
        on_answer(k, status, body);
    else
        on_refused(k, err ? 0 : status, body, err);
}

/* ---- for the owner ---- */

struct attach_kernel *attach_kernel_new(const struct attach_kernel_cfg *cfg)
{
    struct attach_kernel *k = MEM_NEW(struct attach_kernel);
    k->cfg = *cfg;
    k->file = mem_printf("%s.caesarion", cfg->conn_file);
    k->auth = attach_http_auth(cfg->token);
    k->timer = loop_timer_new(cfg->loop, on_timer, k);
    k->started_ms = loop_now_ms(cfg->loop);
    crypto_new_uuid(k->idempotency);
    k->step = read_id(k) ? STEP_FIND : STEP_CREATE;
    loop_timer_start(k->timer, 0, 0);
    return k;
}

struct attach_kernel *attach_kernel_free(struct attach_kernel *k)
{
    if (!k)
        return NULL;
    httpc_cancel(k->call);
    loop_timer_free(k->timer);
    mem_free_secret(k->auth);
    free(k->file);
    free(k);
    return NULL;
}

void attach_kernel_end(struct attach_kernel *k, bool keep, void (*done)(void *ctx))
{
    k->ending = true;
    k->keep = keep;
    k->done = done;
    loop_timer_start(k->timer, END_MS, 0);
    if (!k->call)
        end_now(k);
}
