/*
 * The life of one sandbox. Its end is never assumed: files go and callbacks come when the pidfds of
 * the runner and of bubblewrap's monitor say that both are gone (and, while the runner is not known
 * yet, when the ready pipe says that nobody holds it any more).
 *
 * What is killed is PID 1 of the namespace, by pidfd: all that runs inside ends with it. The
 * monitor alone would leave PID 1 running. Before the runner is known, its process group is killed,
 * which is the monitor's; the group's number cannot have been given away, as the monitor is our
 * unreaped child or somebody of the group still holds the ready pipe.
 *
 * Without isolation nothing comparable exists: on SIGTERM the runner kills its kernels, and kernels
 * die with their parent (PR_SET_PDEATHSIG); but a process that user code detached in a session of
 * its own lives on, and nobody knows it any more. That is part of what "does not isolate" means.
 */
#include "controller/backends/local_sandbox.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include "controller/backends/local_clearing.h"
#include "controller/backends/local_hint.h"
#include "controller/backends/local_remount.h"
#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#define DRAIN_MS   5500 /* the runner ends within 5 s of SIGTERM */
#define MONITOR_MS 1000 /* bubblewrap's monitor ends with PID 1 */
#define GIVE_UP_MS 5000 /* after SIGKILL: then only the kernel can hold it */
#define WORDS_SIZE (LOCAL_WORDS_MAX + 1)

struct local_waiter {
    sandbox_backend_done_fn done;
    void *ctx;
    struct local_waiter *next;
};

static void end(struct local_sandbox *sb, int64_t kill_in_ms, int64_t give_up_in_ms);
static void check_gone(struct local_sandbox *sb);

/* ---- making and freeing ---- */

static void on_timer(void *ctx);

static struct local_sandbox *sandbox_new(struct local_backend *b, const char *id)
{
    struct local_sandbox *sb = MEM_NEW(struct local_sandbox);

    snprintf(sb->id, sizeof(sb->id), "%s", id);
    sb->backend = b;
    sb->failure_fd = -1;
    sb->ready_fd = -1;
    sb->meta = (struct local_meta){.uid = geteuid(), .isolated = b->host.isolated};
    sb->timer = loop_timer_new(b->loop, on_timer, sb);
    local_dir_init(&sb->dir, b->cfg.state_dir, b->cfg.runtime_dir, id);
    HASH_ADD_STR(b->sandboxes, id, sb);
    return sb;
}

static void close_ready(struct local_sandbox *sb)
{
    sb->ready = loop_poll_free(sb->ready);
    if (sb->ready_fd >= 0)
        close(TAKE_FD(sb->ready_fd));
}

static void drop_start(struct local_sandbox *sb)
{
    close_ready(sb);
    sb->launch = local_launch_free(sb->launch);
    if (sb->failure_fd >= 0)
        close(TAKE_FD(sb->failure_fd));
}

static void sandbox_free(struct local_sandbox *sb)
{
    struct local_waiter *w, *next;

    HASH_DELETE(hh, sb->backend->sandboxes, sb);
    drop_start(sb);
    loop_child_free(sb->monitor);
    loop_child_free(sb->runner);
    loop_child_free(sb->bounding);
    loop_timer_free(sb->timer);
    local_clearing_forget(sb->clearing);
    LL_FOREACH_SAFE (sb->waiters, w, next)
        free(w);
    local_dir_done(&sb->dir);
    free(sb);
}

struct local_sandbox *local_sandbox_find(const struct local_backend *b, const char *id)
{
    struct local_sandbox *sb = NULL;

    HASH_FIND_STR(b->sandboxes, id, sb);
    return sb;
}

void local_sandbox_endpoint(const struct local_sandbox *sb, struct sandbox_endpoint *ret)
{
    *ret = (struct sandbox_endpoint){0};
    snprintf(ret->unix_path, sizeof(ret->unix_path), "%s", sb->dir.socket);
}

/* ---- killing ---- */

static bool is_alive(const struct loop_child *c)
{
    return c && !loop_child_exited(c);
}

