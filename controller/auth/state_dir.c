/*
 * Why: everything a controller must find again after a crash is here: the key that tokens derive
 * from, and the sockets of the sandboxes it left running. The lock (flock: it ends with the
 * process, however that ends) keeps two controllers from sharing one directory.
 *
 * The runtime directory is apart because an AF_UNIX path ends at 107 bytes: its name is eight hex
 * digits of a hash of the state directory's path, below a place that only we can write.
 */
#include "controller/auth/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#define RUNTIME_MAX 60

struct state_dir {
    char *path;
    char *runtime;
    char *token_file;
    int lock_fd;
    uint8_t key[CRYPTO_KEY_SIZE];
};

static char *default_path(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (geteuid() == 0)
        return mem_dup_str("/var/lib/caesarion");
    if (state && state[0] == '/')
        return mem_printf("%s/caesarion", state);
    if (home && home[0] == '/')
        return mem_printf("%s/.local/state/caesarion", home);
    return NULL;
}

/* mkdir -p with 0700 for what is missing. */
static int make_path(const char *path, struct err *err)
{
    _cleanup_(freep) char *p = mem_dup_str(path);

    for (char *s = p + 1;; s++) {
        if (*s != '/' && *s != 0)
            continue;
        char c = *s;
        *s = 0;
        if (mkdir(p, 0700) < 0 && errno != EEXIST)
            return err_errno(err, "cannot make the directory %s", p);
        *s = c;
        if (c == 0)
            return 0;
    }
}

/* Nothing in it, or our lock: a directory that was given to us and may be made private. */
static bool is_ours(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct dirent *e;
    bool empty = true;

    if (fd < 0)
        return false;
    _cleanup_(closedirp) DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return false;
    }
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, "lock") == 0)
            return true;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            empty = false;
    }
    return empty;
}

/*
 * A directory of ours that nobody else may enter. The mode is put right where it is too open, but
 * not on a directory that is plainly something else (--state-dir /etc).
 */
static int check_private(const char *path, bool named_by_us, struct err *err)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, "cannot open the directory %s", path);
    if (st.st_uid != geteuid())
        return err_set(err, ERR_FORBIDDEN, "the directory %s belongs to another user (uid %u)",
                       path, (unsigned)st.st_uid);
    if ((st.st_mode & 077) != 0 && !named_by_us && !is_ours(fd))
        return err_set(err, ERR_FORBIDDEN,
                       "the directory %s is open to others (mode %04o) and holds other things; "
                       "give one of its own",
                       path, (unsigned)st.st_mode & 07777);
    if ((st.st_mode & 077) != 0 && fchmod(fd, 0700) < 0)
        return err_errno(err, "cannot make the directory %s private", path);
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return err_errno(err, "cannot write to the directory %s", path);
    return 0;
}

static int take_lock(struct state_dir *s, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/lock", s->path);
    char pid[32];

    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return err_errno(err, "cannot open %s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(err, "cannot lock %s", path);
        ssize_t n = pread(s->lock_fd, pid, sizeof(pid) - 1, 0);
        pid[n > 0 ? n : 0] = 0;
        pid[strspn(pid, "0123456789")] = 0;
        return err_set(err, ERR_CONFLICT,
                       "the state directory %s is in use by another controller (pid %s); stop it, "
                       "or give --state-dir another directory",
                       s->path, pid[0] ? pid : "unknown");
    }
    int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, (size_t)len, 0) != len)
        return err_errno(err, "cannot write %s", path);
    return 0;
}

static int load_key(struct state_dir *s, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/key", s->path);
    char *data = NULL;
    size_t len = 0;

    if (access(path, F_OK) < 0 && errno == ENOENT) {
        crypto_random(s->key, sizeof(s->key));
        return secret_file_create(path, s->key, sizeof(s->key), err);
    }
    int r = secret_file_read(path, sizeof(s->key), &data, &len, err);
    if (r < 0)
        return r;
    if (len == sizeof(s->key))
        memcpy(s->key, data, len);
    explicit_bzero(data, len);
    free(data);
    if (len != sizeof(s->key))
        return err_set(err, ERR_INVALID,
                       "%s is damaged (%zu bytes instead of %zu); sandboxes left by an earlier "
                       "controller cannot be used without it: remove the file to make a new key",
                       path, len, sizeof(s->key));
    return 0;
}

static int make_runtime(struct state_dir *s, struct err *err)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    char hash[CRYPTO_HEX_SIZE];
    _cleanup_(freep) char *parent = NULL;

    crypto_sha256_hex(s->path, strlen(s->path), hash);
    if (geteuid() == 0)
        parent = mem_dup_str("/run/caesarion");
    else if (xdg && xdg[0] == '/' && strlen(xdg) + strlen("/caesarion/12345678") <= RUNTIME_MAX)
        parent = mem_printf("%s/caesarion", xdg);
    else
        parent = mem_printf("/tmp/caesarion-%u", (unsigned)geteuid());
    if (make_path(parent, err) < 0)
        return err_wrap(err, "runtime directory");
    if (check_private(parent, /* named_by_us= */ true, err) < 0)
        return err_wrap(err, "runtime directory");
    s->runtime = mem_printf("%s/%.8s", parent, hash);
    if (mkdir(s->runtime, 0700) < 0 && errno != EEXIST)
        return err_errno(err, "runtime directory: cannot make %s", s->runtime);
    if (check_private(s->runtime, /* named_by_us= */ true, err) < 0)
        return err_wrap(err, "runtime directory");
    return 0;
}

int state_dir_open(struct state_dir **ret, const char *path, struct err *err)
{
    _cleanup_(state_dir_closep) struct state_dir *s = MEM_NEW(struct state_dir);
    _cleanup_(freep) char *def = path && path[0] ? mem_dup_str(path) : default_path();

    s->lock_fd = -1;
    if (!def)
        return err_set(err, ERR_INVALID,
                       "neither XDG_STATE_HOME nor HOME is set: give --state-dir a directory");
    if (def[0] != '/') {
        _cleanup_(freep) char *cwd = realpath(".", NULL);
        char *abs = mem_printf("%s/%s", cwd ? cwd : "", def);
        free(def);
        def = abs;
    }
    if (make_path(def, err) < 0)
        return err_wrap(err, "state directory");
    s->path = realpath(def, NULL); /* one directory, one name: the runtime directory hangs on it */
    if (!s->path)
        return err_errno(err, "state directory: %s", def);
    if (check_private(s->path, /* named_by_us= */ false, err) < 0)
        return err_wrap(err, "state directory");
    int r = take_lock(s, err);
    if (r == 0)
        r = load_key(s, err);
    if (r < 0)
        return r;
    s->token_file = mem_printf("%s/token", s->path);
    r = make_runtime(s, err);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(s);
    return 0;
}

struct state_dir *state_dir_close(struct state_dir *s)
{
    if (!s)
        return NULL;
    if (s->runtime)
        rmdir(s->runtime); /* stays when sandboxes do */
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    explicit_bzero(s->key, sizeof(s->key));
    free(s->token_file);
    free(s->runtime);
    free(s->path);
    free(s);
    return NULL;
}

const char *state_dir_path(const struct state_dir *s)
{
    return s->path;
}

const char *state_dir_token_file(const struct state_dir *s)
{
    return s->token_file;
}

const char *state_dir_runtime(const struct state_dir *s)
{
    return s->runtime;
}

const uint8_t *state_dir_key(const struct state_dir *s)
{
    return s->key;
}
