/* One file for reading, and the pure parts of HTTP's conditional and partial reads. */
#include "kernel-runner/files/file_get.h"

#include "kernel-runner/files/file_root.h"
#include "lib/base/parse.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void file_etag_format(const struct stat *st, char out[FILE_ETAG_SIZE])
{
    uint64_t ns = (uint64_t)st->st_mtim.tv_sec * 1000000000U + (uint64_t)st->st_mtim.tv_nsec;
    snprintf(out, FILE_ETAG_SIZE, "\"%llx-%llx-%llx\"", (unsigned long long)st->st_ino,
             (unsigned long long)ns, (unsigned long long)st->st_size);
}

int file_get(const struct file_root *root, const char *path, struct file_view *ret, struct err *err)
{
    struct stat st;
    int fd = -1;
    int r = file_open_read(root, path, &fd, &st, err);
    if (r < 0)
        return r;
    ret->fd = fd;
    ret->size = (uint64_t)st.st_size;
    file_etag_format(&st, ret->etag);
    return 0;
}

bool file_etag_matches(const char *header, const char *etag)
{
    size_t len = strlen(etag);
    for (const char *p = header; *p;) {
        p += strspn(p, " \t,");
        if (*p == '*')
            return true;
        if (strncmp(p, "W/", 2) == 0)
            p += 2;
        if (*p != '"')
            return false;
        const char *end = strchr(p + 1, '"');
        if (!end)
            return false;
        if ((size_t)(end + 1 - p) == len && memcmp(p, etag, len) == 0)
            return true;
        p = end + 1;
    }
    return false;
}

/* Digits up to `stop`; false when there are none or they do not fit. */
static bool number(const char **p, uint64_t *ret)
{
    char text[24];
    size_t len = strspn(*p, "0123456789");
    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, *p, len);
    text[len] = '\0';
    *p += len;
    return parse_u64(text, 0, UINT64_MAX, ret, NULL) == 0;
}

int file_range_parse(const char *range, const char *if_range, const struct file_view *view,
                     uint64_t *ret_offset, uint64_t *ret_len, struct err *err)
{
    uint64_t first = 0, last = UINT64_MAX;
    *ret_offset = 0;
    *ret_len = view->size;
    if (!range || strncasecmp(range, "bytes=", 6) != 0)
        return 0;
    if (if_range && strcmp(if_range, view->etag) != 0)
        return 0;
    const char *p = range + 6;
    p += strspn(p, " \t");
    bool suffix = *p == '-';
    if (!suffix && !number(&p, &first))
        return 0;
    if (*p++ != '-')
        return 0;
    bool open_end = *p == '\0' && !suffix;
    if ((!open_end && !number(&p, &last)) || *p != '\0' || (!suffix && last < first))
        return 0;
    if (suffix) { /* the last `last` bytes */
        first = last < view->size ? view->size - last : 0;
        if (last == 0)
            first = view->size;
        last = UINT64_MAX;
    }
    if (first >= view->size)
        return err_set(err, ERR_RANGE_NOT_SATISFIABLE, "the file has %llu bytes",
                       (unsigned long long)view->size);
    *ret_offset = first;
    *ret_len = MIN(last, view->size - 1) - first + 1;
    return FILE_RANGE_PART;
}

/*
 * User code wrote the file. What a page could load as a program or a style sheet is plain text, and
 * what a browser would show by a program of its own is saved, not shown.
 */
static const struct {
    const char *ext;
    const char *type;
} types[] = {
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"cjs", "text/plain; charset=utf-8"},
    {"css", "text/plain; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html; charset=utf-8"},
    {"html", "text/html; charset=utf-8"},
    {"ipynb", "application/x-ipynb+json"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/plain; charset=utf-8"},
    {"json", "application/json"},
    {"jsonl", "application/x-ndjson"},
    {"log", "text/plain; charset=utf-8"},
    {"md", "text/markdown; charset=utf-8"},
    {"mjs", "text/plain; charset=utf-8"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"parquet", "application/vnd.apache.parquet"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"py", "text/x-python; charset=utf-8"},
    {"svg", "image/svg+xml"},
    {"tsv", "text/tab-separated-values; charset=utf-8"},
    {"txt", "text/plain; charset=utf-8"},
    {"wasm", "text/plain; charset=utf-8"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"xhtml", "application/xhtml+xml"},
    {"xls", "application/vnd.ms-excel"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"zip", "application/zip"},
};

const char *file_type_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot > name && i < ARRAY_LEN(types); i++)
        if (strcasecmp(types[i].ext, dot + 1) == 0)
            return types[i].type;
    return "application/octet-stream";
}

bool file_type_is_shown(const char *type)
{
    static const char *const shown[] = {"text/", "image/", "audio/", "video/", "application/pdf"};
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        if (strncmp(type, shown[i], strlen(shown[i])) == 0)
            return true;
    return false;
}

/* Not at the top of a page, nor asked for by a script, an image or a player: then it would act. */
bool file_may_be_loaded_as(const char *dest, const char *type)
{
    static const char *const harmless[] = {"",      "empty", "document", "image",
                                           "audio", "video", "track"};
    for (size_t i = 0; dest && i < ARRAY_LEN(harmless); i++)
        if (strcasecmp(dest, harmless[i]) == 0)
            return true;
    return !dest || (strcasecmp(dest, "iframe") == 0 && strcmp(type, "application/pdf") == 0);
}

void file_disposition(const char *path, char out[FILE_DISPOSITION_SIZE])
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    int n = snprintf(out, FILE_DISPOSITION_SIZE, "attachment; filename*=UTF-8''");
    for (; *name && n + 4 < FILE_DISPOSITION_SIZE; name++)
        n += snprintf(out + n, (size_t)(FILE_DISPOSITION_SIZE - n),
                      strchr(plain, *name) ? "%c" : "%%%02X", (unsigned char)*name);
}
