/*
 * The program's life. Everything here ends by leave(), once: the loop stops, and stop() frees all.
 *
 * To a sandbox: bind, write the connection file, connect, say "ready"; the file goes with us.
 *
 * --new, as a KernelManager starts it: bind what its connection file says and answer heartbeats at
 * once; make the sandbox meanwhile. A shutdown_request goes to the kernel, and when it was
 * answered, or after SHUTDOWN_MS, the sandbox is deleted. At a restart the manager starts us again
 * with the same connection file: the request is answered here, and the sandbox stays, with its
 * files. When the manager's process dies (JPY_PARENT_PID), nobody will ask for anything any more.
 */
#include "attach/attach.h"

#include "attach/attach_dirs.h"
#include "attach/attach_flow.h"
#include "attach/attach_kernel.h"
#include "lib/base/ids.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/crypto/crypto.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SHUTDOWN_MS     2000
#define CONNECTIONS_MAX 4

struct attach {
    const struct attach_conf *conf;
    struct loop *loop;
    struct httpc *http;
    struct jp_context *jupyter;
    struct loop_signals *signals;
    struct loop_child *parent;
    struct loop_timer *shutdown;
    struct attach_url url;
    struct jp_conn conn;
    struct attach_flow *flow;
    struct attach_kernel *kernel; /* --new */
    char *file;                   /* connection file */
    char *dir;                    /* of ipc sockets, ours */
    struct stat written;          /* of the connection file, when we wrote it */
    char shutdown_id[JP_ID_SIZE]; /* the request whose reply ends us */
    bool ending, is_parent_there;
    struct err *err;
    int result;
};

static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};

void attach_block_signals(void)
{
    loop_signals_block(signals);
}

/* ---- the end ---- */

static void leave(void *ctx)
{
    struct attach *a = ctx;
    loop_stop(a->loop);
}

static void end(struct attach *a, bool keep, const char *why)
{
    if (a->ending)
        return;
    a->ending = true;
    log_event(LOG_INFO, "attach_ends", "why", why, NULL);
    attach_flow_disconnect(a->flow);
    if (a->kernel)
        attach_kernel_end(a->kernel, keep, leave);
    else
        leave(a);
}

static void fail(struct attach *a, const struct err *err)
{
    if (a->ending)
        return;
    a->ending = true;
    *a->err = *err;
    a->result = -(int)err->code;
    leave(a);
}

/* ---- events ---- */

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
    struct attach *a = ctx;
    /* Interrupts come as messages: what a terminal sends to all its processes is not meant for us.
     */
    if (info->ssi_signo == SIGINT && a->is_parent_there)
        return;
    end(a, /* keep= */ false, "signal");
}

static void on_parent_gone(void *ctx, const struct loop_exit *exit)
{
    end(ctx, /* keep= */ false, "parent_gone");
}

static void on_shutdown_time(void *ctx)
{
    end(ctx, /* keep= */ false, "shutdown_unanswered");
}

static bool on_shutdown(void *ctx, const struct jp_request *req, bool restart)
{
    struct attach *a = ctx;
    if (!a->kernel || a->ending)
        return false;
    if (restart) {
        attach_flow_shutdown_reply(a->flow, req, restart);
        end(a, /* keep= */ true, "restart");
        return true;
    }
    memcpy(a->shutdown_id, req->msg.msg_id, sizeof(a->shutdown_id));
    loop_timer_start(a->shutdown, SHUTDOWN_MS, 0);
    return false;
}

static void on_replied(void *ctx, const char *parent_id)
{
    struct attach *a = ctx;
    if (a->shutdown_id[0] && strcmp(a->shutdown_id, parent_id) == 0)
        end(a, /* keep= */ false, "shutdown");
}

static void on_up(void *ctx)
{
    struct attach *a = ctx;
    log_event(LOG_INFO, "attached", "connection_file", a->file, NULL);
    if (a->kernel)
        return;
    printf("caesarion-attach ready: jupyter console --existing %s\n", a->file);
    fflush(stdout);
}

