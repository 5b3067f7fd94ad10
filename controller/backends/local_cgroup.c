/*
 * Why two leaves: the kernel's OOM killer chooses among the processes of the cgroup whose limit was
 * passed, so the runner is not in that one. Why descriptors: who may write to cgroup.procs is asked
 * of who opened it, so a kernel's process, without any rights of its own, moves itself by one that
 * the controller opened, and no path of the host's is visible inside.
 *
 * Nobody removes a cgroup that is not known to be a sandbox's: what a sandbox has stands in its
 * folder.
 */
#include "controller/backends/local_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "controller/backends/local_dir.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"

#define TEXT_MAX MIB(1)
#define V2_LEAF  "controller" /* the controller's own, with version 2 */
#define V2_TOP   "caesarion"  /* root's, where its own place cannot be had */

/*
 * Weights: a sandbox counts as any other; inside, the runner is served first. Version 1 counts from
 * 1024, version 2 from 100.
 */
#define V1_RUNNER_SHARES  "65536"
#define V2_RUNNER_WEIGHT  "6400"
#define V2_CONTROL_WEIGHT "1000"

static const char *const tree_names[LOCAL_CGROUP_TREES] = {"memory", "pids", "cpu"};

/* ---- pure ---- */

/* Is `word` one of those between `separator`s in the `len` bytes at `text`? */
static bool has_part(const char *text, size_t len, char separator, const char *word)
{
    size_t want = strlen(word);

    for (size_t at = 0; at <= len;) {
        size_t end = at;
        while (end < len && text[end] != separator)
            end++;
        if (end - at == want && memcmp(text + at, word, want) == 0)
            return true;
        at = end + 1;
    }
    return false;
}

bool local_cgroup_has_word(const char *text, const char *word)
{
    return has_part(text, strcspn(text, "\n"), ' ', word);
}

/* The path of a line "7:memory,x:/path" (version 2: "0::/path") for this controller; NULL: none. */
static char *path_in_tree(const char *cgroup, const char *controller)
{
    for (const char *line = cgroup; *line;) {
        size_t len = strcspn(line, "\n");
        const char *names = memchr(line, ':', len);
        const char *path = names ? memchr(names + 1, ':', len - (size_t)(names + 1 - line)) : NULL;
        if (path) {
            size_t n = (size_t)(path - names - 1);
            bool found = controller ? has_part(names + 1, n, ',', controller) : n == 0;
            if (found)
                return mem_dup_n(path + 1, len - (size_t)(path + 1 - line));
        }
        line += len + (line[len] == '\n');
    }
    return NULL;
}

/*
 * "31 23 0:28 ROOT MOUNTPOINT options [tags …] - TYPE source super-options". Blanks in names come
 * as \040 there; a cgroup has none.
 */
static bool parse_mount(const char *line, size_t len, const char *controller, char *root,
                        char *point, size_t size)
{
    char *copy = mem_dup_n(line, len), *rest = strstr(copy, " - ");
    char type[32], options[512], spec[128];
    _cleanup_(freep) char *owned = copy;

    if (!rest || size < 1024 || sscanf(copy, "%*s %*s %*s %1023s %1023s", root, point) != 2 ||
        sscanf(rest, " - %31s %127s %511s", type, spec, options) != 3)
        return false;
    if (!controller)
        return strcmp(type, "cgroup2") == 0;
    return strcmp(type, "cgroup") == 0 && has_part(options, strlen(options), ',', controller);
}

char *local_cgroup_own(const char *cgroup, const char *mountinfo, const char *controller)
{
    _cleanup_(freep) char *path = path_in_tree(cgroup, controller);
    char root[1024], point[1024];

    if (!path || strstr(path, "/.."))
        return NULL;
    for (const char *line = mountinfo; *line;) {
        size_t len = strcspn(line, "\n");
        if (parse_mount(line, len, controller, root, point, sizeof(root))) {
            size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
            const char *below = path + n;
            if (strncmp(path, root, n) == 0 && (*below == '/' || *below == '\0'))
                return mem_printf("%s%s", point, strcmp(below, "/") == 0 ? "" : below);
        }
        line += len + (line[len] == '\n');
    }
    return NULL;
}

