/*
 * The work of one request, on the pool: nothing here touches the loop, the request or another job.
 * Every path is resolved beneath the root anew, by descriptor, so that a link which user code puts
 * in its way leads nowhere.
 *
 * Checkpoints. None are kept: the list is empty, and there is none to restore or delete. But to
 * make one is answered as done. JupyterLab 4 asks for one when it opens a document (a refusal other
 * than 403 is then "File Load Error") and after every save by its user (any refusal fails the
 * command, though the file is saved). So the answer says as little as it can: that the file is
 * safe as it was last saved; the model's time is the file's, and nothing lists it.
 *
 * The address of a checkpoint could be that of a file in a directory called "checkpoints", too,
 * which Jupyter Server cannot reach. Here it is a checkpoint's only behind a file.
 */
#include "kernel-runner/attach/contents_work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-runner/files/file_root.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

/* Of a list, too. What is charged for a file is as much as it has, and twice as much for JSON. */
#define ANSWER_MAX   (2 * LIMIT_CONTENTS_FILE_BYTES + KIB(128))
#define LOCATION_MAX (3 * PATH_USER_MAX + 64)

int contents_answer_model(struct contents_job *j, int status, const char *path, struct err *err)
{
    struct contents_model m;
    int r = contents_model_look(&m, j->root_fd, path, err);
    if (r < 0)
        return r;
    j->status = status;
    contents_location(&j->location, path);
    contents_model_plain(&j->json, &m);
    return 0;
}

/* ---- rename and delete ---- */

static int rename_failed(const char *to, struct err *err)
{
    switch (errno) {
    case EEXIST:
    case ENOTEMPTY:
        return err_set(err, ERR_CONFLICT, "File already exists: %.500s", to);
    case ENOENT:
        return err_set(err, ERR_NOT_FOUND, "there is no such file");
    case EINVAL:
        return err_field(err, "path", "a directory cannot be moved into itself");
    default:
        return err_errno(err, "cannot rename the file");
    }
}

