/*
 * Reads a model that a client sends. Members that Jupyter's own server ignores are ignored here,
 * too: JupyterLab sends a whole model back.
 */
#include "kernel-runner/attach/contents_body.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/path.h"
#include "lib/json/jsonx.h"

#define WORD_MAX 32 /* of a type or a format */

int contents_format_parse(const char *name, enum contents_format *ret, struct err *err)
{
    *ret = CONTENTS_FORMAT_ANY;
    if (!name)
        return 0;
    if (strcmp(name, "text") == 0)
        *ret = CONTENTS_TEXT;
    else if (strcmp(name, "base64") == 0)
        *ret = CONTENTS_BASE64;
    else if (strcmp(name, "json") == 0)
        *ret = CONTENTS_JSON;
    else
        return err_field(err, "format", "the format must be text, base64 or json");
    return 0;
}

enum contents_type contents_type_parse(const char *name)
{
    if (!name || !*name)
        return CONTENTS_ANY;
    if (strcmp(name, "directory") == 0)
        return CONTENTS_DIRECTORY;
    return strcmp(name, "notebook") == 0 ? CONTENTS_NOTEBOOK : CONTENTS_FILE;
}

static int read_text(struct slice value, const char *key, char *out, size_t size, struct err *err)
{
    int r = jsonx_decode(value, out, size);
    if (r == -ERR_TOO_LARGE)
        return err_field(err, key, "%s is longer than %zu bytes", key, size - 1);
    return r < 0 ? err_field(err, key, "%s must be a text without NUL", key) : 0;
}

static int read_path(struct slice value, const char *key, char **ret, struct err *err)
{
    char path[PATH_USER_MAX + 3]; /* slashes around it are dropped later */
    int r = read_text(value, key, path, sizeof(path), err);
    if (r < 0)
        return r;
    free(*ret);
    *ret = mem_dup_str(path);
    return 0;
}

static int read_chunk(struct slice value, struct contents_body *b, struct err *err)
{
    b->has_chunk = true;
    b->chunk = 0;
    if (slice_eq_str(value, "-1"))
        b->chunk = -1;
    else
        (void)jsonx_uint(value, &b->chunk);
    return b->chunk == 0 ? err_field(err, "chunk", "chunk must be 1, 2, … or -1") : 0;
}

static int read_member(struct contents_body *b, struct slice key, struct slice value,
                       struct err *err)
{
    char word[WORD_MAX];
    int r;
    if (slice_eq_str(key, "content")) {
        b->content = value;
    } else if (slice_eq_str(key, "path")) {
        return read_path(value, "path", &b->path, err);
    } else if (slice_eq_str(key, "copy_from")) {
        return read_path(value, "copy_from", &b->copy_from, err);
    } else if (slice_eq_str(key, "ext")) {
        return read_path(value, "ext", &b->ext, err);
    } else if (slice_eq_str(key, "chunk")) {
        return read_chunk(value, b, err);
    } else if (slice_eq_str(key, "type")) {
        if ((r = read_text(value, "type", word, sizeof(word), err)) < 0)
            return r;
        b->type = contents_type_parse(word);
    } else if (slice_eq_str(key, "format")) {
        if ((r = read_text(value, "format", word, sizeof(word), err)) < 0)
            return r;
        return contents_format_parse(*word ? word : NULL, &b->format, err);
    }
    return 0;
}

int contents_body_parse(struct contents_body *ret, struct slice text, struct err *err)
{
    *ret = (struct contents_body){.empty = true};
    text = slice_trim(text, " \t\r\n");
    ret->missing = text.len == 0 || slice_eq_str(text, "null");
    if (ret->missing)
        return 0;
    if (text.ptr[0] != '{' || !jsonx_valid(text))
        return err_set(err, ERR_INVALID, "Invalid JSON in body of request");
    struct jsonx_iter it = jsonx_iter(text);
    for (struct slice key, value; jsonx_iter_next(&it, &key, &value);) {
        ret->empty = false;
        if (slice_eq_str(value, "null"))
            continue;
        int r = read_member(ret, key, value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

void contents_body_done(struct contents_body *b)
{
    free(b->path);
    free(b->copy_from);
    free(b->ext);
}