/* ---- small files ---- */

static char *read_text(const char *path)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct buf b;
    char chunk[4096];
    ssize_t n;

    if (fd < 0)
        return NULL;
    buf_init(&b, TEXT_MAX);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0 && buf_append(&b, chunk, (size_t)n) == 0)
        ;
    return buf_take(&b);
}

/* Writes to the file `name` of a cgroup. 0, or an errno. */
static int put(const char *dir, const char *name, const char *value)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return errno;
    return write(fd, value, strlen(value)) < 0 ? errno : 0;
}

static int put_or(const char *dir, const char *name, const char *value, struct err *err)
{
    int failed = put(dir, name, value);

    if (failed == 0)
        return 0;
    errno = failed;
    return err_errno(err, "cgroup: %s cannot be written to %s/%s", value, dir, name);
}

static int put_plain(const char *dir, const char *name, uint64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    return put(dir, name, text);
}

static int put_number(const char *dir, const char *name, uint64_t n, struct err *err)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    return put_or(dir, name, text, err);
}

static int open_in(const char *dir, const char *leaf, const char *name, int flags, int *ret,
                   struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s/%s", dir, leaf, name);

    *ret = open(path, flags | O_CLOEXEC);
    return *ret < 0 ? err_errno(err, "cgroup: %s", path) : 0;
}

static int make_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_errno(err, "cgroup: cannot make %s", path);
    return 0;
}

/* ---- finding a place ---- */

/* Can a child be made here, with a file of the controller in it? */
static int try_place(const char *place, const char *file, struct err *err)
{
    _cleanup_(freep) char *trial = mem_printf("%s/caesarion-trial-%d", place, (int)getpid());
    _cleanup_(freep) char *inside = mem_printf("%s/%s", trial, file);

    if (mkdir(trial, 0755) < 0)
        return err_errno(err, "cgroup: cannot make one in %s", place);
    int r = access(inside, W_OK) < 0 ? err_errno(err, "cgroup: %s", inside) : 0;
    rmdir(trial);
    return r;
}

static void find_v1(struct local_cgroups *c, const char *cgroup, const char *mounts,
                    struct err *why)
{
    static const char *const files[] = {"memory.limit_in_bytes", "pids.max", "cpu.shares"};

    for (size_t i = 0; i < LOCAL_CGROUP_TREES; i++) {
        _cleanup_(freep) char *own = local_cgroup_own(cgroup, mounts, tree_names[i]);
        if (own && try_place(own, files[i], why) == 0) {
            c->places[i] = TAKE_PTR(own);
            c->has[i] = true;
        }
    }
    if (c->has[LOCAL_CGROUP_MEMORY])
        c->version = LOCAL_CGROUP_V1;
    else
        local_cgroups_done(c);
}

/* Hands memory, pids and cpu on to the children of `place`. */
static int hand_on(struct local_cgroups *c, const char *place, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/cgroup.controllers", place);
    _cleanup_(freep) char *there = read_text(path);

    if (!there || !local_cgroup_has_word(there, "memory"))
        return err_set(err, ERR_UNAVAILABLE, "cgroup: %s has no memory controller", place);
    for (size_t i = 0; i < LOCAL_CGROUP_TREES; i++) {
        char word[16];
        c->has[i] = local_cgroup_has_word(there, tree_names[i]);
        snprintf(word, sizeof(word), "+%s", tree_names[i]);
        if (c->has[i] && put_or(place, "cgroup.subtree_control", word, err) < 0)
            return -ERR_UNAVAILABLE;
    }
    return 0;
}

