/*
 * Names as Jupyter Server makes, hides and increments them: clients know these rules, and users see
 * the names. Nothing here touches a file.
 */
#include "kernel-runner/attach/contents_path.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/base/path.h"

#define CHECKPOINTS "/checkpoints"

static bool is_id(const char *p)
{
    if (!*p)
        return false;
    for (; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-')
            return false;
    return true;
}

/* Where a trailing /checkpoints or /checkpoints/{id} begins; NULL when there is none. */
static const char *find_checkpoints(const char *path, bool *ret_id)
{
    static const size_t len = sizeof(CHECKPOINTS) - 1;
    const char *last = strrchr(path, '/');
    *ret_id = false;
    if (!last || last == path)
        return NULL;
    if (strcmp(last, CHECKPOINTS) == 0)
        return last;
    if ((size_t)(last - path) <= len || memcmp(last - len, CHECKPOINTS, len) != 0)
        return NULL;
    *ret_id = is_id(last + 1);
    return *ret_id ? last - len : NULL;
}

/* Drops slashes at both ends, in place. */
static size_t trim(char *path, size_t len)
{
    size_t start = 0;
    while (len > 0 && path[len - 1] == '/')
        len--;
    while (start < len && path[start] == '/')
        start++;
    memmove(path, path + start, len - start);
    path[len - start] = '\0';
    return len - start;
}

int contents_target_parse(struct contents_target *ret, const char *raw, struct err *err)
{
    size_t len = strlen(raw);
    _cleanup_(freep) char *path = mem_alloc(len + 1);
    int r = parse_percent(raw, len, path, &len, err);
    if (r < 0)
        return r;
    len = trim(path, len);
    if (len > 0 && (r = path_check_relative(path, len, err)) < 0)
        return r;
    const char *at = find_checkpoints(path, &ret->has_id);
    ret->file_len = at ? (size_t)(at - path) : 0;
    ret->path = TAKE_PTR(path);
    return 0;
}

int contents_path_clean(const char *path, char **ret, struct err *err)
{
    _cleanup_(freep) char *copy = mem_dup_str(path);
    size_t len = trim(copy, strlen(copy));
    int r = path_check_relative(copy, len, err);
    if (r == 0)
        *ret = TAKE_PTR(copy);
    return r;
}

bool contents_path_is_hidden(const char *path)
{
    return path[0] == '.' || strstr(path, "/.");
}

bool contents_name_is_listed(const char *name)
{
    static const char *const suffixes[] = {".pyc", ".pyo", ".so", ".dylib", "~"};
    size_t len = strlen(name);
    if (name[0] == '.' || strcmp(name, "__pycache__") == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        size_t n = strlen(suffixes[i]);
        if (len >= n && memcmp(name + len - n, suffixes[i], n) == 0)
            return false;
    }
    return true;
}

bool contents_name_is_notebook(const char *path)
{
    static const char ext[] = ".ipynb";
    size_t len = strlen(path), n = sizeof(ext) - 1;
    return len >= n && memcmp(path + len - n, ext, n) == 0;
}

void contents_location(struct buf *out, const char *path)
{
    (void)buf_append_str(out, "/jupyter/api/contents/");
    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;
        if (c < 0x80 && (isalnum(c) || strchr("/-._~", c)))
            (void)buf_append_char(out, (char)c);
        else
            (void)buf_printf(out, "%%%02X", c);
    }
}

int contents_name_try(const char *name, const char *insert, unsigned i, char *out, size_t size,
                      struct err *err)
{
    const char *dot = contents_name_is_notebook(name) ? strrchr(name, '.') : strchr(name, '.');
    size_t base = dot ? (size_t)(dot - name) : strlen(name);
    int n = i == 0 ? snprintf(out, size, "%s", name)
                   : snprintf(out, size, "%.*s%s%u%s", (int)base, name, insert, i, name + base);
    if (n < 0 || (size_t)n >= size || strchr(out, '/'))
        return err_field(err, "path", "a name has at most %d bytes and no slash", PATH_PART_MAX);
    return path_check_relative(out, (size_t)n, err);
}

void contents_name_uncopy(char *name)
{
    static const char mark[] = "-Copy";
    char *to = name;
    for (const char *p = name; *p;) {
        if (strncmp(p, mark, sizeof(mark) - 1) == 0) {
            const char *behind = p + sizeof(mark) - 1;
            behind += strspn(behind, "0123456789");
            if (*behind == '.') {
                p = behind;
                continue;
            }
        }
        *to++ = *p++;
    }
    *to = '\0';
}
