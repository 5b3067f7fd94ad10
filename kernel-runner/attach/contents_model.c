/*
 * The model's members are those of Jupyter Server 2: clients check that each is there, null where
 * it has no value. `content` comes last here, so that a large one can be written behind the rest.
 *
 * A link is shown as what it points to, when that is within the root; Jupyter Server shows the
 * link's own times, by which no client could see that the file has changed.
 */
#include "kernel-runner/attach/contents_model.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kernel-runner/attach/contents_path.h"
#include "kernel-runner/files/file_get.h"
#include "kernel-runner/files/file_root.h"
#include "lib/base/clk.h"
#include "lib/json/jsonx.h"

bool contents_is_writable(int dir_fd, const char *name, const struct stat *st)
{
    if (faccessat(dir_fd, name, W_OK, *name ? 0 : AT_EMPTY_PATH) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    /* A system without faccessat2. */
    return st->st_mode & (st->st_uid == geteuid() ? S_IWUSR : S_IWOTH);
}

int contents_model_look(struct contents_model *ret, int root_fd, const char *path, struct err *err)
{
    _cleanup_(closep) int fd = -1;
    *ret = (struct contents_model){.path = path};
    int r = file_open_beneath(root_fd, path, O_PATH, &fd, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "No such file or directory: %.500s", path);
    if (r < 0)
        return r;
    if (fstat(fd, &ret->st) < 0)
        return err_errno(err, "cannot look at the file");
    if (S_ISDIR(ret->st.st_mode))
        ret->type = CONTENTS_DIRECTORY;
    else if (S_ISREG(ret->st.st_mode))
        ret->type = contents_name_is_notebook(path) ? CONTENTS_NOTEBOOK : CONTENTS_FILE;
    else
        return err_set(err, ERR_INVALID, "Cannot read non-file %.500s", path);
    ret->writable = contents_is_writable(fd, "", &ret->st);
    return 0;
}

void contents_time(struct buf *out, const struct timespec *t)
{
    char at[CLK_RFC3339_SIZE];
    int64_t us = 0; /* user code may set any time */
    if (t->tv_sec >= 0 && t->tv_sec < 253402300800)
        us = (int64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000;
    (void)buf_printf(out, "\"%s\"", clk_rfc3339(us, at));
}

/* Of files only, as Jupyter Server does it; what the content tells where the name does not. */
static void put_mimetype(struct buf *out, const struct contents_model *m)
{
    const char *type = file_type_of(m->path);
    bool unknown = strcmp(type, "application/octet-stream") == 0;
    if (m->type != CONTENTS_FILE || (unknown && m->format == CONTENTS_FORMAT_ANY))
        (void)buf_append_str(out, "null");
    else if (unknown && m->format == CONTENTS_TEXT)
        (void)buf_append_str(out, "\"text/plain\"");
    else
        (void)buf_printf(out, "\"%.*s\"", (int)strcspn(type, ";"), type);
}

void contents_model_head(struct buf *out, const struct contents_model *m)
{
    static const char *const types[] = {"file", "file", "directory", "notebook"};
    static const char *const formats[] = {"null", "\"text\"", "\"base64\"", "\"json\""};
    const char *slash = strrchr(m->path, '/');
    (void)buf_append_str(out, "{\"name\":");
    (void)jsonx_append_string(out, slice_str(slash ? slash + 1 : m->path));
    (void)buf_append_str(out, ",\"path\":");
    (void)jsonx_append_string(out, slice_str(m->path));
    (void)buf_printf(out, ",\"type\":\"%s\",\"created\":", types[m->type]);
    contents_time(out, &m->st.st_ctim);
    (void)buf_append_str(out, ",\"last_modified\":");
    contents_time(out, &m->st.st_mtim);
    (void)buf_printf(out, ",\"writable\":%s,\"size\":", m->writable ? "true" : "false");
    if (m->type == CONTENTS_DIRECTORY)
        (void)buf_append_str(out, "null");
    else
        (void)buf_printf(out, "%lld", (long long)m->st.st_size);
    (void)buf_append_str(out, ",\"mimetype\":");
    put_mimetype(out, m);
    (void)buf_printf(out, ",\"format\":%s,", formats[m->format]);
    if (m->hash)
        (void)buf_printf(out, "\"hash\":\"%s\",\"hash_algorithm\":\"sha256\"", m->hash);
    else
        (void)buf_append_str(out, "\"hash\":null,\"hash_algorithm\":null");
    (void)buf_append_str(out, ",\"content\":");
}

void contents_model_plain(struct buf *out, const struct contents_model *m)
{
    contents_model_head(out, m);
    (void)buf_append_str(out, "null}");
}
