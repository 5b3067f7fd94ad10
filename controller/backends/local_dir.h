#pragma once
#include "lib/base/err.h"
#include "lib/base/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The folder of one sandbox, <state_dir>/sandboxes/<id>: meta.json, runner.log, spill/ and, without
 * isolation, files/. Its socket is <runtime_dir>/<uuid>.sock; without isolation its kernels' run
 * directory stands beside it. Everything a later controller needs to find or to clear away.
 */
#define LOCAL_WORDS_MAX 2048   /* of a log, in an error's text */
#define LOCAL_LOG_MAX   MIB(4) /* the runner cuts its log there */

struct local_dir {
    char *path;   /* the folder */
    char *socket; /* at most 107 bytes */
    char *run;    /* short: kernels' sockets lie below it */
};

struct local_meta {
    uid_t uid; /* the host user id of its processes */
    bool isolated;
};

/* Only names; makes nothing. */
void local_dir_init(struct local_dir *d, const char *state_dir, const char *runtime_dir,
                    const char *id);
void local_dir_done(struct local_dir *d);

/* Makes the folder, meta.json and spill/ (and files/ and the run directory when not isolated). */
int local_dir_make(const struct local_dir *d, const struct local_meta *meta, struct err *err);
int local_dir_read_meta(const struct local_dir *d, struct local_meta *ret, struct err *err);
/*
 * Opens runner.log for appending, locked (flock): the lock lives as long as any process of the
 * sandbox that inherited the descriptor, which shows a later controller that something runs.
 */
int local_dir_open_log(const struct local_dir *d, int *ret_fd, struct err *err);
/* True when a process still holds runner.log. Cuts the log when it is larger than LOCAL_LOG_MAX. */
bool local_dir_is_held(const struct local_dir *d);
/* The end of the log, at most LOCAL_WORDS_MAX bytes of valid UTF-8 without trailing newlines. */
void local_dir_words(const struct local_dir *d, char out[LOCAL_WORDS_MAX + 1]);
/* Binds the sandbox's socket without listening. */
int local_dir_bind(const struct local_dir *d, int *ret_fd, struct err *err);
/*
 * Removes socket, folder and run directory, whatever lies in them: blocks, as code may have left
 * any number of files; touches nothing else, so that another thread may do it. 0, or an errno.
 */
int local_dir_remove(const struct local_dir *d);
