/* What stands ready before a sandbox's process is forked: folder, log, socket, spill, arguments. */
#include "controller/backends/local_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

static bool is_uid_taken(void *ctx, uid_t uid)
{
    const struct local_backend *b = ctx;
    const struct local_sandbox *sb, *next;

    HASH_ITER (hh, b->sandboxes, sb, next)
        if (sb->meta.uid == uid)
            return true;
    return false;
}

static int pick_uid(struct local_sandbox *sb, struct err *err)
{
    struct local_backend *b = sb->backend;
    uint32_t seed;

    sb->meta.uid = geteuid();
    if (!b->host.isolated || !b->host.is_root)
        return 0;
    crypto_random(&seed, sizeof(seed));
    return local_uid_pick(&sb->meta.uid, &b->host.uids, seed, is_uid_taken, b, err);
}

/*
 * The runner makes unlinked files in spill/. As root the descriptor is of a detached mount of that
 * folder: from it ".." leads nowhere. An ordinary user cannot make one; then a stolen descriptor
 * would show the host's folders (to the same user's rights), and only the runner's being not
 * dumpable keeps it from user code.
 */
static int open_spill(const struct local_sandbox *sb, int *ret_fd, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/spill", sb->dir.path);
    _cleanup_(closep) int tree = -1;

    if (sb->meta.isolated && sb->backend->host.is_root)
        tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    *ret_fd = tree >= 0 ? openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                        : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? err_errno(err, "%s", path) : 0;
}

/* The runner's command line. Each value is printed into `text`, which keeps them all. */
struct command {
    const char *argv[64];
    size_t n;
    char text[4096 + 2048];
    size_t used;
};

static void put(struct command *c, const char *flag, const char *value)
{
    c->argv[c->n++] = flag;
    c->argv[c->n++] = value;
}

static const char *number(struct command *c, uint64_t n, const char *unit)
{
    char *out = c->text + c->used;

    c->used += (size_t)snprintf(out, sizeof(c->text) - c->used, "%" PRIu64 "%s", n, unit) + 1;
    return out;
}

/* "7,8,9" */
static const char *number_list(struct command *c, const int *fds, size_t n)
{
    char *out = c->text + c->used;

    for (size_t i = 0; i < n; i++)
        c->used += (size_t)snprintf(c->text + c->used, sizeof(c->text) - c->used, "%s%d",
                                    i ? "," : "", fds[i]);
    c->used++;
    return out;
}

static void put_cgroup(struct command *c, const struct local_cgroup *g)
{
    if (g->version == LOCAL_CGROUP_NONE)
        return;
    put(c, "--cgroup", g->version == LOCAL_CGROUP_V1 ? "v1" : "v2");
    put(c, "--cgroup-join-fds", number_list(c, g->join, g->n_trees));
    put(c, "--cgroup-read-fds", number_list(c, g->reads, g->n_reads));
}

static void build_command(struct command *c, const struct local_sandbox *sb,
                          const struct sandbox_backend_spec *spec, const int *fds,
                          const struct local_cgroup *cgroup, const char *files)
{
    const struct local_backend *b = sb->backend;
    const struct backend_local_cfg *cfg = &b->cfg;
    bool isolated = sb->meta.isolated;

    c->argv[c->n++] = isolated ? LOCAL_RUNNER_INSIDE : b->host.runner;
    put(c, "--listen-fd", number(c, (uint64_t)fds[0], ""));
    put(c, "--ready-fd", number(c, (uint64_t)fds[1], ""));
    put(c, "--spill-fd", number(c, (uint64_t)fds[2], ""));
    put(c, "--id", sb->id);
    put(c, "--token-hash", spec->token_hash);
    put(c, "--files", isolated ? "/uploaded_files" : files);
    put(c, "--run-dir", isolated ? "/run/caesarion" : sb->dir.run);
    put(c, "--python", b->host.python->executable);
    put(c, "--memory", number(c, cfg->memory_bytes, ""));
    put(c, "--pids", number(c, cfg->pids_max, ""));
    put(c, "--files-max", number(c, cfg->files_max_bytes, ""));
    put(c, "--output-limit", number(c, cfg->output_limit_bytes, ""));
    put(c, "--exec-timeout", number(c, (uint64_t)cfg->exec_timeout_ms, "ms"));
    put(c, "--idle-timeout", number(c, (uint64_t)cfg->idle_timeout_ms, "ms"));
    put(c, "--unclaimed-timeout", number(c, (uint64_t)cfg->unclaimed_timeout_ms, "ms"));
    /* Before the deadline of the start, so that a kernel's own words are the reason. */
    put(c, "--start-timeout", number(c, (uint64_t)MAX(spec->deadline_ms * 5 / 6, 1), "ms"));
    put(c, "--log-level", cfg->log_level);
    put(c, "--log-max", number(c, LOCAL_LOG_MAX, ""));
    put_cgroup(c, cgroup);
    if (cfg->idle_counts_connections)
        c->argv[c->n++] = "--idle-counts-connections";
    c->argv[c->n] = NULL;
}

