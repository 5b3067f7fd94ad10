/*
 * PUT. A save replaces the file whole, by a rename, so that a kernel which reads it meanwhile sees
 * the old or the new one; a link is replaced by a file, where Jupyter Server writes through it.
 * Only the chunks of a long upload are appended in place: their file is nobody's until the last.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel-runner/attach/contents_base64.h"
#include "kernel-runner/attach/contents_notebook.h"
#include "kernel-runner/attach/contents_work.h"
#include "kernel-runner/files/file_root.h"
#include "kernel-runner/files/file_temp.h"
#include "kernel-runner/files/file_usage.h"
#include "lib/api/limits.h"
#include "lib/base/write_all.h"
#include "lib/json/jsonx.h"

/* ---- what is to be written ---- */

/* Laid out if it fits in what can be read again, else as it came. */
static int put_notebook(struct buf *out, struct slice clean)
{
    int r = jsonx_indent(out, clean);
    if (r == 0)
        r = buf_append_char(out, '\n');
    if (r != -ERR_TOO_LARGE)
        return r;
    buf_clear(out);
    r = buf_append_slice(out, clean);
    return r == 0 ? buf_append_char(out, '\n') : r;
}

/* Each form goes as soon as the next is made, so that there are two at a time at most. */
static int notebook_bytes(struct contents_job *j, struct buf *out, struct err *err)
{
    struct buf compact, clean;
    struct slice content = j->model.content;
    if (content.ptr[0] != '{')
        return err_field(err, "content", "the content of a notebook must be a JSON object");
    buf_init(&compact, LIMIT_CONTENTS_BYTES);
    buf_init(&clean, LIMIT_CONTENTS_BYTES);
    int r = jsonx_compact(&compact, content);
    buf_done(&j->body);
    j->model.content = slice_make(NULL, 0);
    if (r == 0)
        r = contents_notebook_untrust(&clean, buf_slice(&compact));
    buf_done(&compact);
    if (r == 0)
        r = put_notebook(out, buf_slice(&clean));
    buf_done(&clean);
    if (r == -ERR_TOO_LARGE)
        return err_set(err, ERR_TOO_LARGE, "a notebook has at most %zu bytes; use /files",
                       LIMIT_CONTENTS_FILE_BYTES);
    return r < 0 ? err_field(err, "content", "the content is not JSON") : 0;
}

static int file_bytes(const struct contents_body *b, struct buf *out, struct err *err)
{
    if (b->format != CONTENTS_TEXT && b->format != CONTENTS_BASE64)
        return err_field(err, "format",
                         "Must specify format of file contents as 'text' or 'base64'");
    if (b->content.ptr[0] != '"' || jsonx_append_decoded(out, b->content) < 0)
        return err_field(err, "content", "the content of a file must be a text");
    if (b->format == CONTENTS_TEXT || out->len == 0)
        return 0;
    return contents_base64_decode(out->ptr, out->len, &out->len, err);
}

/* ---- writing ---- */

static int replace(struct contents_job *j, const struct buf *bytes, struct err *err)
{
    _cleanup_(file_temp_donep) struct file_temp t;
    struct stat st;
    bool created;
    file_temp_init(&t);
    t.root_path = j->root_path;
    t.path = j->target.path;
    t.max_bytes = j->max_bytes;
    int r = file_temp_open(&t, (int64_t)bytes->len, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "No such directory to save %.500s in", t.path);
    if (r == 0)
        r = file_temp_write(&t, bytes->ptr, bytes->len, err);
    if (r == 0)
        r = file_temp_keep_mode(&t, err);
    if (r == 0)
        r = file_temp_commit(&t, &created, &st, err);
    return r == 0 ? contents_answer_model(j, created ? 201 : 200, t.path, err) : r;
}

