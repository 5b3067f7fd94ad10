/*
 * Puts together what a sandbox's process is started with: the argument list of bubblewrap in a
 * memfd (the host's `ps` then shows the runner's own arguments only), the files of /etc, the trees
 * to stage. Without isolation it is the command itself.
 */
#include "controller/backends/local_launch.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/backends/local_remount.h"
#include "lib/base/mem.h"

void local_host_tops(struct local_host *h)
{
    static const char *const names[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
    char target[256];
    struct stat st;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        ssize_t n = readlink(names[i], target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = '\0';
            h->top_targets[h->n_tops] = mem_dup_str(target);
        } else if (stat(names[i], &st) < 0 || !S_ISDIR(st.st_mode)) {
            continue;
        }
        h->tops[h->n_tops] = (struct local_bwrap_link){h->top_targets[h->n_tops], names[i]};
        h->n_tops++;
    }
    /* They list the keys that the host's user has, by name, and every user's counts. */
    static const char *const of_host[] = {"/proc/keys", "/proc/key-users"};
    for (size_t i = 0; i < ARRAY_LEN(of_host); i++)
        if (access(of_host[i], F_OK) == 0)
            h->masks[h->n_masks++] = of_host[i];
}

uint64_t local_shm_bytes(const struct local_host *h)
{
    return h->memory_bytes ? h->memory_bytes : h->files_bytes;
}

uint64_t local_files_bytes(const struct local_host *h)
{
    uint64_t inodes = 2 * local_remount_inodes(h->files_bytes) + 2 * LOCAL_INODES_MIN;

    return 2 * h->files_bytes + LOCAL_RUN_BYTES + inodes * KIB(1);
}

void local_host_done(struct local_host *h)
{
    for (size_t i = 0; i < h->n_tops; i++)
        free(h->top_targets[i]);
    local_cgroups_done(&h->cgroups);
    local_python_free(h->python);
    free(h->bwrap);
    free(h->runner);
    *h = (struct local_host){0};
}

void local_launch_close_fds(struct local_launch *l)
{
    while (l->n_memfds > 0)
        close(l->memfds[--l->n_memfds]);
}

struct local_launch *local_launch_free(struct local_launch *l)
{
    if (!l)
        return NULL;
    local_launch_close_fds(l);
    for (size_t i = 0; i < l->n_owned; i++)
        free(l->owned[i]);
    free(l->sources);
    free(l->source_fds);
    free(l);
    return NULL;
}

static const char *own(struct local_launch *l, char *s)
{
    l->owned[l->n_owned++] = s;
    return s;
}

static int keep_fd(struct local_launch *l, int fd, struct err *err)
{
    if (l->n_keep == LOCAL_KEEP_MAX)
        return err_set(err, ERR_INTERNAL, "too many descriptors for a sandbox");
    l->keep[l->n_keep++] = fd;
    return 0;
}

static int add_command(struct local_launch *l, const char *const *command, struct err *err)
{
    for (; *command; command++) {
        if (l->n_argv == LOCAL_ARGV_MAX - 1)
            return err_set(err, ERR_INTERNAL, "too many arguments for a sandbox");
        l->argv[l->n_argv++] = own(l, mem_dup_str(*command));
    }
    return 0;
}

/* The trees of every sandbox, as bubblewrap sees them: staged below /tmp, or as they are. */
static size_t list_trees(struct local_launch *l, const struct local_host *h,
                         struct local_bwrap_tree *trees, char (*names)[LOCAL_STAGE_PATH])
{
    size_t n = 0;

    trees[n++] = (struct local_bwrap_tree){h->runner, LOCAL_RUNNER_INSIDE};
    for (size_t i = 0; i < h->python->n_trees; i++)
        trees[n++] = (struct local_bwrap_tree){h->python->trees[i], h->python->trees[i]};
    if (!h->is_root)
        return n;
    l->sources = MEM_NEW_N(const char *, n);
    l->source_fds = MEM_NEW_N(int, n);
    for (size_t i = 0; i < n; i++) {
        l->sources[i] = trees[i].source;
        local_stage_path(i, names[i]);
        trees[i].source = names[i];
    }
    return n;
}

/* A sanitized runner must report like the rest of a test run. */
static size_t list_env(struct local_bwrap_env *env)
{
    static const char *const passed[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};
    size_t n = 0;

    env[n++] = (struct local_bwrap_env){"PATH", "/usr/local/bin:/usr/bin:/bin"};
    env[n++] = (struct local_bwrap_env){"HOME", "/uploaded_files"};
    env[n++] = (struct local_bwrap_env){"LANG", "C.UTF-8"};
    for (size_t i = 0; CAESARION_SANITIZED && i < ARRAY_LEN(passed); i++)
        if (getenv(passed[i]))
            env[n++] = (struct local_bwrap_env){passed[i], getenv(passed[i])};
    return n;
}

