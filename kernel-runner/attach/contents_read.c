/*
 * GET: a model with its content. Files are read whole, up to a ceiling, since JSON needs to know
 * what is in them; a list is sorted and holds the first entries by name, so that a directory with a
 * million files costs neither memory nor a client's patience.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-runner/attach/contents_base64.h"
#include "kernel-runner/attach/contents_notebook.h"
#include "kernel-runner/attach/contents_work.h"
#include "kernel-runner/files/file_root.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"
#include "lib/base/utf8.h"
#include "lib/crypto/crypto.h"
#include "lib/json/jsonx.h"

#define ANSWER_HEAD_BYTES KIB(64) /* of a model: paths and names */
#define NAMES_MAX         1000000 /* looked at in one directory; user code may fill it meanwhile */

/* ---- files ---- */

static int too_large(struct err *err)
{
    return err_set(err, ERR_TOO_LARGE,
                   "files above %zu bytes are not returned with their content; use /files",
                   LIMIT_CONTENTS_FILE_BYTES);
}

static int too_long(struct err *err)
{
    return err_set(err, ERR_TOO_LARGE,
                   "as JSON the content is more than twice as long as the file; use /files");
}

static int too_long_or_large(const struct buf *read, struct err *err)
{
    if (read->max > LIMIT_CONTENTS_FILE_BYTES)
        return too_large(err);
    return err_set(err, ERR_UNAVAILABLE, "the file grows while it is read; try again");
}

