#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdint.h>
#include <sys/stat.h>
struct loop;

/*
 * The directory whose files the API serves; user code works in it too and may do anything to it:
 * delete it, fill it with links, FIFOs and 100,000 files. All paths are decoded, relative, checked
 * with path_check_relative(), and resolved beneath the directory; a link inside that points inside
 * is followed when it is relative, everything else that leads out is forbidden.
 */
struct file_root;

#define FILE_DEPTH_MAX     128 /* folders made by one upload, or descended into by a list */
#define FILE_UPLOAD_PREFIX ".caesarion-upload-" /* names of unfinished uploads; never listed */

/* Makes the directory with its parents. `max_bytes`: what all files together may take. */
int file_root_new(struct file_root **ret, struct loop *loop, const char *path, uint64_t max_bytes,
                  struct err *err);
struct file_root *file_root_free(struct file_root *r); /* NULL ok; jobs under way go on */
const char *file_root_path(const struct file_root *r); /* absolute, without links */
uint64_t file_root_max_bytes(const struct file_root *r);
struct loop *file_root_loop(const struct file_root *r);

/*
 * Opens the directory at the path of a file_root, and makes it again when user code has removed it.
 * ERR_CONFLICT when something else stands there. Any thread.
 */
int file_root_open_dir(const char *root_path, int *ret_fd, struct err *err);

/*
 * Opens `path` beneath `root_fd`; never blocks (also not on a FIFO or a leased file) and never
 * follows a link out. `path` "" is the directory itself. ERR_NOT_FOUND, ERR_FORBIDDEN,
 * ERR_CONFLICT (a socket). Any thread.
 */
int file_open_beneath(int root_fd, const char *path, int flags, int *ret_fd, struct err *err);
/* The folder that holds `path`; *ret_name points at the last part within `path`. */
int file_open_parent(int root_fd, const char *path, int *ret_fd, const char **ret_name,
                     struct err *err);
/*
 * The same, making what folders are missing. *ret_made: length of the first folder's path that was
 * made, 0 when none; for file_remove_made(), which takes back those that are still empty.
 */
int file_make_parent(int root_fd, const char *path, int *ret_fd, const char **ret_name,
                     size_t *ret_made, struct err *err);
void file_remove_made(int root_fd, const char *path, size_t made);

/* Opens a regular file for reading; *ret_stat is of the descriptor. */
int file_open_read(const struct file_root *r, const char *path, int *ret_fd, struct stat *ret_stat,
                   struct err *err);

DEFINE_CLEANUP(struct file_root *, file_root_free)
