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

/* By the name's extension; of what a page could run or be styled by: text/plain. */
const char *file_type_of(const char *path);
/* Text, images, sound, films and PDF; anything else is to be saved. */
bool file_type_is_shown(const char *type);
/*
 * May a browser have a file of this type for the purpose that its Sec-Fetch-Dest names (NULL:
 * nobody says)? Not as a script, style sheet, worker or embedded page.
 */
bool file_may_be_loaded_as(const char *dest, const char *type);
/* Content-Disposition of a file that is to be saved under its own name (RFC 6266). */
#define FILE_DISPOSITION_SIZE 832
void file_disposition(const char *path, char out[FILE_DISPOSITION_SIZE]);