static int rename_path(const struct contents_job *j, const char *from, const char *to,
                       struct err *err)
{
    _cleanup_(closep) int from_fd = -1;
    _cleanup_(closep) int to_fd = -1;
    const char *from_name, *to_name;
    struct stat st;
    int r = file_open_parent(j->root_fd, from, &from_fd, &from_name, err);
    if (r < 0)
        return r;
    r = file_open_parent(j->root_fd, to, &to_fd, &to_name, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "there is no directory to move it to");
    if (r < 0)
        return r;
    if (renameat2(from_fd, from_name, to_fd, to_name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) { /* also of a file system that cannot */
        if (fstatat(to_fd, to_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            errno = EEXIST;
        else if (renameat(from_fd, from_name, to_fd, to_name) == 0)
            return 0;
    }
    return rename_failed(to, err);
}

static int patch(struct contents_job *j, struct err *err)
{
    struct contents_model m;
    const char *from = j->target.path;
    _cleanup_(freep) char *to = NULL;
    if (j->model.missing)
        return err_set(err, ERR_INVALID, "JSON body missing");
    if (!j->model.path)
        return contents_answer_model(j, 200, from, err);
    int r = contents_path_clean(j->model.path, &to, err);
    if (r < 0)
        return r;
    if (!*from)
        return err_field(err, "path", "the root cannot be renamed");
    if (contents_path_is_hidden(from) || contents_path_is_hidden(to))
        return err_field(err, "path", "Cannot rename file or directory %.500s", from);
    /* What cannot be shown afterwards is left where it is. */
    if ((r = contents_model_look(&m, j->root_fd, from, err)) < 0)
        return r;
    if (strcmp(from, to) != 0 && (r = rename_path(j, from, to, err)) < 0)
        return r;
    return contents_answer_model(j, 200, to, err);
}

static int remove_path(struct contents_job *j, struct err *err)
{
    const char *path = j->target.path, *name;
    _cleanup_(closep) int fd = -1;
    if (!*path)
        return err_field(err, "path", "Can't delete root");
    if (contents_path_is_hidden(path))
        return err_field(err, "path", "Cannot delete file or directory %.500s", path);
    int r = file_open_parent(j->root_fd, path, &fd, &name, err);
    if (r < 0)
        return r;
    j->status = 204;
    if (unlinkat(fd, name, 0) == 0)
        return 0;
    if (errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "No such file or directory: %.500s", path);
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, "cannot remove the file");
    if (unlinkat(fd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return err_field(err, "path", "Directory %.500s not empty", path);
    return err_errno(err, "cannot remove the directory");
}

/* ---- checkpoints ---- */

/* Is the target a checkpoint's address? Then *ret is of the file it belongs to. */
static bool is_checkpoint(const struct contents_job *j, struct contents_model *ret)
{
    char path[PATH_USER_MAX + 1];
    if (j->target.file_len == 0 || j->target.file_len > PATH_USER_MAX)
        return false;
    memcpy(path, j->target.path, j->target.file_len);
    path[j->target.file_len] = '\0';
    return !contents_path_is_hidden(path) &&
           contents_model_look(ret, j->root_fd, path, NULL) == 0 && ret->type != CONTENTS_DIRECTORY;
}

static int checkpoint(struct contents_job *j, const struct contents_model *m, struct err *err)
{
    if (j->target.has_id || (j->op != CONTENTS_GET && j->op != CONTENTS_POST))
        return err_set(err, ERR_NOT_FOUND, "there are no checkpoints");
    j->status = 200;
    if (j->op == CONTENTS_GET)
        return buf_append_str(&j->json, "[]");
    j->status = 201;
    (void)buf_append_str(&j->json, "{\"id\":\"saved\",\"last_modified\":");
    contents_time(&j->json, &m->st.st_mtim);
    return buf_append_char(&j->json, '}');
}

/* ---- the job ---- */

static int work(struct contents_job *j, struct err *err)
{
    struct contents_model m;
    int r = contents_body_parse(&j->model, buf_slice(&j->body), err);
    if (r == 0)
        r = file_root_open_dir(j->root_path, &j->root_fd, err);
    if (r < 0)
        return r;
    if (is_checkpoint(j, &m))
        return checkpoint(j, &m, err);
    switch (j->op) {
    case CONTENTS_GET:
        return contents_read(j, err);
    case CONTENTS_POST:
        return contents_create(j, err);
    case CONTENTS_PUT:
        return j->model.empty ? contents_create(j, err) : contents_save(j, err);
    case CONTENTS_PATCH:
        return patch(j, err);
    case CONTENTS_DELETE:
        return remove_path(j, err);
    }
    return err_set(err, ERR_INTERNAL, "no such operation");
}

static void on_work(void *data)
{
    struct contents_job *j = data;
    j->failed = work(j, &j->err) < 0;
    buf_done(&j->body); /* megabytes, that the answer need not wait with */
    buf_init(&j->body, 0);
}

static void on_done(void *data)
{
    struct contents_job *j = data;
    j->done(j->ctx, j);
}

static void on_free(void *data)
{
    contents_job_free(data);
}

struct contents_job *contents_job_new(enum contents_op op, const struct file_root *root)
{
    struct contents_job *j = MEM_NEW(struct contents_job);
    j->op = op;
    j->root_path = mem_dup_str(file_root_path(root));
    j->max_bytes = file_root_max_bytes(root);
    j->root_fd = -1;
    buf_init(&j->body, LIMIT_CONTENTS_BYTES);
    buf_init(&j->json, ANSWER_MAX);
    buf_init(&j->location, LOCATION_MAX);
    return j;
}

struct contents_job *contents_job_free(struct contents_job *j)
{
    if (!j)
        return NULL;
    closep(&j->root_fd);
    contents_body_done(&j->model);
    buf_done(&j->body);
    buf_done(&j->json);
    buf_done(&j->text);
    buf_done(&j->location);
    mem_held_release(&j->held);
    free(j->target.path);
    free(j->root_path);
    free(j);
    return NULL;
}

int contents_job_start(struct file_job **ret, struct loop *loop, struct contents_job *j_take,
                       struct err *err)
{
    static const struct file_job_type type = {on_work, on_done, on_free};
    return file_job_start(ret, loop, &type, j_take, err);
}
