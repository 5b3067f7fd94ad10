#pragma once
#include "lib/base/macros.h"

/*
 * What can go wrong, as an API user sees it (design: the problem+json codes, and no others). The
 * table in err.c is the one place that maps a code to its name and HTTP status.
 */
enum err_code {
    ERR_OK = 0,
    ERR_INVALID,
    ERR_UNAUTHORIZED,
    ERR_FORBIDDEN,
    ERR_NOT_FOUND,
    ERR_METHOD_NOT_ALLOWED,
    ERR_NOT_ACCEPTABLE,
    ERR_CONFLICT,
    ERR_GENERATION_MISMATCH,
    ERR_KERNEL_DEAD,
    ERR_NO_INPUT_PENDING,
    ERR_EXPIRED,
    ERR_TOO_LARGE,
    ERR_URI_TOO_LONG,
    ERR_UNSUPPORTED_MEDIA_TYPE,
    ERR_RANGE_NOT_SATISFIABLE,
    ERR_LIMIT,
    ERR_HEADER_TOO_LARGE,
    ERR_INTERNAL,
    ERR_SANDBOX_LOST,
    ERR_SANDBOX_FAILED,
    ERR_UNAVAILABLE,
    ERR_TIMEOUT,
    ERR_NO_SPACE,
    ERR_CODE_MAX
};

/*
 * One error, on the caller's stack, last parameter, may be NULL. Never allocated, never freed,
 * written only on failure. The text is cut at its size, marked with "…".
 * `text` is sized for a sentence plus the last 2 KiB of a kernel's or backend's own words.
 */
struct err {
    enum err_code code;
    char field[64]; /* the offending field of a JSON body or query, or "" */
    char text[2600];
};

/* All return -code, so that `return err_set(...)` forwards the failure. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) _printf_(3, 4);
/* Same, naming the field of the request that is at fault. */
int err_field(struct err *err, const char *field, const char *fmt, ...) _printf_(3, 4);
/* From errno: "<fmt>: <strerror>"; the code follows errno (ENOENT, EACCES, ENOSPC, EDQUOT, …). */
int err_errno(struct err *err, const char *fmt, ...) _printf_(2, 3);
/* Prefixes "<fmt>: " to what is there; returns -err->code. */
int err_wrap(struct err *err, const char *fmt, ...) _printf_(2, 3);

const char *err_code_name(enum err_code code);  /* "not_found" */
const char *err_code_title(enum err_code code); /* "Not found" */
int err_code_http_status(enum err_code code);   /* 404 */
int err_code_retryable(enum err_code code);     /* 0 or 1 */
/* The code whose name this is, or ERR_INTERNAL. */
enum err_code err_code_from_name(const char *name);
