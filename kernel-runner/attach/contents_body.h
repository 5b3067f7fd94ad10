#pragma once
#include "kernel-runner/attach/contents_model.h"
#include "lib/base/buf.h"

/*
 * The body of a request, of which only the named members count; null is as absent. `content` is not
 * read into a tree: it may be a notebook of many megabytes. Pure.
 */
struct contents_body {
    bool missing; /* there was none */
    bool empty;   /* none, or {} */
    enum contents_type
        type; /* CONTENTS_ANY when absent; a file when unknown, as Jupyter Server does */
    enum contents_format format;
    struct slice content;   /* raw JSON within the text; empty: absent */
    char *path, *copy_from; /* NULL when absent */
    char *ext;
    bool has_chunk;
    int64_t chunk; /* 1, 2, …; -1 is the last */
};
/* ERR_INVALID. The slices live as long as `text`. */
int contents_body_parse(struct contents_body *ret, struct slice text, struct err *err);
void contents_body_done(struct contents_body *b);
static inline void contents_body_donep(struct contents_body *b)
{
    contents_body_done(b);
}

/* NULL, "text", "base64", "json"; ERR_INVALID for others. */
int contents_format_parse(const char *name, enum contents_format *ret, struct err *err);
/* NULL, "file", "directory", "notebook"; a file for others. */
enum contents_type contents_type_parse(const char *name);
