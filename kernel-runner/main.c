/*
 * caesarion-runner: PID 1 of a sandbox. It starts a kernel, serves the API on the socket it was
 * given, reaps orphans, and ends on SIGTERM, when idle too long, or when its lifetime is over.
 *
 * User code shares its uid and PID namespace. As PID 1 it is out of reach of signals from inside;
 * SIGTERM is read from a signalfd and obeyed only when it came from outside the namespace
 * (si_pid 0) by kill (SI_USER, which rt_sigqueueinfo cannot forge; nor does a full queue lose the
 * sender, as kernels' limit of queued signals is below ours). It is not dumpable, so that
 * /proc/1/mem, fd and environ are closed to user code.
 */
#include "kernel-runner/core/runner.h"
#include "kernel-runner/kernel/kernel_walls.h"
#include "kernel-runner/routes/routes.h"
#include "kernel-runner/runner_conf.h"
#include "kernel-runner/serve.h"
#include "lib/base/beneath.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/process.h"
#include "lib/crypto/crypto.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define DRAIN_MS 3000
#define POD_ROOM MIB(32) /* of a pod's limit, kept for the runner: kernels are ended below it */

struct program {
    struct loop *loop;
    struct runner_conf conf;
    struct kernel_walls *walls;
    struct runner *runner;
    struct serve *serve;
    struct loop_signals *signals;
    struct loop_timer *drain;
    struct mem_cgroup *cgroup; /* NULL: there is none */
    bool ending;
};

static void on_drained(void *ctx)
{
    struct program *p = ctx;
    loop_stop(p->loop);
}

/* Ends executions, lets their readers take `done`, and stops: within DRAIN_MS. */
static void end(struct program *p, const char *why)
{
    if (p->ending)
        return;
    p->ending = true;
    log_event(LOG_INFO, "runner_ends", "why", why, NULL);
    runner_drain(p->runner);
    if (serve_drain(p->serve, on_drained, p))
        loop_timer_start(p->drain, DRAIN_MS, 0);
    else
        loop_stop(p->loop);
}

static void on_expired(void *ctx, const char *why)
{
    end(ctx, why);
}

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
    struct program *p = ctx;
    if (info->ssi_signo == SIGCHLD) {
        loop_reap_orphans(p->loop);
        return;
    }
    bool outside = info->ssi_pid == 0 && info->ssi_code == SI_USER;
    if (getpid() == 1 && !outside)
        return;
    end(p, "signal");
}

/*
 * What holds the memory of kernels: the cgroup that the controller made, the pod's, or the watchdog
 * alone. Where that sees only what descends from kernels, a limit of each process stands beside it.
 */
static int hold_memory(struct program *p, struct runner_cfg *cfg, struct err *err)
{
    const struct runner_conf *c = &p->conf;
    int r = 0;
    if (c->cgroup)
        r = mem_cgroup_new(&p->cgroup, c->cgroup, c->cgroup_read_fds, err);
    else if (getpid() == 1)
        p->cgroup = mem_cgroup_of_pod("/sys/fs/cgroup");
    if (r == 0 && c->cgroup_join_fds)
        r = mem_cgroup_parse_fds(c->cgroup_join_fds, cfg->kernel.join, ARRAY_LEN(cfg->kernel.join),
                                 &cfg->kernel.n_join, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < cfg->kernel.n_join; i++)
        if (fcntl(cfg->kernel.join[i], F_SETFD, FD_CLOEXEC) < 0)
            return err_errno(err, "--cgroup-join-fds: %d", cfg->kernel.join[i]);
    cfg->cgroup = p->cgroup;
    cfg->kernel.memory_bytes = p->cgroup || getpid() == 1 ? 0 : c->memory;
    uint64_t pod = p->cgroup ? mem_cgroup_limit(p->cgroup) : 0;
    if (pod > POD_ROOM && c->memory > pod - POD_ROOM)
        cfg->memory_bytes = pod - POD_ROOM;
    log_event(LOG_INFO, "memory_held_by", "memory",
              !c->memory  ? "nothing"
              : p->cgroup ? mem_cgroup_name(p->cgroup)
                          : "watchdog",
              NULL);
    return 0;
}

