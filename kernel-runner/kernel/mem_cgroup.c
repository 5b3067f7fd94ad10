/*
 * Figures are read anew by pread() from descriptors that stay open: the files they belong to are
 * nowhere in a sandbox. What is asked often is one number; the statistics, which the kernel has to
 * sum up, only when that number is too large.
 */
#include "kernel-runner/kernel/mem_cgroup.h"

#include "lib/base/mem.h"
#include "lib/base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define STAT_BYTES KIB(6)
#define NO_LIMIT   (1ULL << 60) /* version 1 says "none" by a number near 2^63 */

enum { FD_USED, FD_STAT, FD_EVENTS, FD_RUNNER_STAT, FD_TCP, FD_COUNT };

struct mem_cgroup {
    enum mem_cgroup_version version;
    int fds[FD_COUNT]; /* -1: there is none */
    uint64_t pod_limit;
};

int mem_cgroup_parse_fds(const char *text, int *ret, size_t max, size_t *ret_n, struct err *err)
{
    *ret_n = 0;
    for (const char *p = text; p; p = *p ? p + 1 : NULL) {
        size_t len = strcspn(p, ",");
        _cleanup_(freep) char *word = mem_dup_n(p, len);
        uint64_t fd;
        if (parse_u64(word, 3, INT32_MAX, &fd, NULL) < 0 || *ret_n == max)
            return err_set(err, ERR_INVALID, "%s is no list of at most %zu descriptors", text, max);
        ret[(*ret_n)++] = (int)fd;
        p += len;
        if (*p == '\0')
            break;
    }
    return 0;
}

uint64_t mem_cgroup_field(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return strtoull(line + len + 1, NULL, 10);
    }
    return 0;
}

/* The text of a file, as far as it fits; "" when it cannot be read. */
static const char *read_all(int fd, char *out, size_t size)
{
    ssize_t n = fd < 0 ? -1 : pread(fd, out, size - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    return out;
}

static uint64_t read_number(int fd)
{
    char text[32];
    return strtoull(read_all(fd, text, sizeof(text)), NULL, 10);
}

static struct mem_cgroup *new_empty(enum mem_cgroup_version version)
{
    struct mem_cgroup *m = MEM_NEW(struct mem_cgroup);
    m->version = version;
    for (size_t i = 0; i < FD_COUNT; i++)
        m->fds[i] = -1;
    return m;
}

int mem_cgroup_new(struct mem_cgroup **ret, const char *version, const char *fds, struct err *err)
{
    bool v1 = version && strcmp(version, "v1") == 0;
    if (!v1 && (!version || strcmp(version, "v2") != 0))
        return err_set(err, ERR_INVALID, "--cgroup is v1 or v2");
    if (!fds)
        return err_set(err, ERR_INVALID, "--cgroup needs --cgroup-read-fds");
    _cleanup_(mem_cgroup_freep) struct mem_cgroup *m =
        new_empty(v1 ? MEM_CGROUP_V1 : MEM_CGROUP_V2);
    int list[FD_COUNT];
    size_t n = 0, want = v1 ? FD_COUNT : FD_TCP;
    int r = mem_cgroup_parse_fds(fds, list, ARRAY_LEN(list), &n, err);
    if (r < 0)
        return err_wrap(err, "--cgroup-read-fds");
    if (n != want)
        return err_set(err, ERR_INVALID, "--cgroup-read-fds: %zu descriptors are wanted", want);
    for (size_t i = 0; i < n; i++)
        if (fcntl(list[i], F_SETFD, FD_CLOEXEC) < 0)
            return err_errno(err, "--cgroup-read-fds: %d", list[i]);
    memcpy(m->fds, list, n * sizeof(*list));
    *ret = TAKE_PTR(m);
    return 0;
}

static int open_below(const char *top, const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", top, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t limit_below(const char *top, const char *name)
{
    _cleanup_(closep) int fd = open_below(top, name);
    uint64_t n = read_number(fd); /* "max" is 0 */
    return n < NO_LIMIT ? n : 0;
}

struct mem_cgroup *mem_cgroup_of_pod(const char *top)
{
    static const struct {
        enum mem_cgroup_version version;
        const char *limit, *used, *stat, *events, *tcp;
    } trees[] = {
        {MEM_CGROUP_V2, "memory.max", "memory.current", "memory.stat", "memory.events", NULL},
        {MEM_CGROUP_V1, "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes",
         "memory/memory.stat", "memory/memory.oom_control",
         "memory/memory.kmem.tcp.usage_in_bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
        uint64_t limit = limit_below(top, trees[i].limit);
        if (limit == 0)
            continue;
        _cleanup_(mem_cgroup_freep) struct mem_cgroup *m = new_empty(trees[i].version);
        m->pod_limit = limit;
        m->fds[FD_USED] = open_below(top, trees[i].used);
        m->fds[FD_STAT] = open_below(top, trees[i].stat);
        m->fds[FD_EVENTS] = open_below(top, trees[i].events);
        if (trees[i].tcp)
            m->fds[FD_TCP] = open_below(top, trees[i].tcp);
        if (m->fds[FD_USED] >= 0 && m->fds[FD_STAT] >= 0)
            return TAKE_PTR(m);
    }
    return NULL;
}

struct mem_cgroup *mem_cgroup_free(struct mem_cgroup *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < FD_COUNT; i++)
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    free(m);
    return NULL;
}

uint64_t mem_cgroup_used(const struct mem_cgroup *m)
{
    return read_number(m->fds[FD_USED]) + (m->fds[FD_TCP] < 0 ? 0 : read_number(m->fds[FD_TCP]));
}

/*
 * A file's page is charged to whoever wrote it first. What the runner wrote (uploads) is in its own
 * cgroup, so only the rest of the files can be in this one, and no more than its shared memory.
 */
uint64_t mem_cgroup_not_held(const struct mem_cgroup *m, uint64_t files_bytes)
{
    char text[STAT_BYTES], runner_text[STAT_BYTES];
    read_all(m->fds[FD_STAT], text, sizeof(text));
    read_all(m->fds[FD_RUNNER_STAT], runner_text, sizeof(runner_text));
    uint64_t cache =
        mem_cgroup_field(text, "inactive_file") + mem_cgroup_field(text, "active_file");
    uint64_t shared = mem_cgroup_field(text, "shmem");
    uint64_t runners = mem_cgroup_field(runner_text, "shmem");
    return cache + MIN(shared, files_bytes - MIN(files_bytes, runners));
}

uint64_t mem_cgroup_oom_kills(const struct mem_cgroup *m)
{
    char text[STAT_BYTES];
    return mem_cgroup_field(read_all(m->fds[FD_EVENTS], text, sizeof(text)), "oom_kill");
}

uint64_t mem_cgroup_limit(const struct mem_cgroup *m)
{
    return m->pod_limit;
}

const char *mem_cgroup_name(const struct mem_cgroup *m)
{
    if (m->pod_limit)
        return m->version == MEM_CGROUP_V1 ? "pod's cgroup v1" : "pod's cgroup v2";
    return m->version == MEM_CGROUP_V1 ? "cgroup v1" : "cgroup v2";
}