/* All of the chunk or nothing, so that a client can send it again. */
static int append(struct contents_job *j, const struct buf *bytes, struct err *err)
{
    _cleanup_(closep) int fd = -1;
    struct stat st;
    int r = file_open_beneath(j->root_fd, j->target.path, O_WRONLY | O_APPEND, &fd, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "an upload begins with chunk 1; there is no such file");
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFLICT, "it is not a regular file");
    uint64_t room = file_room(j->root_fd, j->max_bytes);
    if (bytes->len > room)
        return file_no_space(j->max_bytes, room, err);
    if (write_all(fd, buf_slice(bytes)) < 0) {
        r = err_errno(err, "cannot write the file");
        if (ftruncate(fd, st.st_size) < 0)
            return err_wrap(err, "a part of the chunk was written");
        return r;
    }
    return contents_answer_model(j, 200, j->target.path, err);
}

static int save_dir(struct contents_job *j, struct err *err)
{
    _cleanup_(closep) int fd = -1;
    struct contents_model m;
    const char *path = j->target.path, *name;
    int r = file_open_parent(j->root_fd, path, &fd, &name, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "No such directory to make %.500s in", path);
    if (r < 0)
        return r;
    if (mkdirat(fd, name, 0755) == 0)
        return contents_answer_model(j, 201, path, err);
    if (errno != EEXIST)
        return err_errno(err, "cannot make the directory");
    r = contents_model_look(&m, j->root_fd, path, err);
    if (r == 0 && m.type != CONTENTS_DIRECTORY)
        return err_field(err, "path", "Not a directory: %.500s", path);
    return r == 0 ? contents_answer_model(j, 200, path, err) : r;
}

/* ---- the request ---- */

static int save_chunk(struct contents_job *j, struct err *err)
{
    struct buf bytes;
    if (j->model.type != CONTENTS_FILE)
        return err_field(err, "type", "only files are uploaded in chunks");
    if (j->model.content.len == 0)
        return err_field(err, "content", "No file content provided");
    buf_init(&bytes, LIMIT_CONTENTS_BYTES);
    int r = file_bytes(&j->model, &bytes, err);
    if (r == 0)
        r = j->model.chunk == 1 ? replace(j, &bytes, err) : append(j, &bytes, err);
    buf_done(&bytes);
    return r;
}

static int save_content(struct contents_job *j, enum contents_type type, struct err *err)
{
    struct buf bytes;
    int r;
    buf_init(&bytes, type == CONTENTS_NOTEBOOK ? LIMIT_CONTENTS_FILE_BYTES : LIMIT_CONTENTS_BYTES);
    if (j->model.content.len == 0)
        r = type == CONTENTS_NOTEBOOK ? buf_append_str(&bytes, CONTENTS_NEW_NOTEBOOK) : 0;
    else if (type == CONTENTS_NOTEBOOK)
        r = notebook_bytes(j, &bytes, err);
    else
        r = file_bytes(&j->model, &bytes, err);
    if (r == 0)
        r = replace(j, &bytes, err);
    buf_done(&bytes);
    return r;
}

int contents_save(struct contents_job *j, struct err *err)
{
    struct contents_model m;
    const char *path = j->target.path;
    enum contents_type type = j->model.type;
    if (!*path)
        return err_field(err, "path", "the root cannot be saved");
    if (j->model.copy_from && *j->model.copy_from)
        return err_field(err, "copy_from", "Cannot copy with PUT, only POST");
    if (contents_path_is_hidden(path))
        return err_field(err, "path", "Cannot create file or directory %.500s", path);
    if (j->model.has_chunk)
        return save_chunk(j, err);
    /* Jupyter Server fills in what a new file lacks, but not what an old one does. */
    bool old = contents_model_look(&m, j->root_fd, path, NULL) == 0 && m.type != CONTENTS_DIRECTORY;
    if (old && type == CONTENTS_ANY)
        return err_field(err, "type", "No file type provided");
    if (type == CONTENTS_ANY)
        type = contents_name_is_notebook(path) ? CONTENTS_NOTEBOOK : CONTENTS_FILE;
    if (type == CONTENTS_DIRECTORY)
        return save_dir(j, err);
    if (old && j->model.content.len == 0)
        return err_field(err, "content", "No file content provided");
    return save_content(j, type, err);
}
