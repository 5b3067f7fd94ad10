#pragma once
#include "lib/base/buf.h"

#include <stdbool.h>

/* Pure: the paths and names of Jupyter's contents API, in its own words. */

/* What the rest of an address behind /api/contents names. */
struct contents_target {
    char *path;      /* decoded, checked, without slashes around it; "" is the root */
    size_t file_len; /* of the file's path when it ends with /checkpoints or …/{id}, else 0 */
    bool has_id;     /* … with an id */
};
/* `raw` has its escapes. ERR_INVALID. The caller frees ret->path. */
int contents_target_parse(struct contents_target *ret, const char *raw, struct err *err);
/* The path of a body's member, which has no escapes; the caller frees. */
int contents_path_clean(const char *path, char **ret, struct err *err);

/* A part of the path begins with a dot: Jupyter Server then denies that there is such a file. */
bool contents_path_is_hidden(const char *path);
/* May the name stand in a list? */
bool contents_name_is_listed(const char *name);
bool contents_name_is_notebook(const char *path);

/* Appends the address, "/jupyter/api/contents/a%20b": below the runner's root. */
void contents_location(struct buf *out, const char *path);

/*
 * The i-th name to try: `insert` and i stand before the extension (of which a name but a notebook's
 * may have several: "a.tar.gz"); the 0th is the name itself. Writes `size` bytes at most;
 * ERR_INVALID when it is too long or no name of a file.
 */
int contents_name_try(const char *name, const char *insert, unsigned i, char *out, size_t size,
                      struct err *err);
/* "a-Copy3.txt" → "a.txt": copies of copies are counted with their original. In place. */
void contents_name_uncopy(char *name);
