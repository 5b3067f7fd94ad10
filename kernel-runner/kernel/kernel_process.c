/*
 * A kernel process with everything that begins and ends with it: private directory, connection
 * file, ZeroMQ client, pidfd, the pipe with its words.
 *
 * Readiness: the IOPub subscription is made before the kernel binds, but nothing orders it against
 * the shell connection. So kernel_info is asked until an IOPub message was seen *and* a reply came.
 * End: the pidfd tells it at once, but output may still be on its way through the sockets; `ended`
 * waits until none came for SETTLE_MS, at most SETTLE_MAX_MS.
 */
#include "kernel-runner/kernel/kernel_process.h"

#include "kernel-runner/kernel/kernel_dir.h"
#include "kernel-runner/kernel/kernel_spawn.h"
#include "kernel-runner/kernel/launcher.h"
#include "kernel-runner/kernel/proc_table.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/jupyter/jp_conn_file.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define WORDS_BYTES     2048
#define INFO_RETRY_MS   50
#define SETTLE_MS       5
#define SETTLE_MAX_MS   80
#define OUTPUT_PER_TURN KIB(64)

struct kernel_proc {
    struct kernel_process_cfg cfg;
    struct kernel_dir *dir;
    char *conn_file;
    char *launcher;
    struct jp_client *client;
    struct loop_child *child;
    struct loop_poll *output;
    int output_fd, failure_fd;
    char words[WORDS_BYTES + 1];
    size_t words_len;
    struct loop_timer *timer; /* asks kernel_info again; then: start deadline; then: settling */
    int64_t start_deadline_ms;
    bool got_reply, got_iopub, ready;
    char session[JP_ID_SIZE];
    struct loop_exit exit;
    int64_t settle_deadline_ms;
    bool msg_since_settle;
};

/* Keeps the last WORDS_BYTES of what the process said before and around ipykernel's capture. */
static void add_words(struct kernel_proc *p, const char *text, size_t len)
{
    if (len > WORDS_BYTES) {
        text += len - WORDS_BYTES;
        len = WORDS_BYTES;
    }
    size_t keep = MIN(p->words_len, WORDS_BYTES - len);
    memmove(p->words, p->words + p->words_len - keep, keep);
    for (size_t i = 0; i < len; i++)
        p->words[keep + i] = text[i] ? text[i] : '?';
    p->words_len = keep + len;
    p->words[p->words_len] = '\0';
}

static void read_output(struct kernel_proc *p)
{
    char chunk[4096];
    for (size_t total = 0; total < OUTPUT_PER_TURN;) {
        ssize_t n = read(p->output_fd, chunk, sizeof(chunk));
        if (n <= 0) {
            if (n == 0 || (errno != EAGAIN && errno != EINTR))
                loop_poll_set(p->output, 0);
            return;
        }
        add_words(p, chunk, (size_t)n);
        total += (size_t)n;
    }
}

static void on_output(void *ctx, int events)
{
    read_output(ctx);
}

static void ask_info(struct kernel_proc *p)
{
    struct jp_send send = {
        .channel = JP_SHELL, .msg_type = "kernel_info_request", .content = slice_str("{}")};
    jp_client_send(p->client, &send, NULL, NULL);
}

static void check_ready(struct kernel_proc *p)
{
    if (p->ready || !p->got_reply || !p->got_iopub)
        return;
    p->ready = true;
    if (p->cfg.kernel->room)
        kernel_room_take(p->cfg.kernel->room, p->cfg.kernel->run_dir);
    loop_timer_stop(p->timer);
    p->cfg.on_ready(p->cfg.ctx);
}

static void on_msg(void *ctx, const struct jp_msg *msg)
{
    struct kernel_proc *p = ctx;
    p->msg_since_settle = true;
    if (!p->session[0])
        memcpy(p->session, msg->session, sizeof(p->session));
    if (p->ready) {
        p->cfg.on_msg(p->cfg.ctx, msg);
        return;
    }
    if (msg->channel == JP_IOPUB)
        p->got_iopub = true;
    if (msg->kind == JP_KERNEL_INFO_REPLY)
        p->got_reply = true;
    check_ready(p);
}

static void finish(struct kernel_proc *p)
{
    loop_timer_stop(p->timer);
    read_output(p);
    p->cfg.on_ended(p->cfg.ctx, &p->exit);
}

static void on_timer(void *ctx)
{
    struct kernel_proc *p = ctx;
    int64_t now = loop_now_ms(p->cfg.loop);
    if (loop_child_exited(p->child)) {
        if (!p->msg_since_settle || now >= p->settle_deadline_ms) {
            finish(p);
            return;
        }
        p->msg_since_settle = false;
        return;
    }
    if (now >= p->start_deadline_ms) {
        static const char late[] = "\nthe kernel did not answer in time";
        size_t skip = p->words_len == 0 || p->words[p->words_len - 1] == '\n';
        add_words(p, late + skip, sizeof(late) - 1 - skip);
        kernel_proc_kill(p);
        return;
    }
    /* Shell answered but no IOPub message came: one was lost to the subscription's handshake. */
    if (p->got_reply && !p->got_iopub)
        ask_info(p);
}

static void on_exit_(void *ctx, const struct loop_exit *exit)
{
    struct kernel_proc *p = ctx;
    p->exit = *exit;
    /* Its group may hold children that keep the sockets' other end alive. */
    kill(-loop_child_pid(p->child), SIGKILL);
    p->msg_since_settle = false;
    p->settle_deadline_ms = loop_now_ms(p->cfg.loop) + SETTLE_MAX_MS;
    loop_timer_start(p->timer, SETTLE_MS, SETTLE_MS);
}

