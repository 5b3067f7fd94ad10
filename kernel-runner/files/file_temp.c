/*
 * O_TMPFILE has no way to replace a file, so the bytes wait under a hidden random name in the
 * target's folder. The folder is held by descriptor from the check to the rename: user code may
 * move it meanwhile, but cannot make us write elsewhere.
 */
#include "kernel-runner/files/file_temp.h"

#include "kernel-runner/files/file_root.h"
#include "kernel-runner/files/file_usage.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void file_temp_init(struct file_temp *t)
{
    *t = (struct file_temp){.root_fd = -1, .folder_fd = -1, .fd = -1};
}

static int check_target(const struct file_temp *t, struct err *err)
{
    struct stat st;
    if (strncmp(t->name, FILE_UPLOAD_PREFIX, strlen(FILE_UPLOAD_PREFIX)) == 0)
        return err_field(err, "path", "names that begin with " FILE_UPLOAD_PREFIX " are reserved");
    if (fstatat(t->folder_fd, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_errno(err, "cannot look at the file");
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_CONFLICT, "it is a directory");
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return err_set(err, ERR_CONFLICT, "it is not a regular file");
    return 0;
}

static int make_temp(struct file_temp *t, struct err *err)
{
    for (int i = 0; i < 8; i++) {
        uint64_t random = 0;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return err_errno(err, "no randomness");
        snprintf(t->temp, sizeof(t->temp), FILE_UPLOAD_PREFIX "%016llx",
                 (unsigned long long)random);
        t->fd = openat(t->folder_fd, t->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       0644);
        if (t->fd >= 0 || errno != EEXIST)
            break;
    }
    if (t->fd < 0) {
        t->temp[0] = '\0';
        return err_errno(err, "cannot make a file");
    }
    return 0;
}

static int prepare(struct file_temp *t, int64_t length, struct err *err)
{
    int r = file_root_open_dir(t->root_path, &t->root_fd, err);
    if (r < 0)
        return r;
    t->room = file_room(t->root_fd, t->max_bytes);
    if (length > 0 && (uint64_t)length > t->room)
        return file_no_space(t->max_bytes, t->room, err);
    if (t->in_folder)
        r = file_open_beneath(t->root_fd, t->path, O_PATH | O_DIRECTORY, &t->folder_fd, err);
    else if (t->make_folders)
        r = file_make_parent(t->root_fd, t->path, &t->folder_fd, &t->name, &t->made, err);
    else
        r = file_open_parent(t->root_fd, t->path, &t->folder_fd, &t->name, err);
    if (r == 0 && !t->in_folder)
        r = check_target(t, err);
    return r == 0 ? make_temp(t, err) : r;
}

int file_temp_open(struct file_temp *t, int64_t length, struct err *err)
{
    int r = prepare(t, length, err);
    if (!t->made && t->root_fd >= 0) /* only needed to take folders back */
        close(TAKE_FD(t->root_fd));
    return r;
}

int file_temp_write(struct file_temp *t, const void *data, size_t len, struct err *err)
{
    assert(t->fd >= 0);
    if (len > t->room - t->written)
        return file_no_space(t->max_bytes, t->room, err);
    const char *next = data;
    while (len > 0) {
        ssize_t n = write(t->fd, next, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot write the file");
        next += n;
        len -= (size_t)n;
        t->written += (size_t)n;
    }
    return 0;
}

int file_temp_keep_mode(struct file_temp *t, struct err *err)
{
    struct stat st;
    if (fstatat(t->folder_fd, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    if (fchmod(t->fd, st.st_mode & 0777) < 0)
        return err_errno(err, "cannot set the permissions of the file");
    return 0;
}

/* First without replacing, so that of two uploads at once only one says it made the file. */
static int rename_temp(const struct file_temp *t, bool *ret_created)
{
    *ret_created = true;
    if (renameat2(t->folder_fd, t->temp, t->folder_fd, t->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) { /* a file system that cannot */
        struct stat st;
        *ret_created = fstatat(t->folder_fd, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0;
    } else if (errno == EEXIST) {
        *ret_created = false;
    } else {
        return -1;
    }
    return renameat(t->folder_fd, t->temp, t->folder_fd, t->name);
}

static int not_placed(struct err *err)
{
    if (errno == ENOENT)
        return err_set(err, ERR_CONFLICT, "the folder was removed during the upload");
    return err_errno(err, "cannot put the file in its place");
}

int file_temp_commit(struct file_temp *t, bool *ret_created, struct stat *ret_stat, struct err *err)
{
    assert(t->fd >= 0 && !t->committed && !t->in_folder);
    /* Some file systems report a lost write only here. */
    if (fstat(t->fd, ret_stat) < 0 || close(TAKE_FD(t->fd)) < 0)
        return err_errno(err, "cannot write the file");
    if (rename_temp(t, ret_created) < 0)
        return not_placed(err);
    t->committed = true;
    return 0;
}

/* linkat() stands in where renameat2() cannot: it never replaces. */
static int rename_new(const struct file_temp *t, const char *name)
{
    if (renameat2(t->folder_fd, t->temp, t->folder_fd, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (linkat(t->folder_fd, t->temp, t->folder_fd, name, 0) < 0)
        return -1;
    unlinkat(t->folder_fd, t->temp, 0);
    return 0;
}

int file_temp_commit_new(struct file_temp *t, const char *name, struct err *err)
{
    assert(!t->committed);
    if (t->fd >= 0 && close(TAKE_FD(t->fd)) < 0)
        return err_errno(err, "cannot write the file");
    if (rename_new(t, name) < 0)
        return errno == EEXIST ? FILE_TEMP_TAKEN : not_placed(err);
    t->committed = true;
    return 0;
}

void file_temp_done(struct file_temp *t)
{
    if (!t->committed && t->temp[0])
        unlinkat(t->folder_fd, t->temp, 0);
    if (!t->committed && t->made)
        file_remove_made(t->root_fd, t->path, t->made);
    closep(&t->fd);
    closep(&t->folder_fd);
    closep(&t->root_fd);
}
