#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * A new file that takes its name only at the end: bytes go to a hidden file beside the target. A
 * reader sees the old file or the new one, and what is not committed leaves nothing behind, neither
 * bytes nor the folders it made. Blocks, on any thread, one at a time.
 *
 *     init → set the first five → open → write … → commit → done
 */
struct file_temp {
    const char *root_path, *path; /* borrowed until done */
    uint64_t max_bytes;           /* what all files together may take */
    bool make_folders;            /* those that are missing; else ERR_NOT_FOUND */
    bool in_folder;               /* path is the folder's; the name comes with commit_new() */

    /* read only */
    uint64_t room, written;
    int folder_fd;    /* of the target; the folder may be moved meanwhile */
    const char *name; /* last part of path */
    /* private */
    int root_fd, fd;
    size_t made; /* see file_make_parent() */
    char temp[64];
    bool committed;
};

void file_temp_init(struct file_temp *t);
/*
 * `length` < 0: not known. ERR_INVALID (path), ERR_CONFLICT (a folder or something that is no file
 * stands there), ERR_FORBIDDEN, ERR_NO_SPACE.
 */
int file_temp_open(struct file_temp *t, int64_t length, struct err *err);
/* All of it or an error, after which only file_temp_done() makes sense. */
int file_temp_write(struct file_temp *t, const void *data, size_t len, struct err *err);
/* Gives it the permissions of the regular file that it will replace, if there is one. */
int file_temp_keep_mode(struct file_temp *t, struct err *err);
/* *ret_created: there was no such file before. *ret_stat is of the new file. */
int file_temp_commit(struct file_temp *t, bool *ret_created, struct stat *ret_stat,
                     struct err *err);
/* Expected outcome of file_temp_commit_new(): it can be tried with another name. */
enum { FILE_TEMP_TAKEN = 1 };
/* Gives it a name of its folder that must be free. */
int file_temp_commit_new(struct file_temp *t, const char *name, struct err *err);
/* Takes back what is not committed. */
void file_temp_done(struct file_temp *t);

static inline void file_temp_donep(struct file_temp *t)
{
    file_temp_done(t);
}