static void on_failed(void *ctx, const struct err *err)
{
    struct attach *a = ctx;
    if (a->kernel && err->code == ERR_NOT_FOUND)
        attach_kernel_forget(a->kernel);
    fail(a, err);
}

/* ---- the connection file ---- */

/* Ports of the system's choice, or sockets in a directory that nobody else can enter. */
static int choose_place(struct attach *a, struct err *err)
{
    char key[CRYPTO_TOKEN_SIZE];
    crypto_new_token(key);
    a->conn = (struct jp_conn){.ipc = a->conf->transport == ATTACH_IPC, .key = mem_dup_str(key)};
    explicit_bzero(key, sizeof(key));
    if (!a->conn.ipc) {
        a->conn.ip = mem_dup_str("127.0.0.1");
        return 0;
    }
    const char *run = getenv("XDG_RUNTIME_DIR");
    _cleanup_(freep) char *dir =
        mem_printf("%s/caesarion-attach-XXXXXX", run && *run ? run : "/tmp");
    if (!mkdtemp(dir))
        return err_errno(err, "cannot make a directory for sockets, %s", dir);
    a->dir = TAKE_PTR(dir);
    a->conn.ip = mem_printf("%s/k", a->dir);
    for (int port = JP_PORT_SHELL; port <= JP_PORT_HB; port++)
        a->conn.ports[port] = port;
    return jp_conn_check_prefix(a->conn.ip, err);
}

static int choose_file(struct attach *a, struct err *err)
{
    if (a->conf->connection_file) {
        a->file = mem_dup_str(a->conf->connection_file);
        return 0;
    }
    _cleanup_(freep) char *dir = NULL;
    int r = attach_runtime_dir(&dir, err);
    if (r < 0 || (r = attach_make_dirs(dir, 0700, err)) < 0)
        return r;
    a->file = mem_printf("%s/kernel-%s.json", dir, a->conf->sandbox);
    return 0;
}

static int write_file(struct attach *a, struct err *err)
{
    int r = jp_conn_file_save(AT_FDCWD, a->file, &a->conn, "python3", err);
    if (r < 0)
        return r;
    if (lstat(a->file, &a->written) < 0)
        return err_errno(err, "connection file %s", a->file);
    char *whole = realpath(a->file, NULL); /* for whoever is somewhere else */
    if (whole) {
        free(a->file);
        a->file = whole;
    }
    return 0;
}

/* Not one that another program has put in its place. */
static void remove_file(const struct attach *a)
{
    struct stat st;
    /* Numbers of inodes are used again at once: the times tell. */
    if (a->written.st_ino && !a->kernel && lstat(a->file, &st) == 0 &&
        st.st_ino == a->written.st_ino && st.st_mtim.tv_sec == a->written.st_mtim.tv_sec &&
        st.st_mtim.tv_nsec == a->written.st_mtim.tv_nsec)
        unlink(a->file);
    if (a->dir)
        rmdir(a->dir);
}

static bool has_open_ports(const struct jp_conn *c)
{
    for (int port = JP_PORT_SHELL; port <= JP_PORT_HB; port++)
        if (c->ports[port] == 0)
            return true;
    return false;
}

/* ---- the two ways to start ---- */

static int bind_sockets(struct attach *a, struct err *err)
{
    const struct attach_flow_cfg cfg = {.loop = a->loop,
                                        .http = a->http,
                                        .jupyter = a->jupyter,
                                        .conn = &a->conn,
                                        .on_shutdown = on_shutdown,
                                        .on_replied = on_replied,
                                        .on_up = on_up,
                                        .on_failed = on_failed,
                                        .ctx = a};
    return attach_flow_new(&a->flow, &cfg, err);
}

static void connect_to(struct attach *a, const char *what, const char *path, const char *kernel_id)
{
    const struct attach_target target = {.url = &a->url,
                                         .token = a->conf->token,
                                         .path = path,
                                         .what = what,
                                         .kernel_id = kernel_id};
    attach_flow_connect(a->flow, &target);
}

