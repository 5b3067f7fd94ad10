/*
 * POST: what is new gets its name here. A name is tried by taking it, so that two requests at once,
 * or user code beside them, never get the same one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel-runner/attach/contents_work.h"
#include "kernel-runner/files/file_root.h"
#include "kernel-runner/files/file_temp.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"

#define TRIES_MAX  10000
#define COPY_CHUNK KIB(256)

struct naming {
    const char *name, *insert;
};

static int answer_named(struct contents_job *j, const char *name, struct err *err)
{
    const char *dir = j->target.path;
    _cleanup_(freep) char *path = mem_printf("%s%s%s", dir, *dir ? "/" : "", name);
    return contents_answer_model(j, 201, path, err);
}

static int no_name(struct err *err)
{
    return err_set(err, ERR_CONFLICT, "%d names are taken", TRIES_MAX);
}

/* ---- files ---- */

static int open_in_dir(struct contents_job *j, struct file_temp *t, int64_t length, struct err *err)
{
    file_temp_init(t);
    t->root_path = j->root_path;
    t->path = j->target.path;
    t->max_bytes = j->max_bytes;
    t->in_folder = true;
    return file_temp_open(t, length, err);
}

static int commit_named(struct contents_job *j, struct file_temp *t, struct naming naming,
                        struct err *err)
{
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        char name[PATH_PART_MAX + 1];
        int r = contents_name_try(naming.name, naming.insert, i, name, sizeof(name), err);
        if (r == 0)
            r = file_temp_commit_new(t, name, err);
        if (r < 0)
            return r;
        if (r == 0)
            return answer_named(j, name, err);
    }
    return no_name(err);
}

static int create_file(struct contents_job *j, struct naming naming, const char *text,
                       struct err *err)
{
    _cleanup_(file_temp_donep) struct file_temp t;
    int r = open_in_dir(j, &t, (int64_t)strlen(text), err);
    if (r == 0)
        r = file_temp_write(&t, text, strlen(text), err);
    return r == 0 ? commit_named(j, &t, naming, err) : r;
}

static int create_dir(struct contents_job *j, struct naming naming, struct err *err)
{
    _cleanup_(closep) int fd = -1;
    int r = file_open_beneath(j->root_fd, j->target.path, O_PATH | O_DIRECTORY, &fd, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        char name[PATH_PART_MAX + 1];
        r = contents_name_try(naming.name, naming.insert, i, name, sizeof(name), err);
        if (r < 0)
            return r;
        if (mkdirat(fd, name, 0755) == 0)
            return answer_named(j, name, err);
        if (errno != EEXIST)
            return err_errno(err, "cannot make a directory");
    }
    return no_name(err);
}

static int create_untitled(struct contents_job *j, struct err *err)
{
    const char *ext = j->model.ext ? j->model.ext : "";
    enum contents_type type = j->model.type;
    if (type == CONTENTS_ANY)
        type = strcmp(ext, ".ipynb") == 0 ? CONTENTS_NOTEBOOK : CONTENTS_FILE;
    if (type == CONTENTS_DIRECTORY)
        return create_dir(j, (struct naming){"Untitled Folder", " "}, err);
    if (type == CONTENTS_NOTEBOOK)
        return create_file(j, (struct naming){"Untitled.ipynb", ""}, CONTENTS_NEW_NOTEBOOK, err);
    char name[PATH_PART_MAX + 1];
    if (snprintf(name, sizeof(name), "untitled%s", ext) >= (int)sizeof(name) || strchr(ext, '/'))
        return err_field(err, "ext", "ext must be short and have no slash");
    return create_file(j, (struct naming){name, ""}, "", err);
}

/* ---- copies ---- */

static int copy_bytes(int fd, struct file_temp *t, struct err *err)
{
    _cleanup_(freep) char *chunk = mem_alloc(COPY_CHUNK);
    for (;;) {
        ssize_t n = read(fd, chunk, COPY_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot read the file");
        int r = n == 0 ? 0 : file_temp_write(t, chunk, (size_t)n, err);
        if (n == 0 || r < 0)
            return r;
    }
}

/* Ends, since what is read from a file that grows meanwhile has its room to fit in. */
static int copy(struct contents_job *j, struct err *err)
{
    struct contents_model m;
    _cleanup_(freep) char *from = NULL;
    _cleanup_(closep) int fd = -1;
    int r = contents_path_clean(j->model.copy_from, &from, err);
    if (r < 0)
        return r;
    if (contents_path_is_hidden(from))
        return err_field(err, "copy_from", "Cannot copy file or directory %.500s", from);
    if ((r = contents_model_look(&m, j->root_fd, from, err)) < 0)
        return r;
    if (m.type == CONTENTS_DIRECTORY)
        return err_field(err, "copy_from", "Can't copy directories");
    if ((r = file_open_beneath(j->root_fd, from, O_RDONLY, &fd, err)) < 0)
        return r;
    if (fstat(fd, &m.st) < 0 || !S_ISREG(m.st.st_mode))
        return err_set(err, ERR_INVALID, "Cannot read non-file %.500s", from);
    _cleanup_(file_temp_donep) struct file_temp t;
    r = open_in_dir(j, &t, m.st.st_size, err);
    if (r == 0)
        r = copy_bytes(fd, &t, err);
    char *slash = strrchr(from, '/'), *name = slash ? slash + 1 : from;
    contents_name_uncopy(name);
    return r == 0 ? commit_named(j, &t, (struct naming){name, "-Copy"}, err) : r;
}

int contents_create(struct contents_job *j, struct err *err)
{
    struct contents_model m;
    const char *dir = j->target.path;
    if (contents_path_is_hidden(dir))
        return err_field(err, "path", "Cannot create file or directory %.500s", dir);
    int r = contents_model_look(&m, j->root_fd, dir, err);
    if (r == -ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "No such directory: %.500s", dir);
    if (r < 0)
        return r;
    if (m.type != CONTENTS_DIRECTORY)
        return err_set(err, ERR_INVALID, "Cannot POST to files, use PUT instead.");
    return j->model.copy_from && *j->model.copy_from ? copy(j, err) : create_untitled(j, err);
}
