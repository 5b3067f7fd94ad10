#pragma once
#include "kernel-runner/files/file_job.h"

struct file_root;

/*
 * Removes a file, a link (not what it points to) or a folder, on the thread pool. A folder that is
 * not empty only when `recursive`, else ERR_CONFLICT. `done` comes once with an error or NULL,
 * unless the job is detached; the removal goes on in any case.
 */
int file_delete_start(struct file_job **ret, const struct file_root *root, const char *path,
                      bool recursive, void (*done)(void *ctx, const struct err *err), void *ctx,
                      struct err *err);
