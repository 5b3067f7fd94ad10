#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
struct file_root;

/*
 * One upload: bytes go to a hidden file beside the target, which takes the target's name at the
 * end. A reader sees the old file or the new one, and what is not committed leaves nothing behind,
 * neither bytes nor the folders it made.
 *
 *     file_put_start → on_ready → file_put_write … → file_put_commit → file_put_free
 *
 * Writes go through write(2) on the loop's thread: into the page cache, at most FILE_PUT_CHUNK
 * bytes a call, which is some tens of microseconds.
 */
struct file_put;

#define FILE_PUT_CHUNK KIB(256)

/*
 * Makes missing folders and measures, on the thread pool, what room there is. `length` < 0: not
 * known. on_ready comes once, with an error or NULL, unless the upload is freed before.
 * ERR_INVALID (path), ERR_CONFLICT (a folder or something that is no file stands there),
 * ERR_FORBIDDEN, ERR_NO_SPACE.
 */
int file_put_start(struct file_put **ret, const struct file_root *root, const char *path,
                   int64_t length, void (*on_ready)(void *ctx, const struct err *err), void *ctx,
                   struct err *err);
/* All of it or an error, after which only file_put_free() makes sense. len ≤ FILE_PUT_CHUNK. */
int file_put_write(struct file_put *p, const void *data, size_t len, struct err *err);
/* *ret_created: there was no such file before. *ret_stat is of the new file. */
int file_put_commit(struct file_put *p, bool *ret_created, struct stat *ret_stat, struct err *err);
/* Takes back what is not committed. NULL ok; returns NULL. */
struct file_put *file_put_free(struct file_put *p);

DEFINE_CLEANUP(struct file_put *, file_put_free)