/* The controller leaves its own place, for a leaf of it, so that the place may have children. */
static int use_own_v2(struct local_cgroups *c, const char *own, struct err *err)
{
    size_t len = strlen(own), leaf = strlen("/" V2_LEAF);
    bool is_leaf = len > leaf && strcmp(own + len - leaf, "/" V2_LEAF) == 0;
    _cleanup_(freep) char *place = is_leaf ? mem_dup_n(own, len - leaf) : mem_dup_str(own);
    _cleanup_(freep) char *self = mem_printf("%s/" V2_LEAF, place);

    int r = make_dir(self, err);
    if (r == 0 && !is_leaf)
        r = put_or(self, "cgroup.procs", "0", err);
    if (r == 0 && (r = hand_on(c, place, err)) < 0 && !is_leaf) {
        (void)put(place, "cgroup.procs", "0");
        rmdir(self);
    }
    if (r == 0)
        r = try_place(place, "memory.max", err);
    if (r < 0)
        return r;
    (void)put(self, "cpu.weight", V2_CONTROL_WEIGHT);
    c->places[0] = TAKE_PTR(place);
    return 0;
}

/* Root's second choice: at the top, where processes and children may be together. */
static int use_top_v2(struct local_cgroups *c, const char *mounts, struct err *err)
{
    _cleanup_(freep) char *top = local_cgroup_own("0::/\n", mounts, NULL);

    if (!top)
        return err_set(err, ERR_UNAVAILABLE, "cgroup: the top is not mounted");
    _cleanup_(freep) char *place = mem_printf("%s/" V2_TOP, top);
    int r = hand_on(c, top, err);
    if (r == 0)
        r = make_dir(place, err);
    if (r == 0)
        r = hand_on(c, place, err);
    if (r == 0)
        r = try_place(place, "memory.max", err);
    if (r == 0)
        c->places[0] = TAKE_PTR(place);
    return r;
}

static void find_v2(struct local_cgroups *c, const char *cgroup, const char *mounts,
                    struct err *why)
{
    _cleanup_(freep) char *own = local_cgroup_own(cgroup, mounts, NULL);

    if (!own) {
        err_set(why, ERR_UNAVAILABLE, "cgroup: no tree is mounted");
        return;
    }
    int r = use_own_v2(c, own, why);
    if (r < 0 && geteuid() == 0)
        r = use_top_v2(c, mounts, why);
    if (r == 0)
        c->version = LOCAL_CGROUP_V2;
    else
        local_cgroups_done(c);
}

void local_cgroups_find(struct local_cgroups *ret, struct err *why)
{
    _cleanup_(freep) char *cgroup = read_text("/proc/self/cgroup");
    _cleanup_(freep) char *mounts = read_text("/proc/self/mountinfo");

    *ret = (struct local_cgroups){0};
    if (!cgroup || !mounts) {
        err_set(why, ERR_UNAVAILABLE, "cgroup: /proc/self cannot be read");
        return;
    }
    find_v1(ret, cgroup, mounts, why);
    if (ret->version == LOCAL_CGROUP_NONE && !local_cgroup_own(cgroup, mounts, "memory"))
        find_v2(ret, cgroup, mounts, why);
}

void local_cgroups_done(struct local_cgroups *c)
{
    for (size_t i = 0; i < LOCAL_CGROUP_TREES; i++)
        free(c->places[i]);
    memset(c, 0, sizeof(*c));
}

const char *local_cgroups_holder(const struct local_cgroups *c, enum local_cgroup_tree tree)
{
    if (!c->has[tree])
        return NULL;
    return c->version == LOCAL_CGROUP_V1 ? "cgroup v1" : "cgroup v2";
}

/* ---- one sandbox ---- */

static int note(const struct local_dir *d, const struct local_cgroups *c, const char *id,
                struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/cgroups", d->path);
    _cleanup_(closep) int fd =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(err, "cannot make %s", path);
    for (size_t i = 0; i < LOCAL_CGROUP_TREES; i++)
        if (c->places[i] && dprintf(fd, "%s/%s\n", c->places[i], id) < 0)
            return err_errno(err, "cannot write %s", path);
    return 0;
}

static int limit_memory_v1(const char *leaf, const struct local_cgroup_limits *l, struct err *err)
{
    uint64_t all = l->memory_bytes + l->files_bytes;
    int failed;

    int r = put_number(leaf, "memory.limit_in_bytes", all, err);
    /* Without it the buffers of TCP and UDP count nowhere. */
    if (r == 0)
        r = put_number(leaf, "memory.kmem.tcp.limit_in_bytes", l->memory_bytes, err);
    /* Not there: a kernel without swap. */
    if (r == 0 && (failed = put_plain(leaf, "memory.memsw.limit_in_bytes", all)) &&
        failed != ENOENT) {
        errno = failed;
        r = err_errno(err, "cgroup: %s/memory.memsw.limit_in_bytes", leaf);
    }
    return r;
}

