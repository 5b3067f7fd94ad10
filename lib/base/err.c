/*
 * Errors as values: a code that means something to an API user, and one sentence for a person.
 * The struct lives on the caller's stack, so that no branch can leak it.
 */
#include "lib/base/err.h"

#include "lib/base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *title;
    int status;
    int retryable;
} codes[ERR_CODE_MAX] = {
    [ERR_OK] = {"ok", "OK", 200, 0},
    [ERR_INVALID] = {"invalid", "Invalid request", 400, 0},
    [ERR_UNAUTHORIZED] = {"unauthorized", "Unauthorized", 401, 0},
    [ERR_FORBIDDEN] = {"forbidden", "Forbidden", 403, 0},
    [ERR_NOT_FOUND] = {"not_found", "Not found", 404, 0},
    [ERR_METHOD_NOT_ALLOWED] = {"method_not_allowed", "Method not allowed", 405, 0},
    [ERR_NOT_ACCEPTABLE] = {"not_acceptable", "Not acceptable", 406, 0},
    [ERR_CONFLICT] = {"conflict", "Conflict", 409, 0},
    [ERR_GENERATION_MISMATCH] = {"generation_mismatch", "Kernel was restarted", 409, 0},
    [ERR_KERNEL_DEAD] = {"kernel_dead", "Kernel is dead", 409, 0},
    [ERR_NO_INPUT_PENDING] = {"no_input_pending", "No input is asked for", 409, 0},
    [ERR_EXPIRED] = {"expired", "Expired", 410, 0},
    [ERR_TOO_LARGE] = {"too_large", "Too large", 413, 0},
    [ERR_URI_TOO_LONG] = {"uri_too_long", "URI too long", 414, 0},
    [ERR_UNSUPPORTED_MEDIA_TYPE] = {"unsupported_media_type", "Unsupported media type", 415, 0},
    [ERR_RANGE_NOT_SATISFIABLE] = {"range_not_satisfiable", "Range not satisfiable", 416, 0},
    [ERR_LIMIT] = {"limit", "Limit reached", 429, 1},
    [ERR_HEADER_TOO_LARGE] = {"header_too_large", "Header too large", 431, 0},
    [ERR_INTERNAL] = {"internal", "Internal error", 500, 0},
    [ERR_SANDBOX_LOST] = {"sandbox_lost", "Sandbox lost", 502, 0},
    [ERR_SANDBOX_FAILED] = {"sandbox_failed", "Sandbox could not be made", 502, 1},
    [ERR_UNAVAILABLE] = {"unavailable", "Unavailable", 503, 1},
    [ERR_TIMEOUT] = {"timeout", "Timed out", 504, 1},
    [ERR_NO_SPACE] = {"no_space", "No space left", 507, 0},
};

const char *err_code_name(enum err_code code)
{
    return codes[code].name;
}

const char *err_code_title(enum err_code code)
{
    return codes[code].title;
}

int err_code_http_status(enum err_code code)
{
    return codes[code].status;
}

int err_code_retryable(enum err_code code)
{
    return codes[code].retryable;
}

enum err_code err_code_from_name(const char *name)
{
    for (int i = 0; i < ERR_CODE_MAX; i++)
        if (strcmp(codes[i].name, name) == 0)
            return (enum err_code)i;
    return ERR_INTERNAL;
}

/* Cuts at the size of `text`, on a whole UTF-8 character, and marks the cut. */
static void put_text(struct err *err, const char *text)
{
    static const char mark[] = "…";
    size_t len = strlen(text);
    if (len < sizeof(err->text)) {
        memcpy(err->text, text, len + 1);
        return;
    }
    size_t keep = sizeof(err->text) - sizeof(mark);
    while (keep > 0 && ((unsigned char)text[keep] & 0xC0) == 0x80)
        keep--;
    memcpy(err->text, text, keep);
    memcpy(err->text + keep, mark, sizeof(mark));
}

static _printf_(2, 0) void put_va(struct err *err, const char *fmt, va_list ap, const char *suffix)
{
    char text[sizeof(err->text) * 2];
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    size_t used = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);
    if (suffix) {
        size_t room = sizeof(text) - 1 - used;
        size_t add = MIN(strlen(suffix), room);
        memcpy(text + used, suffix, add);
        text[used + add] = '\0';
    }
    put_text(err, text);
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (!err)
        return -(int)code;
    va_list ap;
    va_start(ap, fmt);
    put_va(err, fmt, ap, NULL);
    va_end(ap);
    err->code = code;
    err->field[0] = '\0';
    return -(int)code;
}

int err_field(struct err *err, const char *field, const char *fmt, ...)
{
    if (!err)
        return -ERR_INVALID;
    va_list ap;
    va_start(ap, fmt);
    put_va(err, fmt, ap, NULL);
    va_end(ap);
    err->code = ERR_INVALID;
    size_t len = utf8_cut(slice_str(field), sizeof(err->field) - 1);
    memcpy(err->field, field, len);
    err->field[len] = '\0';
    return -ERR_INVALID;
}

static enum err_code code_of_errno(int e)
{
    switch (e) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_FORBIDDEN;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NO_SPACE;
    case EEXIST:
    case EISDIR:
    case ENOTEMPTY:
        return ERR_CONFLICT;
    case ENAMETOOLONG:
    case EINVAL:
        return ERR_INVALID;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return ERR_UNAVAILABLE;
    default:
        return ERR_INTERNAL;
    }
}

int err_errno(struct err *err, const char *fmt, ...)
{
    int e = errno;
    enum err_code code = code_of_errno(e);
    if (!err)
        return -(int)code;
    char suffix[160];
    snprintf(suffix, sizeof(suffix), ": %s", strerrordesc_np(e) ? strerrordesc_np(e) : "error");
    va_list ap;
    va_start(ap, fmt);
    put_va(err, fmt, ap, suffix);
    va_end(ap);
    err->code = code;
    err->field[0] = '\0';
    return -(int)code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (!err)
        return -ERR_INTERNAL;
    char old[sizeof(err->text) + 2] = ": ";
    memcpy(old + 2, err->text, strnlen(err->text, sizeof(err->text) - 1) + 1);
    old[sizeof(old) - 1] = '\0';
    va_list ap;
    va_start(ap, fmt);
    put_va(err, fmt, ap, old);
    va_end(ap);
    return -(int)err->code;
}
