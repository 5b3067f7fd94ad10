/*
 * Why: bubblewrap runs as the sandbox's own user id, which cannot pass a 0700 folder such as /root.
 * So the child opens each tree while it is still root, in a mount namespace of its own, and binds
 * it below a small tmpfs over /tmp (which exists everywhere, and any id may enter); bubblewrap then
 * binds it from there to where it belongs. Trees below /tmp are safe: they are open by then.
 *
 * The namespace is a slave of the host's, so that nothing here shows outside and unmounts of the
 * host still reach us: a sandbox pins no disk.
 */
#include "controller/backends/local_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* snprintf is not async-signal-safe. */
static void put_number(char *out, size_t n)
{
    char digits[24];
    size_t len = 0;

    do {
        digits[len++] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    while (len > 0)
        *out++ = digits[--len];
    *out = '\0';
}

void local_stage_path(size_t i, char out[LOCAL_STAGE_PATH])
{
    static const char prefix[] = LOCAL_STAGE_DIR "/";

    memcpy(out, prefix, sizeof(prefix));
    put_number(out + sizeof(prefix) - 1, i % 1000000);
}

static int bind_one(int fd, const char *target)
{
    char link[64] = "/proc/self/fd/";
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -1;
    if (S_ISDIR(st.st_mode)) {
        if (mkdir(target, 0755) < 0)
            return -1;
    } else {
        int file = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        if (file < 0)
            return -1;
        close(file);
    }
    put_number(link + strlen(link), (size_t)fd);
    return mount(link, target, NULL, MS_BIND | MS_REC, NULL);
}

static int enter_ids(uid_t id)
{
    /* Raw calls: glibc's would first ask every thread, and here there are none. */
    if (syscall(SYS_setgroups, (size_t)0, NULL) < 0 || syscall(SYS_setresgid, id, id, id) < 0 ||
        syscall(SYS_setresuid, id, id, id) < 0)
        return -1;
    return 0;
}

int local_stage_enter(const struct local_stage *s, size_t *ret_source)
{
    char target[LOCAL_STAGE_PATH];

    *ret_source = 0;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return LOCAL_STAGE_NAMESPACE;
    /* Opened after the unshare: a descriptor of the old namespace cannot be bound (EINVAL). */
    for (size_t i = 0; i < s->n_sources; i++) {
        *ret_source = i;
        s->fds[i] = open(s->sources[i], O_PATH | O_CLOEXEC);
        if (s->fds[i] < 0)
            return LOCAL_STAGE_SOURCE;
    }
    if (mount("stage", LOCAL_STAGE_DIR, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0755") < 0)
        return LOCAL_STAGE_MOUNT;
    for (size_t i = 0; i < s->n_sources; i++) {
        *ret_source = i;
        local_stage_path(i, target);
        if (bind_one(s->fds[i], target) < 0)
            return LOCAL_STAGE_MOUNT;
    }
    return enter_ids(s->uid) < 0 ? LOCAL_STAGE_IDS : 0;
}