static int fork_runner(struct local_sandbox *sb, const struct sandbox_backend_spec *spec,
                       const int fds[3], const struct local_cgroup *cgroup, int log_fd,
                       pid_t *ret_pid, struct err *err)
{
    _cleanup_(freep) char *files = mem_printf("%s/files", sb->dir.path);
    struct command command = {.n = 0};
    int keep[3 + LOCAL_CGROUP_TREES + LOCAL_CGROUP_READS];
    size_t n = 0;

    for (size_t i = 0; i < 3; i++)
        keep[n++] = fds[i];
    for (size_t i = 0; i < cgroup->n_trees; i++)
        keep[n++] = cgroup->join[i];
    for (size_t i = 0; i < cgroup->n_reads; i++)
        keep[n++] = cgroup->reads[i];
    build_command(&command, sb, spec, fds, cgroup, files);
    int r = local_launch_new(&sb->launch, &sb->backend->host, sb->meta.uid, command.argv, keep, n,
                             files, err);
    if (r < 0)
        return r;
    sb->launch->spawn.output_fd = log_fd;
    sb->launch->spawn.enter = cgroup->enter;
    sb->launch->spawn.n_enter = cgroup->n_trees;
    r = local_spawn(&sb->launch->spawn, ret_pid, &sb->failure_fd, err);
    sb->launch->spawn.enter = NULL;
    sb->launch->spawn.n_enter = 0;
    local_launch_close_fds(sb->launch);
    return r;
}

static int make_cgroup(struct local_sandbox *sb, struct local_cgroup *ret, struct err *err)
{
    const struct local_backend *b = sb->backend;
    struct local_cgroup_limits limits = {.memory_bytes = b->cfg.memory_bytes,
                                         .files_bytes = local_files_bytes(&b->host),
                                         .pids = b->cfg.pids_max};

    return local_cgroup_make(ret, &b->host.cgroups, &sb->dir, sb->id, &limits, err);
}

int local_sandbox_start(struct local_sandbox *sb, const struct sandbox_backend_spec *spec,
                        pid_t *ret_pid, struct err *err)
{
    int ready[2] = {-1, -1}, socket_fd = -1, spill_fd = -1, log_fd = -1;

    int r = pick_uid(sb, err);
    if (r == 0)
        r = local_dir_make(&sb->dir, &sb->meta, err);
    if (r == 0)
        r = local_dir_open_log(&sb->dir, &log_fd, err);
    _cleanup_(closep) int log_own = log_fd;
    if (r == 0)
        r = local_dir_bind(&sb->dir, &socket_fd, err);
    _cleanup_(closep) int socket_own = socket_fd;
    if (r == 0)
        r = open_spill(sb, &spill_fd, err);
    _cleanup_(closep) int spill_own = spill_fd;
    if (r == 0 && pipe2(ready, O_CLOEXEC) < 0)
        r = err_errno(err, "pipe");
    _cleanup_(closep) int ready_read = ready[0];
    _cleanup_(closep) int ready_write = ready[1];
    if (r < 0)
        return r;
    /* The runner's end stays blocking. */
    fcntl(ready_read, F_SETFL, O_NONBLOCK);
    int fds[] = {socket_fd, ready_write, spill_fd};
    struct local_cgroup cgroup;
    r = make_cgroup(sb, &cgroup, err);
    if (r < 0)
        return r;
    r = fork_runner(sb, spec, fds, &cgroup, log_fd, ret_pid, err);
    local_cgroup_close(&cgroup);
    if (r == 0)
        sb->ready_fd = TAKE_FD(ready_read);
    return r;
}