static int open_memfds(struct local_launch *l, struct local_bwrap_file *etc, size_t *n_etc,
                       const struct local_host *h, struct err *err)
{
    int r = local_etc_open(etc, n_etc, h->network_host, err);

    for (size_t i = 0; r == 0 && i < *n_etc; i++) {
        l->memfds[l->n_memfds++] = etc[i].fd;
        r = keep_fd(l, etc[i].fd, err);
    }
    return r;
}

static int add_bwrap_args(struct local_launch *l, const struct local_host *h, struct err *err)
{
    struct local_bwrap_tree trees[LOCAL_PYTHON_TREES_MAX + 1];
    char names[LOCAL_PYTHON_TREES_MAX + 1][LOCAL_STAGE_PATH];
    struct local_bwrap_link links[LOCAL_PYTHON_LINKS_MAX];
    struct local_bwrap_file etc[LOCAL_ETC_MAX];
    struct local_bwrap_env env[8];
    size_t n_etc = 0;
    struct buf args;
    int fd = -1;

    for (size_t i = 0; i < h->python->n_links; i++)
        links[i] = (struct local_bwrap_link){h->python->links[i].target, h->python->links[i].path};
    int r = open_memfds(l, etc, &n_etc, h, err);
    if (r < 0)
        return r;
    struct local_bwrap b = {.network_host = h->network_host,
                            .files_bytes = h->files_bytes,
                            .tmp_bytes = h->files_bytes,
                            .run_bytes = LOCAL_RUN_BYTES,
                            .shm_bytes = local_shm_bytes(h),
                            .env = env,
                            .n_env = list_env(env),
                            .tops = h->tops,
                            .n_tops = h->n_tops,
                            .etc = etc,
                            .n_etc = n_etc,
                            .masks = h->masks,
                            .n_masks = h->n_masks,
                            .trees = trees,
                            .n_trees = list_trees(l, h, trees, names),
                            .links = links,
                            .n_links = h->python->n_links};
    l->stage.n_sources = b.n_trees;
    buf_init(&args, LOCAL_BWRAP_ARGS_MAX);
    r = local_bwrap_args(&args, &b, err);
    if (r == 0)
        r = local_memfd("args", args.ptr, args.len, &fd, err);
    buf_done(&args);
    if (r < 0)
        return r;
    l->memfds[l->n_memfds++] = fd;
    l->argv[l->n_argv++] = own(l, mem_dup_str(h->bwrap));
    l->argv[l->n_argv++] = "--args";
    l->argv[l->n_argv++] = own(l, mem_printf("%d", fd));
    l->argv[l->n_argv++] = "--";
    return keep_fd(l, fd, err);
}

/* Without isolation: what bubblewrap would have set, and where temporary files go on this host. */
static void plain_env(struct local_launch *l, const char *home)
{
    struct local_bwrap_env env[8];
    size_t n = list_env(env);

    for (size_t i = 0; i < n && i < ARRAY_LEN(l->envp) - 1; i++)
        l->envp[i] = own(l, mem_printf("%s=%s", env[i].name,
                                       strcmp(env[i].name, "HOME") == 0 ? home : env[i].value));
}

int local_launch_new(struct local_launch **ret, const struct local_host *h, uid_t uid,
                     const char *const *command, const int *keep, size_t n_keep, const char *cwd,
                     struct err *err)
{
    _cleanup_(local_launch_freep) struct local_launch *l = MEM_NEW(struct local_launch);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n_keep; i++)
        r = keep_fd(l, keep[i], err);
    if (r == 0 && h->isolated)
        r = add_bwrap_args(l, h, err);
    if (r == 0)
        r = add_command(l, command, err);
    if (r < 0)
        return r;
    l->spawn = (struct local_spawn){
        .argv = l->argv, .envp = l->envp, .output_fd = -1, .keep = l->keep, .n_keep = l->n_keep};
    if (h->isolated) {
        l->envp[0] = "PATH=/usr/bin:/bin";
    } else {
        plain_env(l, cwd ? cwd : "/");
        l->spawn.cwd = cwd ? own(l, mem_dup_str(cwd)) : NULL;
    }
    if (h->isolated && h->is_root) {
        l->stage.sources = l->sources;
        l->stage.fds = l->source_fds;
        l->stage.uid = uid;
        l->spawn.stage = &l->stage;
    }
    *ret = TAKE_PTR(l);
    return 0;
}