static int configure(struct program *p, struct runner_cfg *cfg, struct err *err)
{
    const struct runner_conf *c = &p->conf;
    if (c->id && !id_is_sandbox(c->id))
        return err_set(err, ERR_INVALID, "--id %s is not a sandbox id", c->id);
    if (c->id)
        memcpy(cfg->id, c->id, sizeof(cfg->id));
    else
        crypto_new_sandbox_id(cfg->id);
    cfg->kernel = (struct kernel_cfg){.python = c->python,
                                      .run_dir = c->run_dir,
                                      .cwd = c->files,
                                      .pids = (unsigned)c->pids,
                                      .start_timeout_ms = c->start_timeout,
                                      .walls = p->walls,
                                      .is_init = getpid() == 1};
    cfg->files_dir = c->files;
    cfg->files_max_bytes = c->files_max;
    cfg->memory_bytes = c->memory;
    cfg->output_bytes = c->output_limit;
    cfg->total_output_bytes = c->output_total;
    cfg->held_bytes = c->held_max;
    cfg->exec_timeout_ms = c->exec_timeout;
    cfg->idle_timeout_ms = c->idle_timeout;
    cfg->unclaimed_timeout_ms = c->unclaimed_timeout;
    cfg->idle_counts_connections = c->idle_counts_connections;
    cfg->on_expired = on_expired;
    cfg->ctx = p;
    int r = hold_memory(p, cfg, err);
    if (r < 0)
        return r;
    return serve_open_spill(c->spill_fd, c->spill_dir, &cfg->spill_dir_fd, err);
}

static int start(struct program *p, struct err *err)
{
    static const int sigs[] = {SIGTERM, SIGINT, SIGCHLD, 0};
    int r = beneath_check(err);
    if (r < 0 || (r = kernel_walls_new(&p->walls, err)) < 0 || (r = crypto_init(err)) < 0 ||
        (r = loop_new(&p->loop, err)) < 0 ||
        (r = loop_signals_new(&p->signals, p->loop, sigs, on_signal, p, err)) < 0)
        return r;
    p->drain = loop_timer_new(p->loop, on_drained, p);
    struct runner_cfg cfg = {0};
    if ((r = configure(p, &cfg, err)) < 0 || (r = runner_new(&p->runner, p->loop, &cfg, err)) < 0)
        return r;
    struct serve_cfg serve = {.listen = p->conf.listen,
                              .listen_fd = (int)p->conf.listen_fd,
                              .ready_fd = (int)p->conf.ready_fd,
                              .token_hash = p->conf.token_hash,
                              .runner = p->runner};
    return serve_new(&p->serve, p->loop, &serve, err);
}

static void stop(struct program *p)
{
    serve_free(p->serve);
    runner_free(p->runner);
    mem_cgroup_free(p->cgroup);
    kernel_walls_free(p->walls);
    loop_signals_free(p->signals);
    loop_timer_free(p->drain);
    loop_free(p->loop);
}

static void raise_limit(__rlimit_resource_t resource)
{
    struct rlimit r;
    if (getrlimit(resource, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(resource, &r);
    }
}

static void harden(void)
{
    /* Before any thread starts: nothing but the signalfd sees these. */
    static const int sigs[] = {SIGTERM, SIGINT, SIGCHLD, 0};
    loop_signals_block(sigs);
    signal_ignore_pipe();
    process_hide();
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    raise_limit(RLIMIT_NOFILE);
    raise_limit(RLIMIT_SIGPENDING); /* far above the kernels': see kernel_walls.c */
}

int main(int argc, char **argv)
{
    struct program p = {0};
    struct err err;
    /* Of an arena of its own, which each pool thread would get, malloc_trim() leaves the top. */
    mallopt(M_ARENA_MAX, 1);
    harden();
    int r = conf_parse(&runner_program, argc, argv, &p.conf, &err);
    if (r > 0) {
        struct buf text;
        buf_init(&text, MIB(1));
        r == CONF_HELP ? conf_help(&runner_program, &text) : conf_version(&runner_program, &text);
        fputs(text.ptr, stdout);
        buf_done(&text);
        conf_done(&runner_program, &p.conf);
        return 0;
    }
    int level = r < 0 ? -1 : log_level_parse(p.conf.log_level);
    if (r == 0 && level < 0)
        r = err_set(&err, ERR_INVALID, "--log-level is one of error, warn, info, debug");
    log_init("caesarion-runner", level < 0 ? LOG_INFO : (enum log_level)level);
    log_set_max(p.conf.log_max);
    if (r == 0 && (r = start(&p, &err)) == 0)
        loop_run(p.loop);
    if (r < 0)
        log_event(LOG_ERROR, "runner_failed", "error", err.text, NULL);
    stop(&p);
    conf_done(&runner_program, &p.conf);
    /* A value can be malformed in ways that only its user sees: it is a bad flag too. */
    return r == 0 ? 0 : err.code == ERR_INVALID ? 2 : 1;
}
