#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
struct file_root;

#define FILE_ETAG_SIZE 64

struct file_view {
    int fd; /* the caller closes it, or hands it on */
    uint64_t size;
    char etag[FILE_ETAG_SIZE]; /* strong, with its quotes */
};

/* A regular file for reading. ERR_NOT_FOUND, ERR_FORBIDDEN, ERR_CONFLICT (not a regular file). */
int file_get(const struct file_root *root, const char *path, struct file_view *ret,
             struct err *err);
void file_etag_format(const struct stat *st, char out[FILE_ETAG_SIZE]);

/* If-None-Match (RFC 9110 13.1.2): a list of tags, weak ones too, or "*". */
bool file_etag_matches(const char *header, const char *etag);

/* Expected outcome of file_range_parse(). */
enum { FILE_RANGE_PART = 1 };
/*
 * Range with one range of bytes (RFC 9110 14.2). 0: send the whole file (no header, another unit,
 * several ranges, malformed), FILE_RANGE_PART: the part, -ERR_RANGE_NOT_SATISFIABLE.
 * `if_range` (may be NULL) that is not the tag makes it 0.
 */
int file_range_parse(const char *range, const char *if_range, const struct file_view *view,
                     uint64_t *ret_offset, uint64_t *ret_len, struct err *err);

/* MIME type by the name's extension; *ret_active: a browser may run what is in it. */
const char *file_type_of(const char *path, bool *ret_active);