/* The file as it is now, which may be another than the one looked at. */
static int read_bytes(struct contents_job *j, struct contents_model *m, struct buf *out,
                      struct err *err)
{
    _cleanup_(closep) int fd = -1;
    int r = file_open_beneath(j->root_fd, m->path, O_RDONLY, &fd, err);
    if (r < 0)
        return r;
    if (fstat(fd, &m->st) < 0)
        return err_errno(err, "cannot read the file");
    if (!S_ISREG(m->st.st_mode))
        return err_set(err, ERR_INVALID, "Cannot read non-file %.500s", m->path);
    if (m->st.st_size > (off_t)LIMIT_CONTENTS_FILE_BYTES)
        return too_large(err);
    if ((uint64_t)m->st.st_size >= out->max)
        return too_long_or_large(out, err);
    for (;;) {
        /* One byte more than there should be, so that the end is seen at once. */
        size_t want = MAX((size_t)m->st.st_size + 1 - MIN(out->len, (size_t)m->st.st_size), KIB(4));
        if (buf_reserve(out, MIN(want, out->max - out->len)) < 0 || out->len == out->max)
            return too_long_or_large(out, err);
        ssize_t n = read(fd, out->ptr + out->len, MIN(want, out->max - out->len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot read the file");
        if (n == 0)
            return 0;
        out->len += (size_t)n;
    }
}

static int put_notebook(struct contents_job *j, struct contents_model *m, const struct buf *bytes,
                        struct err *err)
{
    struct buf compact;
    buf_init(&compact, LIMIT_CONTENTS_FILE_BYTES);
    m->format = CONTENTS_JSON;
    contents_model_head(&j->json, m);
    int r = jsonx_compact(&compact, buf_slice(bytes));
    if (r == 0 && compact.ptr[0] != '{')
        r = -ERR_INVALID;
    if (r == 0)
        r = contents_notebook_untrust(&j->json, buf_slice(&compact));
    buf_done(&compact);
    if (r == -ERR_INVALID)
        return err_set(err, ERR_INVALID, "Unreadable Notebook: %.500s is not a JSON object",
                       m->path);
    if (r == 0)
        r = buf_append_char(&j->json, '}');
    return r < 0 ? too_long(err) : 0;
}

static int put_file(struct contents_job *j, struct contents_model *m, struct buf *bytes,
                    struct err *err)
{
    bool text = j->format != CONTENTS_BASE64 && utf8_valid(buf_slice(bytes));
    if (!text && j->format == CONTENTS_TEXT)
        return err_field(err, "format", "%.500s is not UTF-8 encoded", m->path);
    m->format = text ? CONTENTS_TEXT : CONTENTS_BASE64;
    contents_model_head(&j->json, m);
    int r;
    if (text) {
        r = jsonx_append_string(&j->json, buf_slice(bytes));
        if (r < 0) { /* it is escaped while it is sent */
            j->text = *bytes;
            buf_init(bytes, 0);
            return 0;
        }
    } else {
        (void)buf_append_char(&j->json, '"');
        r = contents_base64_append(&j->json, buf_slice(bytes));
        (void)buf_append_char(&j->json, '"');
    }
    if (r == 0)
        r = buf_append_char(&j->json, '}');
    return r < 0 ? too_long(err) : 0;
}

static int read_file(struct contents_job *j, const struct contents_model *seen, struct err *err)
{
    struct contents_model m = *seen;
    char hash[CRYPTO_HEX_SIZE];
    struct buf bytes;
    /* One more than may be, to see that it is. */
    buf_init(&bytes, MIN(j->file_max, LIMIT_CONTENTS_FILE_BYTES) + 1);
    j->json.max = MIN(ANSWER_HEAD_BYTES + 2 * j->file_max, j->json.max);
    int r = j->content || j->hash ? read_bytes(j, &m, &bytes, err) : 0;
    if (r == -ERR_TOO_LARGE && !j->content) { /* then it has no hash, and clients go by the time */
        r = 0;
    } else if (r == 0 && j->hash) {
        crypto_sha256_hex(bytes.ptr ? bytes.ptr : "", bytes.len, hash);
        m.hash = hash;
    }
    if (r == 0 && !j->content)
        contents_model_plain(&j->json, &m);
    else if (r == 0)
        r = m.type == CONTENTS_NOTEBOOK ? put_notebook(j, &m, &bytes, err)
                                        : put_file(j, &m, &bytes, err);
    buf_done(&bytes);
    return r;
}

/* ---- directories ---- */

struct names {
    char **at;
    size_t len;
    bool cut;
};

static void names_donep(struct names *n)
{
    for (size_t i = 0; i < n->len; i++)
        free(n->at[i]);
    free(n->at);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_cut(struct names *n)
{
    qsort(n->at, n->len, sizeof(char *), compare);
    for (; n->len > LIMIT_CONTENTS_ENTRIES; n->len--) {
        free(n->at[n->len - 1]);
        n->cut = true;
    }
}

/* Only what a client could ask for by its path. */
static void read_names(DIR *dir, size_t room, struct names *n)
{
    struct dirent *e;
    n->at = MEM_NEW_N(char *, 2 * LIMIT_CONTENTS_ENTRIES);
    for (size_t seen = 0; (e = readdir(dir)); seen++) {
        size_t len = strlen(e->d_name);
        if (seen == NAMES_MAX) {
            n->cut = true;
            break;
        }
        if (!contents_name_is_listed(e->d_name) || len > room ||
            path_check_relative(e->d_name, len, NULL) < 0)
            continue;
        if (n->len == 2 * LIMIT_CONTENTS_ENTRIES)
            names_cut(n);
        n->at[n->len++] = mem_dup_n(e->d_name, len);
    }
    names_cut(n);
}

/* Sockets, FIFOs and devices are not listed, nor are links that lead nowhere or out. */
static bool look_at(struct contents_job *j, int dir_fd, const char *path, const char *name,
                    struct contents_model *m)
{
    *m = (struct contents_model){.path = path};
    if (fstatat(dir_fd, name, &m->st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (S_ISLNK(m->st.st_mode))
        return contents_model_look(m, j->root_fd, path, NULL) == 0;
    if (S_ISDIR(m->st.st_mode))
        m->type = CONTENTS_DIRECTORY;
    else if (S_ISREG(m->st.st_mode))
        m->type = contents_name_is_notebook(name) ? CONTENTS_NOTEBOOK : CONTENTS_FILE;
    else
        return false;
    m->writable = contents_is_writable(dir_fd, name, &m->st);
    return true;
}

static int put_list(struct contents_job *j, const char *dir_path, DIR *dir)
{
    _cleanup_(names_donep) struct names names = {0};
    char path[PATH_USER_MAX + 1];
    size_t base = strlen(dir_path);
    bool any = false;
    int r = 0;
    if (base >= PATH_USER_MAX)
        return 0;
    memcpy(path, dir_path, base);
    if (base > 0)
        path[base++] = '/';
    read_names(dir, PATH_USER_MAX - base, &names);
    for (size_t i = 0; i < names.len && r == 0; i++) {
        struct contents_model m;
        memcpy(path + base, names.at[i], strlen(names.at[i]) + 1);
        if (!look_at(j, dirfd(dir), path, names.at[i], &m))
            continue;
        r = any ? buf_append_char(&j->json, ',') : 0;
        any = true;
        contents_model_plain(&j->json, &m);
    }
    j->cut = names.cut;
    return r;
}

static int read_dir(struct contents_job *j, struct contents_model *m, struct err *err)
{
    if (!j->content) {
        contents_model_plain(&j->json, m);
        return 0;
    }
    int fd = -1;
    int r = file_open_beneath(j->root_fd, m->path, O_RDONLY | O_DIRECTORY, &fd, err);
    if (r < 0)
        return r;
    _cleanup_(closedirp) DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return err_errno(err, "cannot read the directory");
    }
    m->format = CONTENTS_JSON;
    contents_model_head(&j->json, m);
    (void)buf_append_char(&j->json, '[');
    (void)put_list(j, m->path, dir);
    if (buf_append(&j->json, "]}", 2) < 0)
        return err_set(err, ERR_TOO_LARGE, "the list is too long");
    return 0;
}

int contents_read(struct contents_job *j, struct err *err)
{
    struct contents_model m;
    const char *path = j->target.path;
    if (contents_path_is_hidden(path))
        return err_set(err, ERR_NOT_FOUND, "No such file or directory: %.500s", path);
    int r = contents_model_look(&m, j->root_fd, path, err);
    if (r < 0)
        return r;
    j->status = 200;
    if (m.type == CONTENTS_DIRECTORY) {
        if (j->type != CONTENTS_ANY && j->type != CONTENTS_DIRECTORY)
            return err_field(err, "type", "%.500s is a directory, not a file", path);
        return read_dir(j, &m, err);
    }
    if (j->type == CONTENTS_DIRECTORY)
        return err_field(err, "type", "%.500s is not a directory", path);
    if (j->type != CONTENTS_ANY)
        m.type = j->type;
    if (j->format == CONTENTS_JSON && m.type == CONTENTS_FILE)
        return err_field(err, "format", "a file has the format text or base64");
    return read_file(j, &m, err);
}
