/* The private directory of a kernel process; hostile code with our uid may have been at its parent.
 */
#include "kernel-runner/kernel/kernel_dir.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#define SOCKET_PATH_MAX 100 /* sun_path is 108; "/k-1" is added */

/* Makes sure that `path` is a directory of ours with mode 0700, whatever stands there. */
static int ensure_dir(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0 && (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()))
        unlink(path);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_errno(err, "runtime directory %s cannot be made", path);
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INTERNAL, "runtime directory %s is not a directory", path);
    if ((st.st_mode & 0777) != 0700 && chmod(path, 0700) < 0)
        return err_errno(err, "runtime directory %s", path);
    return 0;
}

int kernel_dir_make(const char *run_dir, char **ret_path, struct err *err)
{
    int r = ensure_dir(run_dir, err);
    if (r < 0)
        return r;
    _cleanup_(freep) char *path = mem_printf("%s/k-XXXXXX", run_dir);
    if (strlen(path) > SOCKET_PATH_MAX)
        return err_set(err, ERR_INVALID,
                       "runtime directory %s is too long for a socket's path (at most %d bytes)",
                       run_dir, SOCKET_PATH_MAX - 9);
    if (!mkdtemp(path))
        return err_errno(err, "runtime directory %s is not writable", run_dir);
    *ret_path = TAKE_PTR(path);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_DP || type == FTW_D || type == FTW_DNR)
        rmdir(path);
    else
        unlink(path);
    return 0;
}

void kernel_dir_remove(const char *path)
{
    if (path)
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
