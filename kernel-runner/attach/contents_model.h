#pragma once
#include "lib/base/buf.h"

#include <stdbool.h>
#include <sys/stat.h>

/* What clients get to see of a file or directory: Jupyter's contents model. */

enum contents_type { CONTENTS_ANY, CONTENTS_FILE, CONTENTS_DIRECTORY, CONTENTS_NOTEBOOK };
enum contents_format { CONTENTS_FORMAT_ANY, CONTENTS_TEXT, CONTENTS_BASE64, CONTENTS_JSON };

struct contents_model {
    const char *path;
    enum contents_type type;
    struct stat st;
    bool writable;
    enum contents_format format; /* of the content; CONTENTS_FORMAT_ANY: there is none */
    const char *hash;            /* hex of SHA-256, or NULL */
};

/*
 * Finds out what stands at `path` and may be seen there; "" is the root. A file is a notebook by
 * its name. ERR_NOT_FOUND, ERR_FORBIDDEN, ERR_INVALID (neither file nor directory). Any thread.
 */
int contents_model_look(struct contents_model *ret, int root_fd, const char *path, struct err *err);
/* May the process write it? `name` within the folder, or "" for the descriptor itself. */
bool contents_is_writable(int dir_fd, const char *name, const struct stat *st);

/* All of the model up to the value of its last member, "content". Pure. */
void contents_model_head(struct buf *out, const struct contents_model *m);
/* The whole of a model without content. Pure. */
void contents_model_plain(struct buf *out, const struct contents_model *m);
/* "2026-11-23T20:48:00.123456Z", with quotes. */
void contents_time(struct buf *out, const struct timespec *t);
