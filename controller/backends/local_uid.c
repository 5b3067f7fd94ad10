/*
 * 1,900,000,000 and up belongs to nobody: above the ranges of subordinate ids that distributions
 * hand out and of systemd's containers (they end at 1,879,048,191), below 2^31. A container often
 * maps 65,536 ids only; then systemd's range for ids made up for the moment serves. Two controllers
 * on one host do not know of each other, hence the random start and the look at who runs.
 */
#include "controller/backends/local_uid.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

#define WINDOW_MIN  16U
#define RUNNING_MAX 1024

static const struct local_uid_window windows[] = {
    {1900000000U, 100000U},
    {61184U, 4335U},
};

static struct local_uid_window overlap(struct local_uid_window a, struct local_uid_window b)
{
    uint64_t first = MAX(a.first, b.first);
    uint64_t end = MIN((uint64_t)a.first + a.count, (uint64_t)b.first + b.count);

    if (end <= first)
        return (struct local_uid_window){0, 0};
    return (struct local_uid_window){(uint32_t)first, (uint32_t)(end - first)};
}

int local_uid_parse(struct local_uid_window *ret, const char *uid_map, struct err *err)
{
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        const char *line = uid_map;
        while (line && *line) {
            struct local_uid_window mapped = {0, 0};
            unsigned outside;
            if (sscanf(line, "%u %u %u", &mapped.first, &outside, &mapped.count) == 3) {
                struct local_uid_window w = overlap(windows[i], mapped);
                if (w.count >= WINDOW_MIN) {
                    *ret = w;
                    return 0;
                }
            }
            line = strchr(line, '\n');
            line = line ? line + 1 : NULL;
        }
    }
    return err_set(
        err, ERR_UNAVAILABLE,
        "no user ids for sandboxes: as root the controller gives each sandbox one of its "
        "own, from 61184-65518 or above, and /proc/self/uid_map does not map them; start "
        "it as an ordinary user, or with --isolation none, which does not isolate");
}

static int read_map(const char *path, char *out, size_t size, struct err *err)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    if (n < 0)
        return err_errno(err, "%s", path);
    out[n] = '\0';
    return 0;
}

int local_uid_window(struct local_uid_window *ret, struct err *err)
{
    struct local_uid_window uids = {0, 0}, gids = {0, 0};
    char map[4096];

    int r = read_map("/proc/self/uid_map", map, sizeof(map), err);
    if (r == 0)
        r = local_uid_parse(&uids, map, err);
    if (r == 0)
        r = read_map("/proc/self/gid_map", map, sizeof(map), err);
    if (r == 0)
        r = local_uid_parse(&gids, map, err);
    if (r < 0)
        return r;
    *ret = overlap(uids, gids);
    if (ret->count < WINDOW_MIN)
        return err_set(err, ERR_UNAVAILABLE,
                       "no user ids for sandboxes: /proc/self/uid_map and gid_map differ");
    return 0;
}

/* The ids within the window that processes have now. */
static size_t running(uid_t *out, size_t max, const struct local_uid_window *w)
{
    _cleanup_(closedirp) DIR *proc = opendir("/proc");
    const struct dirent *e;
    size_t n = 0;

    while (proc && n < max && (e = readdir(proc))) {
        struct stat st;
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        if (fstatat(dirfd(proc), e->d_name, &st, 0) == 0 && st.st_uid >= w->first &&
            st.st_uid - w->first < w->count)
            out[n++] = st.st_uid;
    }
    return n;
}

int local_uid_pick(uid_t *ret, const struct local_uid_window *w, uint32_t seed,
                   bool (*taken)(void *ctx, uid_t uid), void *ctx, struct err *err)
{
    uid_t now[RUNNING_MAX];
    size_t n = running(now, sizeof(now) / sizeof(now[0]), w);

    for (uint32_t i = 0; i < w->count; i++) {
        uid_t uid = w->first + (uint32_t)(((uint64_t)seed + i) % w->count);
        bool used = taken(ctx, uid);
        for (size_t k = 0; k < n && !used; k++)
            used = now[k] == uid;
        if (!used) {
            *ret = uid;
            return 0;
        }
    }
    return err_set(err, ERR_LIMIT, "every user id for sandboxes is in use");
}
