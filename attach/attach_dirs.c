#include "attach/attach_dirs.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/write_all.h"
#include "lib/crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

static const char *from_env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static const char *home(void)
{
    const char *dir = from_env("HOME");
    if (dir)
        return dir;
    const struct passwd *user = getpwuid(getuid());
    return user ? user->pw_dir : NULL;
}

/* <the variable's directory>/<name>, or <home>/<fallback>/<name>. */
static int below(char **ret, const char *variable, const char *fallback, const char *name,
                 struct err *err)
{
    const char *dir = from_env(variable);
    if (dir) {
        *ret = mem_printf("%s/%s", dir, name);
        return 0;
    }
    if (!home())
        return err_set(err, ERR_NOT_FOUND, "there is no home directory: set HOME");
    *ret = mem_printf("%s/%s/%s", home(), fallback, name);
    return 0;
}

int attach_data_dir(char **ret, struct err *err)
{
    const char *dir = from_env("JUPYTER_DATA_DIR");
    if (!dir)
        return below(ret, "XDG_DATA_HOME", ".local/share", "jupyter", err);
    *ret = mem_dup_str(dir);
    return 0;
}

int attach_runtime_dir(char **ret, struct err *err)
{
    const char *dir = from_env("JUPYTER_RUNTIME_DIR");
    if (dir) {
        *ret = mem_dup_str(dir);
        return 0;
    }
    _cleanup_(freep) char *data = NULL;
    int r = attach_data_dir(&data, err);
    if (r == 0)
        *ret = mem_printf("%s/runtime", data);
    return r;
}

int attach_config_dir(char **ret, struct err *err)
{
    return below(ret, "XDG_CONFIG_HOME", ".config", "caesarion", err);
}

int attach_make_dirs(const char *path, unsigned mode, struct err *err)
{
    _cleanup_(freep) char *part = mem_dup_str(path);
    for (char *p = part; *p; p++) {
        if (*p != '/' || p == part)
            continue;
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return err_errno(err, "cannot make the directory %s", part);
        *p = '/';
    }
    if (mkdir(part, mode) < 0 && errno != EEXIST)
        return err_errno(err, "cannot make the directory %s", part);
    return 0;
}

int attach_write_file(const char *path, unsigned mode, struct slice data, struct err *err)
{
    char token[CRYPTO_TOKEN_SIZE];
    crypto_new_token(token);
    _cleanup_(freep) char *temporary = mem_printf("%s.%.8s~", path, token);
    _cleanup_(closep) int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(err, "cannot write %s", temporary);
    if (write_all(fd, data) == 0 && fchmod(fd, mode) == 0 && rename(temporary, path) == 0)
        return 0;
    int r = err_errno(err, "cannot write %s", path);
    unlink(temporary);
    return r;
}
