/*
 * What an earlier controller left: each folder of a sandbox is one that still runs (somebody
 * listens on its socket), remains (nobody listens, and no process holds its log), or in between: a
 * runner that was being started when the controller died, or that is draining. Those in between are
 * looked at again until they are one or the other; adoption does not wait long for them, on_found
 * comes later then. A started one that no controller ever answered for is adopted as unclaimed.
 */
#include "controller/backends/local_adopt.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "controller/backends/local_dir.h"
#include "controller/backends/local_peer.h"
#include "controller/backends/local_sandbox.h"
#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define LOOK_AGAIN_MS 50
#define WAIT_MS       1000  /* for those in between */
#define FORGET_MS     60000 /* after that it is left alone, until the next start */

struct left {
    char id[ID_SANDBOX_SIZE];
    struct local_dir dir;
    struct left *next;
};

struct local_adoption {
    struct local_backend *backend;
    struct left *left;
    struct loop_timer *timer;
    int64_t tell_at_ms, forget_at_ms;
    sandbox_backend_done_fn done; /* NULL: told */
    void *ctx;
};

enum verdict { VERDICT_DONE, VERDICT_LATER };

static void drop(struct local_adoption *a, struct left *l)
{
    LL_DELETE(a->left, l);
    local_dir_done(&l->dir);
    free(l);
}

static void found(struct local_adoption *a, const struct left *l, struct local_peer *peer)
{
    struct local_backend *b = a->backend;
    struct local_meta meta = {.uid = peer->uid, .isolated = b->host.isolated};
    struct sandbox_endpoint ep;
    struct err err = {0};

    if (local_dir_read_meta(&l->dir, &meta, &err) < 0)
        log_event(LOG_WARN, "sandbox_meta_unreadable", "sandbox", l->id, "reason", err.text, NULL);
    if (meta.uid != peer->uid) {
        log_event(LOG_ERROR, "sandbox_not_adopted", "sandbox", l->id, "reason",
                  "a process of another user listens on its socket", NULL);
        close(TAKE_FD(peer->pidfd));
        return;
    }
    if (local_sandbox_adopt(b, l->id, &meta, peer, &err) < 0) {
        log_event(LOG_ERROR, "sandbox_not_adopted", "sandbox", l->id, "reason", err.text, NULL);
        return;
    }
    local_sandbox_endpoint(local_sandbox_find(b, l->id), &ep);
    if (b->base.events && b->base.events->on_found)
        b->base.events->on_found(b->base.events_ctx, l->id, &ep);
}

static enum verdict look_at(struct local_adoption *a, const struct left *l)
{
    struct local_peer peer = {.pidfd = -1};
    struct err err = {0};
    bool held = local_dir_is_held(&l->dir);
    int r = local_peer_find(&peer, l->dir.socket, /* portable= */ false, &err);

    if (r == 0) {
        found(a, l, &peer);
        return VERDICT_DONE;
    }
    if (held || r < 0)
        return VERDICT_LATER;
    local_sandbox_clear(a->backend, l->id, NULL, NULL);
    return VERDICT_DONE;
}

static void tell(struct local_adoption *a)
{
    sandbox_backend_done_fn done = TAKE_PTR(a->done);

    if (done)
        done(a->ctx, NULL);
}

static void look(void *ctx)
{
    struct local_adoption *a = ctx;
    int64_t now = clk_mono_ms();
    struct left *l, *next;

    LL_FOREACH_SAFE (a->left, l, next) {
        if (look_at(a, l) == VERDICT_DONE) {
            drop(a, l);
        } else if (now >= a->forget_at_ms) {
            log_event(LOG_WARN, "sandbox_left_alone", "sandbox", l->id, "reason",
                      "its processes live, but nobody listens on its socket", NULL);
            drop(a, l);
        }
    }
    if (a->left) {
        loop_timer_start(a->timer, LOOK_AGAIN_MS, 0);
        if (now >= a->tell_at_ms)
            tell(a);
        return;
    }
    struct local_backend *b = a->backend;
    sandbox_backend_done_fn done = a->done;
    void *done_ctx = a->ctx;
    local_adopt_stop(b);
    if (done)
        done(done_ctx, NULL);
}

static int list_left(struct local_adoption *a, struct err *err)
{
    struct local_backend *b = a->backend;
    _cleanup_(freep) char *path = mem_printf("%s/sandboxes", b->cfg.state_dir);
    _cleanup_(closedirp) DIR *dir = opendir(path);
    const struct dirent *e;

    if (!dir)
        return err_errno(err, "%s", path);
    while ((e = readdir(dir))) {
        if (!id_is_sandbox(e->d_name) || local_sandbox_find(b, e->d_name))
            continue;
        struct left *l = MEM_NEW(struct left);
        snprintf(l->id, sizeof(l->id), "%.*s", (int)sizeof(l->id) - 1, e->d_name);
        local_dir_init(&l->dir, b->cfg.state_dir, b->cfg.runtime_dir, l->id);
        LL_PREPEND(a->left, l);
    }
    return 0;
}

int local_adopt(struct local_backend *b, int64_t deadline_ms, sandbox_backend_done_fn done,
                void *ctx, struct err *err)
{
    int64_t now = clk_mono_ms();

    if (b->adoption)
        return err_set(err, ERR_CONFLICT, "adoption is under way");
    struct local_adoption *a = MEM_NEW(struct local_adoption);
    *a = (struct local_adoption){.backend = b,
                                 .timer = loop_timer_new(b->loop, look, a),
                                 .tell_at_ms = now + MIN(WAIT_MS, deadline_ms),
                                 .forget_at_ms = now + FORGET_MS,
                                 .done = done,
                                 .ctx = ctx};
    b->adoption = a;
    int r = list_left(a, err);
    if (r < 0) {
        local_adopt_stop(b);
        return r;
    }
    loop_timer_start(a->timer, 0, 0);
    return 0;
}

void local_adopt_stop(struct local_backend *b)
{
    struct local_adoption *a = TAKE_PTR(b->adoption);

    if (!a)
        return;
    while (a->left)
        drop(a, a->left);
    loop_timer_free(a->timer);
    free(a);
}
