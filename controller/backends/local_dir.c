/*
 * Order: the folder is made before the socket and goes after it, so that whatever a crash leaves is
 * found by its folder. Nothing of a sandbox is trusted here: meta.json and the log lie in a 0700
 * folder of the controller; spill/ and files/ are only ever removed.
 */
#include "controller/backends/local_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/beneath.h"
#include "lib/base/cleanup.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/base/tree.h"
#include "lib/base/utf8.h"
#include "lib/base/write_all.h"
#include "lib/json/jsonx.h"

#define META_VERSION 1
#define META_MAX     4096

void local_dir_init(struct local_dir *d, const char *state_dir, const char *runtime_dir,
                    const char *id)
{
    const char *uuid = id + strlen("sb-");

    d->path = mem_printf("%s/sandboxes/%s", state_dir, id);
    d->socket = mem_printf("%s/%s.sock", runtime_dir, uuid);
    /* 23 of 36 characters: kernels add "/k-XXXXXX/k-1", and sun_path ends at 107. */
    d->run = mem_printf("%s/%.23s.r", runtime_dir, uuid);
}

void local_dir_done(struct local_dir *d)
{
    free(d->path);
    free(d->socket);
    free(d->run);
    *d = (struct local_dir){0};
}

static int make_folder(const char *path, uid_t owner, struct err *err)
{
    if (mkdir(path, 0700) < 0)
        return err_errno(err, "cannot make %s", path);
    if (owner != geteuid() && chown(path, owner, owner) < 0)
        return err_errno(err, "cannot give %s to the sandbox", path);
    return 0;
}

static int write_meta(const struct local_dir *d, const struct local_meta *meta, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/meta.json", d->path);
    char at[CLK_RFC3339_SIZE];

    _cleanup_(freep) char *text = mem_printf(
        "{\"version\":%d,\"uid\":%u,\"isolation\":\"%s\",\"created_at\":\"%s\"}\n", META_VERSION,
        (unsigned)meta->uid, meta->isolated ? "bwrap" : "none", clk_rfc3339(clk_wall_us(), at));
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "cannot make %s", path);
    if (write_all(fd, slice_str(text)) < 0)
        return err_errno(err, "cannot write %s", path);
    return 0;
}

int local_dir_make(const struct local_dir *d, const struct local_meta *meta, struct err *err)
{
    _cleanup_(freep) char *spill = mem_printf("%s/spill", d->path);
    _cleanup_(freep) char *files = mem_printf("%s/files", d->path);

    int r = make_folder(d->path, geteuid(), err);
    if (r == 0)
        r = write_meta(d, meta, err);
    if (r == 0)
        r = make_folder(spill, meta->uid, err);
    if (r == 0 && !meta->isolated)
        r = make_folder(files, meta->uid, err);
    if (r == 0 && !meta->isolated)
        r = make_folder(d->run, meta->uid, err);
    return r;
}

int local_dir_read_meta(const struct local_dir *d, struct local_meta *ret, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/meta.json", d->path);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_(json_decrefp) json_t *json = NULL;
    const char *isolation = "";
    char text[META_MAX];
    int64_t uid = -1;

    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (n < 0)
        return err_errno(err, "%s", path);
    int r = jsonx_parse(&json, slice_make(text, (size_t)n), err);
    if (r == 0)
        r = jsonx_get_int(json, "uid", 0, UINT32_MAX - 1, &uid, err);
    if (r == 0)
        r = jsonx_get_string(json, "isolation", 16, &isolation, err);
    if (r == 0 && uid < 0)
        r = err_set(err, ERR_INVALID, "no uid");
    if (r < 0)
        return err_wrap(err, "%s", path);
    *ret = (struct local_meta){.uid = (uid_t)uid, .isolated = strcmp(isolation, "none") != 0};
    return 0;
}

static int open_log(const struct local_dir *d, int flags)
{
    _cleanup_(freep) char *path = mem_printf("%s/runner.log", d->path);

    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int local_dir_open_log(const struct local_dir *d, int *ret_fd, struct err *err)
{
    _cleanup_(closep) int fd = open_log(d, O_RDWR | O_APPEND | O_CREAT);

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_errno(err, "cannot open %s/runner.log", d->path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

bool local_dir_is_held(const struct local_dir *d)
{
    _cleanup_(closep) int fd = open_log(d, O_RDWR);
    struct stat st;

    if (fd < 0)
        return false;
    /* The runner appends, so it may be cut under its hands. */
    if (fstat(fd, &st) == 0 && st.st_size > (off_t)LOCAL_LOG_MAX && ftruncate(fd, 0) < 0)
        return true;
    return flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

void local_dir_words(const struct local_dir *d, char out[LOCAL_WORDS_MAX + 1])
{
    _cleanup_(closep) int fd = open_log(d, O_RDONLY);
    char raw[LOCAL_WORDS_MAX];
    size_t used = 0;
    struct stat st;

    out[0] = '\0';
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    ssize_t n = pread(fd, raw, sizeof(raw), MAX(st.st_size - (off_t)sizeof(raw), 0));
    for (size_t i = 0; n > 0 && i < (size_t)n;) {
        size_t len = utf8_char_len(raw + i, (size_t)n - i);
        if (len > 0 && raw[i] != '\0')
            memcpy(out + used, raw + i, len);
        else
            out[used] = '?';
        used += MAX(len, 1U);
        i += MAX(len, 1U);
    }
    while (used > 0 && (out[used - 1] == '\n' || out[used - 1] == ' '))
        used--;
    out[used] = '\0';
}

int local_dir_bind(const struct local_dir *d, int *ret_fd, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(d->socket);

    if (len >= sizeof(addr.sun_path))
        return err_set(err, ERR_INVALID, "the runtime directory's path is too long for %s",
                       d->socket);
    memcpy(addr.sun_path, d->socket, len + 1);
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, "socket");
    /* The mode of the file is that of the descriptor: nobody else may connect. */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return err_errno(err, "the runtime directory is not writable: cannot make %s", d->socket);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int remove_at(const char *path)
{
    _cleanup_(freep) char *parent = mem_dup_str(path);
    char *slash = strrchr(parent, '/');
    *slash = '\0';
    /* The folders above are ours alone; what stands at `path` may be anything by now. */
    _cleanup_(closep) int fd = beneath_open_named(parent, O_PATH | O_DIRECTORY);
    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    return tree_remove(fd, slash + 1);
}

int local_dir_remove(const struct local_dir *d)
{
    int failed = 0;

    if (unlink(d->socket) < 0 && errno != ENOENT)
        failed = errno;
    int run = remove_at(d->run);
    int folder = remove_at(d->path);
    if (failed == 0)
        failed = run ? run : folder;
    return failed;
}