static int start_existing(struct attach *a, struct err *err)
{
    int r = choose_place(a, err);
    if (r < 0 || (r = choose_file(a, err)) < 0 || (r = bind_sockets(a, err)) < 0 ||
        (r = write_file(a, err)) < 0)
        return r;
    const char *sandbox = a->conf->sandbox;
    const char *kernel = a->conf->kernel ? a->conf->kernel : sandbox + strlen("sb-");
    _cleanup_(freep) char *path =
        mem_printf("/api/sandboxes/%s/jupyter/api/kernels/%s/channels", sandbox, kernel);
    _cleanup_(freep) char *what =
        a->conf->kernel ? mem_printf("kernel %s of %s at %s", kernel, sandbox, a->url.base)
                        : mem_printf("sandbox %s at %s", sandbox, a->url.base);
    connect_to(a, what, path, kernel);
    return 0;
}

static void on_kernel(void *ctx, const char *kernel_id)
{
    _cleanup_(freep) char *path = mem_printf("/jupyter/api/kernels/%s/channels", kernel_id);
    struct attach *a = ctx;
    _cleanup_(freep) char *what = mem_printf("kernel %s at %s", kernel_id, a->url.base);
    connect_to(a, what, path, kernel_id);
}

static int start_new(struct attach *a, struct err *err)
{
    a->file = mem_dup_str(a->conf->connection_file);
    int r = jp_conn_file_read(&a->conn, a->file, err);
    bool open = r == 0 && has_open_ports(&a->conn);
    if (r < 0 || (r = bind_sockets(a, err)) < 0 || (open && (r = write_file(a, err)) < 0))
        return r;
    const struct attach_kernel_cfg cfg = {.loop = a->loop,
                                          .http = a->http,
                                          .url = &a->url,
                                          .token = a->conf->token,
                                          .conn_file = a->file,
                                          .on_ready = on_kernel,
                                          .on_failed = on_failed,
                                          .ctx = a};
    a->kernel = attach_kernel_new(&cfg);
    return 0;
}

/* The process that started us, when it is Jupyter: 1 would be the machine's first, which stays. */
static void watch_parent(struct attach *a)
{
    uint64_t pid;
    const char *text = getenv("JPY_PARENT_PID");
    if (!a->conf->make_new || !text || parse_u64(text, 2, INT32_MAX, &pid, NULL) < 0)
        return;
    a->is_parent_there = true;
    if (loop_child_new(&a->parent, a->loop, (pid_t)pid, on_parent_gone, a, NULL) < 0)
        end(a, /* keep= */ false, "parent_gone");
}

static int start(struct attach *a, struct err *err)
{
    int r = crypto_init(err);
    if (r < 0 || (r = attach_url_parse(&a->url, a->conf->url, err)) < 0 ||
        (r = loop_new(&a->loop, err)) < 0 ||
        (r = loop_signals_new(&a->signals, a->loop, signals, on_signal, a, err)) < 0 ||
        (r = httpc_new(&a->http, a->loop, CONNECTIONS_MAX, err)) < 0 ||
        (r = jp_context_new(&a->jupyter, a->loop, err)) < 0)
        return r;
    a->shutdown = loop_timer_new(a->loop, on_shutdown_time, a);
    r = a->conf->make_new ? start_new(a, err) : start_existing(a, err);
    if (r == 0)
        watch_parent(a);
    return r;
}

static void stop(struct attach *a)
{
    if (a->flow)
        attach_flow_log(a->flow);
    attach_flow_free(a->flow);
    remove_file(a);
    attach_kernel_free(a->kernel);
    jp_context_free(a->jupyter); /* what was sent to clients goes out here */
    httpc_free(a->http);
    loop_child_free(a->parent);
    loop_signals_free(a->signals);
    loop_timer_free(a->shutdown);
    loop_free(a->loop);
    attach_url_done(&a->url);
    jp_conn_done(&a->conn);
    free(a->file);
    free(a->dir);
}

int attach_run(const struct attach_conf *conf, struct err *err)
{
    struct attach a = {.conf = conf, .err = err};
    int r = start(&a, err);
    if (r == 0) {
        loop_run(a.loop);
        r = a.result;
    }
    stop(&a);
    return r;
}