static int limit_memory_v2(const char *leaf, const struct local_cgroup_limits *l, struct err *err)
{
    int r = put_number(leaf, "memory.max", l->memory_bytes + l->files_bytes, err);

    (void)put(leaf, "memory.swap.max", "0"); /* not there: a kernel without swap */
    return r;
}

static int limit_tree(const struct local_cgroups *c, size_t tree, const char *dir,
                      const struct local_cgroup_limits *l, struct err *err)
{
    bool v1 = c->version == LOCAL_CGROUP_V1;
    _cleanup_(freep) char *kernels = mem_printf("%s/kernels", dir);
    _cleanup_(freep) char *runner = mem_printf("%s/runner", dir);

    switch ((enum local_cgroup_tree)tree) {
    case LOCAL_CGROUP_MEMORY:
        if (l->memory_bytes == 0)
            return 0;
        return v1 ? limit_memory_v1(kernels, l, err) : limit_memory_v2(kernels, l, err);
    case LOCAL_CGROUP_PIDS:
        return l->pids ? put_number(kernels, "pids.max", l->pids, err) : 0;
    case LOCAL_CGROUP_CPU:
        return v1 ? put_or(runner, "cpu.shares", V1_RUNNER_SHARES, err)
                  : put_or(runner, "cpu.weight", V2_RUNNER_WEIGHT, err);
    }
    return 0;
}

static int make_leaves(const char *dir, bool v2, const struct local_cgroups *c, struct err *err)
{
    _cleanup_(freep) char *kernels = mem_printf("%s/kernels", dir);
    _cleanup_(freep) char *runner = mem_printf("%s/runner", dir);
    struct local_cgroups unused = *c;

    int r = make_dir(dir, err);
    if (r == 0 && v2)
        r = hand_on(&unused, dir, err);
    if (r == 0)
        r = make_dir(runner, err);
    return r == 0 ? make_dir(kernels, err) : r;
}

static int open_reads(struct local_cgroup *g, const char *dir, struct err *err)
{
    static const char *const v1[][2] = {{"kernels", "memory.usage_in_bytes"},
                                        {"kernels", "memory.stat"},
                                        {"kernels", "memory.oom_control"},
                                        {"runner", "memory.stat"},
                                        {"kernels", "memory.kmem.tcp.usage_in_bytes"}};
    static const char *const v2[][2] = {{"kernels", "memory.current"},
                                        {"kernels", "memory.stat"},
                                        {"kernels", "memory.events"},
                                        {"runner", "memory.stat"}};
    bool is_v1 = g->version == LOCAL_CGROUP_V1;
    const char *const(*files)[2] = is_v1 ? v1 : v2;
    size_t n = is_v1 ? ARRAY_LEN(v1) : ARRAY_LEN(v2);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = open_in(dir, files[i][0], files[i][1], O_RDONLY, &g->reads[g->n_reads], err);
        if (r == 0)
            g->n_reads++;
    }
    return r;
}

static int make_tree(struct local_cgroup *g, const struct local_cgroups *c, const char *dir,
                     struct err *err)
{
    int r = make_leaves(dir, c->version == LOCAL_CGROUP_V2, c, err);

    if (r == 0)
        r = open_in(dir, "runner", "cgroup.procs", O_WRONLY, &g->enter[g->n_trees], err);
    if (r < 0)
        return r;
    r = open_in(dir, "kernels", "cgroup.procs", O_WRONLY, &g->join[g->n_trees], err);
    if (r < 0)
        close(g->enter[g->n_trees]);
    else
        g->n_trees++;
    return r;
}

