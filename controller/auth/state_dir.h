#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdint.h>

/*
 * The controller's own directory (0700): `key` (32 bytes, 0600) that sandbox tokens derive from,
 * `token`, `lock`. And a short directory for sockets that belongs to it, whose name derives from
 * the state directory's, so that the next controller finds it.
 */
struct state_dir;

/* path NULL: the default. Makes what is missing, takes the lock, reads or makes the key. */
int state_dir_open(struct state_dir **ret, const char *path, struct err *err);
struct state_dir *state_dir_close(struct state_dir *s); /* releases the lock; NULL ok */
const char *state_dir_path(const struct state_dir *s);  /* absolute */
const char *state_dir_token_file(const struct state_dir *s);
const char *state_dir_runtime(const struct state_dir *s); /* absolute, at most 60 bytes */
const uint8_t *state_dir_key(const struct state_dir *s);  /* 32 bytes */

/* Reads a small file that only we may read (0600), or makes it with `len` bytes. */
int secret_file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);
int secret_file_create(const char *path, const void *data, size_t len, struct err *err);

DEFINE_CLEANUP(struct state_dir *, state_dir_close)
