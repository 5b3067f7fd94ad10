#pragma once
#include "kernel-runner/files/file_job.h"

struct file_root;

#define FILE_LIST_MAX 1000 /* entries of a page */

struct file_list_query {
    const char *dir;   /* "" or NULL: the whole directory */
    bool recursive;    /* also what is in folders, FILE_DEPTH_MAX deep; links are not followed */
    unsigned limit;    /* 1…FILE_LIST_MAX */
    const char *after; /* "continue" of the page before, or NULL */
};

/*
 * One page, `{"files":[{path,type,size,modified_at}],"continue"}`, sorted by the bytes of the path;
 * `type` is "file", "directory", "symlink" or "other". Files made or removed between two pages
 * move no other. Reads on the thread pool; `done` comes once with JSON that the callee frees, or
 * with an error and NULL, unless the job is detached.
 */
typedef void (*file_list_fn)(void *ctx, char *json_take, size_t len, const struct err *err);
int file_list_start(struct file_job **ret, const struct file_root *root,
                    const struct file_list_query *query, file_list_fn done, void *ctx,
                    struct err *err);