static int write_conn_file(struct kernel_proc *p, char key[65], struct err *err)
{
    _cleanup_(freep) char *prefix = mem_printf("%s/k", kernel_dir_path(p->dir));
    uint8_t random[32];
    crypto_random(random, sizeof(random));
    crypto_sha256_hex(random, sizeof(random), key);
    p->conn_file = mem_printf("%s/kernel.json", kernel_dir_path(p->dir));
    return jp_conn_file_write(kernel_dir_fd(p->dir), "kernel.json", prefix, key, "python3", err);
}

/* The launcher travels inside this program: nothing beside it has to be found. */
static int write_launcher(struct kernel_proc *p, struct err *err)
{
    p->launcher = mem_printf("%s/launcher.py", kernel_dir_path(p->dir));
    return kernel_dir_write(p->dir, "launcher.py", 0400, launcher_py, launcher_py_len, err);
}

static int start_process(struct kernel_proc *p, struct err *err)
{
    /* By descriptor, as user code may put a link in the directory's place at any time. */
    _cleanup_(freep) char *prefix = mem_printf("/proc/self/fd/%d/k", kernel_dir_fd(p->dir));
    char key[65];
    int r = write_conn_file(p, key, err);
    if (r < 0)
        return r;
    struct jp_client_cfg client = {
        .ipc_prefix = prefix, .key = key, .trusted = true, .on_msg = on_msg, .ctx = p};
    r = jp_client_new(&p->client, p->cfg.jupyter, &client, err);
    if (r < 0)
        return r;
    ask_info(p);
    if ((r = write_launcher(p, err)) < 0)
        return r;
    struct kernel_spawn spawn = {.cfg = p->cfg.kernel,
                                 .launcher = p->launcher,
                                 .conn_file = p->conn_file,
                                 .private_dir = kernel_dir_path(p->dir),
                                 .cwd = p->cfg.cwd,
                                 .env = p->cfg.env};
    struct kernel_process process;
    r = kernel_spawn(&spawn, &process, err);
    if (r < 0)
        return r;
    p->output_fd = process.output_fd;
    p->failure_fd = process.failure_fd;
    r = loop_child_new(&p->child, p->cfg.loop, process.pid, on_exit_, p, err);
    if (r < 0) {
        kill(process.pid, SIGKILL);
        return r;
    }
    return loop_poll_new(&p->output, p->cfg.loop, p->output_fd, on_output, p, err);
}

int kernel_proc_start(struct kernel_proc **ret, const struct kernel_process_cfg *cfg,
                      struct err *err)
{
    struct kernel_proc *p = MEM_NEW(struct kernel_proc);
    p->cfg = *cfg;
    p->output_fd = p->failure_fd = -1;
    p->timer = loop_timer_new(cfg->loop, on_timer, p);
    if (cfg->kernel->room)
        kernel_room_give(cfg->kernel->room);
    int r = kernel_dir_make(&p->dir, cfg->kernel->run_dir, err);
    if (r == 0)
        r = start_process(p, err);
    if (r < 0) {
        kernel_proc_free(p);
        return r;
    }
    loop_poll_set(p->output, LOOP_READ);
    p->start_deadline_ms = loop_now_ms(cfg->loop) + cfg->kernel->start_timeout_ms;
    loop_timer_start(p->timer, INFO_RETRY_MS, INFO_RETRY_MS);
    *ret = p;
    return 0;
}

struct jp_client *kernel_proc_client(struct kernel_proc *p)
{
    return p->client;
}

pid_t kernel_proc_pid(const struct kernel_proc *p)
{
    return loop_child_pid(p->child);
}

const char *kernel_proc_session(const struct kernel_proc *p)
{
    return p->session;
}

bool kernel_proc_alive(const struct kernel_proc *p)
{
    return !loop_child_exited(p->child);
}

void kernel_proc_interrupt(struct kernel_proc *p)
{
    if (loop_child_exited(p->child))
        return;
    pid_t pid = loop_child_pid(p->child);
    /* The main thread by name, as any thread may take a process's signal. Once: of two, the second
     * would end the handler that code has for the first. */
    proc_interrupt(pid);
    /* A kernel that stopped itself would otherwise never see it. */
    kill(-pid, SIGCONT);
}

void kernel_proc_kill(struct kernel_proc *p)
{
    if (loop_child_exited(p->child))
        return;
    loop_child_kill(p->child, SIGKILL);
    kill(-loop_child_pid(p->child), SIGKILL);
}

const char *kernel_proc_words(struct kernel_proc *p)
{
    struct kernel_spawn_failure f;
    if (p->failure_fd >= 0 && read(p->failure_fd, &f, sizeof(f)) == (ssize_t)sizeof(f)) {
        _cleanup_(freep) char *why =
            mem_printf("%s: %s", f.wall ? kernel_wall_name(f.wall) : p->cfg.kernel->python,
                       strerrordesc_np(f.error) ? strerrordesc_np(f.error) : "");
        add_words(p, why, strlen(why));
    }
    return p->words;
}

struct kernel_proc *kernel_proc_free(struct kernel_proc *p)
{
    if (!p)
        return NULL;
    if (p->child) {
        kernel_proc_kill(p);
        loop_child_free(p->child);
    }
    loop_timer_free(p->timer);
    loop_poll_free(p->output);
    jp_client_free(p->client);
    if (p->output_fd >= 0)
        close(p->output_fd);
    if (p->failure_fd >= 0)
        close(p->failure_fd);
    kernel_dir_free(p->dir, p->cfg.loop);
    free(p->conn_file);
    free(p->launcher);
    free(p);
    return NULL;
}