/* Somebody of a starting sandbox holds the ready pipe, and so its process group. */
static bool is_ready_held(const struct local_sandbox *sb)
{
    struct pollfd p = {.fd = sb->ready_fd, .events = POLLIN};

    return sb->ready_fd >= 0 && poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

static void kill_all(struct local_sandbox *sb)
{
    if (is_alive(sb->bounding))
        loop_child_kill(sb->bounding, SIGKILL);
    if (is_alive(sb->runner)) {
        /* Our child is not reaped as long as it counts as alive: the group is still its own. */
        if (sb->is_ours && !sb->meta.isolated)
            kill(-loop_child_pid(sb->runner), SIGKILL);
        loop_child_kill(sb->runner, SIGKILL);
        return;
    }
    if (sb->is_ours && sb->monitor && !sb->runner && (is_alive(sb->monitor) || is_ready_held(sb)))
        kill(-loop_child_pid(sb->monitor), SIGKILL);
    if (sb->monitor)
        loop_child_kill(sb->monitor, SIGKILL);
}

static bool is_gone(const struct local_sandbox *sb)
{
    return !is_alive(sb->runner) && !is_alive(sb->monitor) && !is_alive(sb->bounding) &&
           sb->ready_fd < 0;
}

static void arm_timer(struct local_sandbox *sb)
{
    int64_t at = sb->kill_at_ms ? sb->kill_at_ms : sb->give_up_at_ms;

    if (sb->give_up_at_ms)
        at = MIN(at, sb->give_up_at_ms);
    if (at)
        loop_timer_start(sb->timer, at - clk_mono_ms(), 0);
    else
        loop_timer_stop(sb->timer);
}

static void tell_waiters(struct local_waiter *list, const struct err *err)
{
    while (list) {
        struct local_waiter *w = list;
        list = w->next;
        w->done(w->ctx, err);
        free(w);
    }
}

static void tell_created(struct local_sandbox *sb, const struct err *err)
{
    sandbox_backend_created_fn created = TAKE_PTR(sb->created);

    if (created)
        created(sb->created_ctx, NULL, err);
}

/* It was killed and does not end, or has left very much; whoever asked must not wait for ever. */
static void give_up(struct local_sandbox *sb)
{
    bool clearing = sb->state == LOCAL_CLEARING;
    struct local_waiter *waiters = TAKE_PTR(sb->waiters);
    struct err err = {0};

    err_set(&err, ERR_TIMEOUT, "%s",
            clearing ? "the sandbox has ended and its files are still being removed"
                     : "a process of the sandbox was killed and does not end");
    log_event(LOG_ERROR, clearing ? "sandbox_still_cleared" : "sandbox_does_not_end", "sandbox",
              sb->id, NULL);
    tell_created(sb, sb->fail.code ? &sb->fail : &err);
    tell_waiters(waiters, &err);
}

static void on_timer(void *ctx)
{
    struct local_sandbox *sb = ctx;
    int64_t now = clk_mono_ms();

    if (sb->state == LOCAL_STARTING) {
        err_set(&sb->fail, ERR_TIMEOUT, "the runner did not become ready in time");
        end(sb, 0, GIVE_UP_MS);
        return;
    }
    if (sb->state == LOCAL_CLEARING) {
        sb->give_up_at_ms = 0;
        give_up(sb);
        return;
    }
    if (is_gone(sb)) {
        check_gone(sb);
        return;
    }
    bool late = sb->give_up_at_ms && now >= sb->give_up_at_ms;
    if (late || (sb->kill_at_ms && now >= sb->kill_at_ms)) {
        sb->kill_at_ms = 0;
        kill_all(sb);
    }
    if (late)
        sb->give_up_at_ms = 0;
    arm_timer(sb);
    if (late)
        give_up(sb);
}

/* Begins or hastens the end. kill_in_ms 0: at once. */
static void end(struct local_sandbox *sb, int64_t kill_in_ms, int64_t give_up_in_ms)
{
    int64_t now = clk_mono_ms();

    if (sb->state < LOCAL_ENDING)
        sb->state = LOCAL_ENDING;
    sb->kill_at_ms = kill_in_ms ? now + kill_in_ms : 0;
    if (sb->give_up_at_ms == 0 || now + give_up_in_ms < sb->give_up_at_ms)
        sb->give_up_at_ms = now + give_up_in_ms;
    if (kill_in_ms == 0)
        kill_all(sb);
    arm_timer(sb);
}

/* ---- after the last process ---- */

static void exit_words(const struct local_sandbox *sb, char *out, size_t size)
{
    struct loop_exit e = sb->exit;

    /* bubblewrap's monitor reports a signal as a shell does. */
    if (sb->meta.isolated && e.known && e.signal == 0 && e.exit_code > 128)
        e.signal = e.exit_code - 128;
    if (!e.known)
        snprintf(out, size, "how is not known");
    else if (e.signal)
        snprintf(out, size, "killed by signal %d", e.signal);
    else
        snprintf(out, size, "exit status %d", e.exit_code);
}

/* Why it did not start: the step that failed, or what bubblewrap and the runner said. */
static void explain_failure(struct local_sandbox *sb, struct err *err)
{
    char words[WORDS_SIZE], how[64], hint[512];

    local_dir_words(&sb->dir, words);
    if (sb->fail.code) {
        *err = sb->fail;
        if (words[0] && sb->fail.code == ERR_TIMEOUT)
            err_set(err, ERR_TIMEOUT, "the runner did not become ready in time: %s", words);
        return;
    }
    if (sb->launch && local_spawn_failure(sb->failure_fd, &sb->launch->spawn, err) < 0)
        return;
    exit_words(sb, how, sizeof(how));
    if (sb->meta.isolated && local_hint(words, "/proc/sys", hint, sizeof(hint)))
        err_set(err, ERR_SANDBOX_FAILED, "%s: %s", hint, words);
    else
        err_set(err, ERR_SANDBOX_FAILED, "the runner ended before it was ready (%s)%s%s", how,
                words[0] ? ": " : "", words);
}

static void explain_loss(const struct local_sandbox *sb, char *out, size_t size)
{
    char words[WORDS_SIZE], how[64];

    if (sb->exit.known && sb->exit.signal == 0 && sb->exit.exit_code == 0) {
        snprintf(out, size, "the runner ended by itself, as it does when idle for too long");
        return;
    }
    local_dir_words(&sb->dir, words);
    exit_words(sb, how, sizeof(how));
    snprintf(out, size, "the runner ended (%s)%s%s", how, words[0] ? "; its last words: " : "",
             words);
}

/* The last step: frees it, then tells everybody. */
static void finish(struct local_sandbox *sb, int failed)
{
    struct local_waiter *waiters = TAKE_PTR(sb->waiters);
    struct err err = {0};

    if (failed) {
        errno = failed;
        err_errno(&err, "files of sandbox %s cannot be removed", sb->id);
        log_event(LOG_WARN, "sandbox_files_left", "sandbox", sb->id, "reason", err.text, NULL);
    }
    sandbox_backend_created_fn created = sb->created;
    void *created_ctx = sb->created_ctx;
    struct err *fail = created ? MEM_NEW(struct err) : NULL;
    if (fail)
        *fail = sb->fail;
    sandbox_free(sb);
    if (created)
        created(created_ctx, NULL, fail);
    free(fail);
    tell_waiters(waiters, failed ? &err : NULL);
}

static void on_cleared(void *ctx, int failed)
{
    struct local_sandbox *sb = ctx;

    sb->clearing = NULL;
    finish(sb, failed);
}

static void clear(struct local_sandbox *sb)
{
    sb->state = LOCAL_CLEARING;
    sb->kill_at_ms = 0;
    arm_timer(sb);
    sb->clearing = local_clearing_start(sb->backend, sb->id, on_cleared, sb);
}

/* ENDING → CLEARING when nothing of it runs any more. */
static void check_gone(struct local_sandbox *sb)
{
    struct local_backend *b = sb->backend;

    if (sb->state != LOCAL_ENDING || !is_gone(sb))
        return;
    if (sb->created) {
        struct err *err = MEM_NEW(struct err);
        explain_failure(sb, err);
        sb->fail = *err;
        free(err);
    }
    if (!sb->is_lost) {
        clear(sb);
        return;
    }
    char reason[WORDS_SIZE + 128], id[ID_SANDBOX_SIZE];
    explain_loss(sb, reason, sizeof(reason));
    snprintf(id, sizeof(id), "%s", sb->id);
    clear(sb);
    if (b->base.events && b->base.events->on_lost)
        b->base.events->on_lost(b->base.events_ctx, id, reason);
}

/* ---- watching ---- */

static void on_ended(struct local_sandbox *sb, const struct loop_exit *how)
{
    if (how->known)
        sb->exit = *how;
    if (sb->state == LOCAL_STARTING) {
        end(sb, 0, GIVE_UP_MS);
    } else if (sb->state == LOCAL_RUNNING && !is_alive(sb->runner)) {
        sb->is_lost = true;
        end(sb, MONITOR_MS, GIVE_UP_MS);
    }
    check_gone(sb);
}

static void on_runner(void *ctx, const struct loop_exit *how)
{
    on_ended(ctx, how);
}

static void on_monitor(void *ctx, const struct loop_exit *how)
{
    on_ended(ctx, how);
}

/* Who listens is the runner: watches it. Without isolation it is known already. */
static int identify(struct local_sandbox *sb, struct err *err)
{
    struct local_peer peer;
    int r = local_peer_find(&peer, sb->dir.socket, /* portable= */ false, err);

    if (r == LOCAL_PEER_NONE)
        return err_set(err, ERR_SANDBOX_FAILED, "the runner said it was ready and does not listen");
    if (r < 0)
        return r;
    _cleanup_(closep) int pidfd = peer.pidfd;
    if (peer.uid != sb->meta.uid || (sb->runner && peer.pid != loop_child_pid(sb->runner)))
        return err_set(err, ERR_SANDBOX_FAILED, "process %d of user %u listens in its place",
                       (int)peer.pid, (unsigned)peer.uid);
    if (sb->runner)
        return 0;
    return loop_child_new_pidfd(&sb->runner, sb->backend->loop, TAKE_FD(pidfd), peer.pid, on_runner,
                                sb, err);
}

/* STARTING → RUNNING. */
static void begin(struct local_sandbox *sb)
{
    struct sandbox_endpoint ep;

    loop_timer_stop(sb->timer);
    sb->state = LOCAL_RUNNING;
    local_sandbox_endpoint(sb, &ep);
    sandbox_backend_created_fn created = TAKE_PTR(sb->created);
    created(sb->created_ctx, &ep, NULL);
}

static void on_bounded(void *ctx, const struct loop_exit *how)
{
    struct local_sandbox *sb = ctx;
    struct err err = {0};

    if (sb->state != LOCAL_STARTING) {
        check_gone(sb);
        return;
    }
    int r = local_remount_result(how->exit_code, how->signal, &err);
    if (r < 0) {
        sb->fail = err;
        end(sb, 0, GIVE_UP_MS);
        return;
    }
    if (r == LOCAL_REMOUNT_NONE && !sb->backend->warned_unbounded) {
        sb->backend->warned_unbounded = true;
        log_event(LOG_WARN, "sandbox_files_unbounded", "reason", err.text, "detail",
                  "the number of files in a sandbox and of its terminals has no limit of its own",
                  NULL);
    }
    begin(sb);
}

/* The last step of a start: nobody has the sandbox yet. */
static int bound(struct local_sandbox *sb, struct err *err)
{
    struct local_backend *b = sb->backend;
    pid_t pid;

    int r = local_remount_start(loop_child_pid(sb->runner), b->host.files_bytes, &pid, err);
    if (r < 0)
        return r;
    r = loop_child_new(&sb->bounding, b->loop, pid, on_bounded, sb, err);
    if (r < 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    return r;
}

static void on_ready(void *ctx, int events)
{
    struct local_sandbox *sb = ctx;
    char byte;

    ssize_t n = read(sb->ready_fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* nobody of it can say so any more; the monitor ends with it */
        close_ready(sb);
        if (sb->state == LOCAL_STARTING)
            end(sb, MONITOR_MS, GIVE_UP_MS);
        check_gone(sb);
        return;
    }
    int r = identify(sb, sb->state == LOCAL_STARTING ? &sb->fail : NULL);
    if (r < 0 || sb->state == LOCAL_ENDING) { /* now it can be killed by its pidfd */
        end(sb, 0, GIVE_UP_MS);
        return;
    }
    drop_start(sb);
    if (!sb->meta.isolated)
        begin(sb);
    else if (bound(sb, &sb->fail) < 0)
        end(sb, 0, GIVE_UP_MS);
}

/* ---- creation, adoption, removal ---- */

/* After the fork: what fails here ends the child at once. */
static int watch_start(struct local_sandbox *sb, pid_t pid, struct err *err)
{
    struct loop *loop = sb->backend->loop;
    int r = sb->meta.isolated ? loop_child_new(&sb->monitor, loop, pid, on_monitor, sb, err)
                              : loop_child_new(&sb->runner, loop, pid, on_runner, sb, err);

    if (r == 0)
        r = loop_poll_new(&sb->ready, loop, sb->ready_fd, on_ready, sb, err);
    if (r == 0) {
        loop_poll_set(sb->ready, LOOP_READ);
        return 0;
    }
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}

int local_sandbox_create(struct local_backend *b, const struct sandbox_backend_spec *spec,
                         sandbox_backend_created_fn created, void *ctx, struct err *err)
{
    pid_t pid;

    if (!id_is_sandbox(spec->id) || local_sandbox_find(b, spec->id))
        return err_set(err, ERR_CONFLICT, "sandbox %s exists, or is no id", spec->id);
    struct local_sandbox *sb = sandbox_new(b, spec->id);
    int r = local_sandbox_start(sb, spec, &pid, err);
    if (r == 0) {
        sb->is_ours = true;
        r = watch_start(sb, pid, err);
    }
    if (r < 0) {
        if (err && err->code != ERR_NO_SPACE && err->code != ERR_UNAVAILABLE)
            err->code = ERR_SANDBOX_FAILED;
        (void)local_cgroup_remove(&sb->dir, 0);
        local_dir_remove(&sb->dir);
        sandbox_free(sb);
        return err ? -(int)err->code : r;
    }
    sb->created = created;
    sb->created_ctx = ctx;
    loop_timer_start(sb->timer, spec->deadline_ms, 0);
    return 0;
}

/* bubblewrap's monitor of an adopted sandbox is nobody's child of ours; its end is waited for. */
static void watch_monitor(struct local_sandbox *sb, pid_t runner)
{
    pid_t pid = local_peer_monitor(runner);

    if (pid == 0 || loop_child_new(&sb->monitor, sb->backend->loop, pid, on_monitor, sb, NULL) < 0)
        return;
    /* Still the parent of the living runner: so the pidfd is not somebody else's. */
    if (local_peer_monitor(runner) != pid)
        sb->monitor = loop_child_free(sb->monitor);
}

int local_sandbox_adopt(struct local_backend *b, const char *id, const struct local_meta *meta,
                        struct local_peer *peer_take, struct err *err)
{
    _cleanup_(closep) int pidfd = TAKE_FD(peer_take->pidfd);
    struct local_sandbox *sb = sandbox_new(b, id);

    sb->meta = *meta;
    int r = loop_child_new_pidfd(&sb->runner, b->loop, TAKE_FD(pidfd), peer_take->pid, on_runner,
                                 sb, err);
    if (r < 0) {
        sandbox_free(sb);
        return r;
    }
    if (meta->isolated)
        watch_monitor(sb, peer_take->pid);
    sb->state = LOCAL_RUNNING;
    return 0;
}

static void add_waiter(struct local_sandbox *sb, sandbox_backend_done_fn done, void *ctx)
{
    if (!done)
        return;
    struct local_waiter *w = MEM_NEW(struct local_waiter);
    *w = (struct local_waiter){.done = done, .ctx = ctx};
    LL_APPEND(sb->waiters, w);
}

void local_sandbox_remove(struct local_sandbox *sb, int64_t deadline_ms,
                          sandbox_backend_done_fn done, void *ctx)
{
    bool again = sb->state >= LOCAL_ENDING;

    add_waiter(sb, done, ctx);
    sb->is_lost = false; /* whoever removes it hears of its end that way */
    if (sb->state == LOCAL_CLEARING) {
        sb->give_up_at_ms = clk_mono_ms() + deadline_ms;
        arm_timer(sb);
        return;
    }
    if (sb->state == LOCAL_STARTING)
        err_set(&sb->fail, ERR_SANDBOX_FAILED, "the sandbox was removed while it was being made");
    if (again || sb->state == LOCAL_STARTING || loop_child_kill(sb->runner, SIGTERM) < 0)
        end(sb, 0, deadline_ms);
    else
        end(sb, MAX(MIN(DRAIN_MS, deadline_ms * 2 / 3), 1), deadline_ms);
}

void local_sandbox_clear(struct local_backend *b, const char *id, sandbox_backend_done_fn done,
                         void *ctx)
{
    struct local_sandbox *sb = sandbox_new(b, id);

    add_waiter(sb, done, ctx);
    sb->state = LOCAL_ENDING;
    loop_timer_start(sb->timer, 0, 0);
}

void local_sandbox_forget(struct local_sandbox *sb)
{
    if (sb->state == LOCAL_ENDING)
        kill_all(sb); /* it was told to end; what it leaves the next controller clears away */
    sandbox_free(sb);
}