int local_cgroup_make(struct local_cgroup *ret, const struct local_cgroups *c,
                      const struct local_dir *dir, const char *id,
                      const struct local_cgroup_limits *limits, struct err *err)
{
    struct local_cgroup g = {.version = c->version};
    int r = 0;

    *ret = (struct local_cgroup){0};
    if (c->version == LOCAL_CGROUP_NONE)
        return 0;
    r = note(dir, c, id, err);
    for (size_t i = 0; r == 0 && i < LOCAL_CGROUP_TREES; i++) {
        const char *place = c->version == LOCAL_CGROUP_V2 ? c->places[0] : c->places[i];
        _cleanup_(freep) char *path = mem_printf("%s/%s", place ? place : "", id);
        if (c->places[i])
            r = make_tree(&g, c, path, err);
        if (r == 0 && c->has[i])
            r = limit_tree(c, i, path, limits, err);
        if (r == 0 && i == LOCAL_CGROUP_MEMORY)
            r = open_reads(&g, path, err);
    }
    if (r < 0) {
        local_cgroup_close(&g);
        return r;
    }
    *ret = g;
    return 0;
}

void local_cgroup_close(struct local_cgroup *g)
{
    for (size_t i = 0; i < g->n_trees; i++) {
        close(g->enter[i]);
        close(g->join[i]);
    }
    for (size_t i = 0; i < g->n_reads; i++)
        close(g->reads[i]);
    *g = (struct local_cgroup){0};
}

/* ---- removing ---- */

static bool is_of_sandbox(const char *path, const char *id)
{
    const char *name = strrchr(path, '/');
    struct statfs fs;

    return name && strcmp(name + 1, id) == 0 && statfs(path, &fs) == 0 &&
           (fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC);
}

/* The first process that is still in the cgroup, 0: none. */
static pid_t first_in(const char *path)
{
    _cleanup_(freep) char *procs = mem_printf("%s/cgroup.procs", path);
    _cleanup_(freep) char *text = read_text(procs);
    uint64_t pid = 0;

    if (text)
        text[strcspn(text, "\n")] = '\0';
    return text && parse_u64(text, 1, INT_MAX, &pid, NULL) == 0 ? (pid_t)pid : 0;
}

/*
 * A sandbox also counts as ended when nobody holds its ready pipe or listens on its socket any
 * more, and a process that exits closes its descriptors well before it leaves its cgroup: mounts
 * and network are taken down between. So whoever is still listed is waited for, by pidfd, which
 * tells the end after that. A number that was given away meanwhile costs no more than the wait.
 */
static int remove_one(const char *path, int64_t until_ms)
{
    bool again = true; /* somebody may have left between rmdir and the look at who is in */

    for (;;) {
        int failed = rmdir(path) < 0 && errno != ENOENT ? errno : 0;
        int64_t left = until_ms - clk_mono_ms();
        if (failed != EBUSY || left <= 0)
            return failed;
        pid_t pid = first_in(path);
        _cleanup_(closep) int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
        struct pollfd end = {.fd = pidfd, .events = POLLIN};
        if (pidfd < 0 && !again)
            return failed;
        again = pidfd >= 0;
        if (pidfd >= 0 && poll(&end, 1, (int)left) <= 0)
            return failed;
    }
}

int local_cgroup_remove(const struct local_dir *dir, int wait_ms)
{
    const char *id = strrchr(dir->path, '/') + 1;
    _cleanup_(freep) char *list = mem_printf("%s/cgroups", dir->path);
    _cleanup_(freep) char *text = read_text(list);
    int64_t until = clk_mono_ms() + wait_ms;
    int failed = 0;

    for (char *line = text; line && *line;) {
        size_t len = strcspn(line, "\n");
        char *next = line + len + (line[len] == '\n');
        line[len] = '\0';
        if (is_of_sandbox(line, id)) {
            _cleanup_(freep) char *kernels = mem_printf("%s/kernels", line);
            _cleanup_(freep) char *runner = mem_printf("%s/runner", line);
            int a = remove_one(kernels, until), b = remove_one(runner, until);
            int c = remove_one(line, until);
            if (failed == 0)
                failed = a ? a : b ? b : c;
        }
        line = next;
    }
    return failed;
}
