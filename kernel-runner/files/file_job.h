#pragma once
#include "lib/base/err.h"
#include "lib/loop/loop.h"

/*
 * One piece of blocking file work: `work` runs on a pool thread and touches only `data`; `done`
 * comes on the loop's thread, unless the job was detached; then `free_data` is called in any case.
 */
struct file_job_type {
    void (*work)(void *data);
    void (*done)(void *data); /* data knows whom to tell; it may take parts of data */
    void (*free_data)(void *data);
};
struct file_job;
/* On failure data is freed. */
int file_job_start(struct file_job **ret, struct loop *loop, const struct file_job_type *type,
                   void *data_take, struct err *err);
/* No `done` comes after this. NULL ok. Not after `done` has been called. */
void file_job_detach(struct file_job *j);
