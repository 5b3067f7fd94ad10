/*
 * Lists in the byte order of whole paths, a page at a time, without holding a directory in memory.
 * A folder "a" gives two items: "a", its own entry, and "a/", which stands for all that is in it;
 * sorted among their siblings ("a" < "a.txt" < "a/" < "a0") these put all paths in order. Of a
 * directory only the first items behind the cursor are kept (a bounded set, however many names
 * there are), and it is read again for the next ones if these did not fill the page.
 */
#include "kernel-runner/files/file_list.h"

#include "kernel-runner/files/file_root.h"
#include "kernel-runner/files/file_token.h"
#include "lib/base/buf.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"
#include "lib/json/jsonx.h"

#include <errno.h>
#include <fcntl.h>

#define PAGE_BYTES MIB(32) /* 1000 paths of 4096 bytes, each escaped six-fold, and the rest */
#define SCANS_MAX  10000 /* directory readings for one page: only a tree that changes needs more */

struct list {
    char *root_path, *dir, *after;
    bool recursive;
    unsigned limit;
    file_list_fn done;
    void *ctx;

    char path[PATH_USER_MAX + 1]; /* of the folder being read, relative to dir, ending with '/' */
    struct buf json;
    struct buf last; /* path of the last entry, relative to dir */
    unsigned count, scans;
    bool more, failed;
    struct err err;
};

/* ---- the first items of a directory behind a cursor ---- */

struct items {
    char **names;
    size_t len, keep; /* holds up to 2 * keep between two cuts */
    bool cut;         /* there are more behind the last */
};

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void items_cut(struct items *items)
{
    qsort(items->names, items->len, sizeof(char *), compare);
    for (; items->len > items->keep; items->len--) {
        free(items->names[items->len - 1]);
        items->cut = true;
    }
}

static void items_add(struct items *items, const char *name, bool subtree)
{
    if (items->cut && strcmp(name, items->names[items->keep - 1]) > 0)
        return;
    if (items->len == 2 * items->keep)
        items_cut(items);
    items->names[items->len++] = mem_printf("%s%s", name, subtree ? "/" : "");
}

static void items_done(struct items *items)
{
    for (size_t i = 0; i < items->len; i++)
        free(items->names[i]);
    free(items->names);
}
static inline void items_donep(struct items *items)
{
    items_done(items);
}

/* `into`: the cursor may lie inside the subtree that the item stands for. */
static bool is_behind(const char *name, bool subtree, const char *cursor, bool into)
{
    size_t len = strlen(name);
    int order = strncmp(name, cursor, len);
    if (order != 0)
        return order > 0;
    if (!subtree)
        return false; /* the cursor is the name, or begins with it */
    if (cursor[len] == '/')
        return into;
    return (unsigned char)cursor[len] < '/';
}

static bool is_directory(DIR *dir, const struct dirent *e)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void read_items(const struct list *l, DIR *dir, const char *cursor, bool into, bool deeper,
                       struct items *items)
{
    size_t base = strlen(l->path) + strlen(l->dir) + 1;
    items->len = 0;
    items->cut = false;
    rewinddir(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        const char *name = e->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            strncmp(name, FILE_UPLOAD_PREFIX, strlen(FILE_UPLOAD_PREFIX)) == 0 ||
            base + strlen(name) > PATH_USER_MAX)
            continue;
        if (is_behind(name, false, cursor, into))
            items_add(items, name, false);
        if (deeper && is_behind(name, true, cursor, into) && is_directory(dir, e))
            items_add(items, name, true);
    }
    items_cut(items);
}

/* ---- entries ---- */

static const char *type_name(mode_t mode)
{
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "directory";
    return S_ISLNK(mode) ? "symlink" : "other";
}

static void put_json(struct list *l, const char *name, const struct stat *st)
{
    char at[CLK_RFC3339_SIZE];
    char path[2 * PATH_USER_MAX];
    int n = snprintf(path, sizeof(path), "%s%s%s%s", l->dir, *l->dir ? "/" : "", l->path, name);
    (void)buf_append_str(&l->json, l->count ? ",{\"path\":" : "{\"path\":");
    (void)jsonx_append_string(&l->json, slice_make(path, (size_t)n));
    int64_t us = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000;
    (void)buf_printf(&l->json, ",\"type\":\"%s\",\"size\":%lld,\"modified_at\":\"%s\"}",
                     type_name(st->st_mode), S_ISDIR(st->st_mode) ? 0LL : (long long)st->st_size,
                     clk_rfc3339(us, at));
}

/* Returns false when the page is full. */
static bool put_entry(struct list *l, DIR *dir, const char *name)
{
    struct stat st;
    if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return true; /* removed meanwhile */
    if (l->count == l->limit) {
        l->more = true;
        return false;
    }
    put_json(l, name, &st);
    l->count++;
    buf_clear(&l->last);
    (void)buf_printf(&l->last, "%s%s", l->path, name);
    return true;
}

/* ---- the walk ---- */

static bool walk(struct list *l, int fd_take, const char *cursor, unsigned depth);

/* `item` ends with '/'. */
static bool walk_subtree(struct list *l, DIR *dir, const char *item, const char *cursor,
                         unsigned depth)
{
    size_t base = strlen(l->path), len = strlen(item);
    char name[PATH_PART_MAX + 1];
    memcpy(name, item, len - 1);
    name[len - 1] = '\0';
    int fd = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return true; /* removed meanwhile, or not readable: its own entry stands in the list */
    memcpy(l->path + base, item, len + 1);
    bool go_on = walk(l, fd, strncmp(cursor, item, len) == 0 ? cursor + len : "", depth + 1);
    l->path[base] = '\0';
    return go_on;
}

static bool walk_dir(struct list *l, DIR *dir, const char *cursor, unsigned depth)
{
    _cleanup_(items_donep) struct items items = {.keep = l->limit + 1};
    items.names = MEM_NEW_N(char *, 2 * items.keep);
    _cleanup_(freep) char *last = NULL;
    do {
        if (l->scans++ == SCANS_MAX) {
            err_set(&l->err, ERR_UNAVAILABLE, "the directory changes too fast; try again");
            l->failed = true;
            return false;
        }
        for (size_t i = 0; i < items.len; i++)
            free(items.names[i]);
        read_items(l, dir, last ? last : cursor, !last, l->recursive && depth < FILE_DEPTH_MAX,
                   &items);
        for (size_t i = 0; i < items.len; i++) {
            const char *item = items.names[i];
            bool subtree = item[strlen(item) - 1] == '/';
            if (subtree ? !walk_subtree(l, dir, item, last ? "" : cursor, depth)
                        : !put_entry(l, dir, item))
                return false;
        }
        if (items.len > 0) {
            free(last);
            last = mem_dup_str(items.names[items.len - 1]);
        }
    } while (items.cut);
    return true;
}

/* Returns false when the page is full or the walk failed. */
static bool walk(struct list *l, int fd_take, const char *cursor, unsigned depth)
{
    _cleanup_(closedirp) DIR *dir = fdopendir(fd_take);
    if (!dir) {
        close(fd_take);
        return true;
    }
    return walk_dir(l, dir, cursor, depth);
}

static int open_list(struct list *l, int *ret_fd)
{
    _cleanup_(closep) int root_fd = -1;
    int r = file_root_open_dir(l->root_path, &root_fd, &l->err);
    if (r < 0)
        return r;
    r = file_open_beneath(root_fd, l->dir, O_RDONLY | O_DIRECTORY, ret_fd, &l->err);
    if (r == -ERR_NOT_FOUND)
        return err_set(&l->err, ERR_NOT_FOUND, "there is no such directory");
    return r;
}

static void on_work(void *data)
{
    struct list *l = data;
    int fd = -1;
    if (open_list(l, &fd) < 0) {
        l->failed = true;
        return;
    }
    (void)buf_append_str(&l->json, "{\"files\":[");
    (void)walk(l, fd, l->after ? l->after : "", 0);
    (void)buf_append_str(&l->json, "],\"continue\":");
    if (l->more) {
        (void)buf_append_char(&l->json, '"');
        (void)file_token_format(buf_slice(&l->last), &l->json);
        (void)buf_append_str(&l->json, "\"}");
    } else {
        (void)buf_append_str(&l->json, "null}");
    }
}

static void on_done(void *data)
{
    struct list *l = data;
    if (l->failed) {
        l->done(l->ctx, NULL, 0, &l->err);
        return;
    }
    size_t len = l->json.len;
    l->done(l->ctx, buf_take(&l->json), len, NULL);
}

static void list_free(void *data)
{
    struct list *l = data;
    free(l->root_path);
    free(l->dir);
    free(l->after);
    buf_done(&l->json);
    buf_done(&l->last);
    free(l);
}

static int check_query(struct list *l, const struct file_list_query *q, struct err *err)
{
    if (q->limit < 1 || q->limit > FILE_LIST_MAX)
        return err_field(err, "limit", "limit must be between 1 and %d", FILE_LIST_MAX);
    l->limit = q->limit;
    l->recursive = q->recursive;
    size_t len = q->dir ? strlen(q->dir) : 0;
    if (len > 0 && q->dir[len - 1] == '/')
        len--;
    l->dir = mem_dup_n(q->dir, len);
    if (q->dir && *q->dir && path_check_relative(l->dir, len, err) < 0) {
        if (err)
            memcpy(err->field, "dir", 4);
        return -ERR_INVALID;
    }
    if (q->after) {
        l->after = mem_alloc(PATH_USER_MAX + 1);
        return file_token_parse(q->after, l->after, PATH_USER_MAX + 1, err);
    }
    return 0;
}

int file_list_start(struct file_job **ret, const struct file_root *root,
                    const struct file_list_query *query, file_list_fn done, void *ctx,
                    struct err *err)
{
    static const struct file_job_type type = {on_work, on_done, list_free};
    struct list *l = MEM_NEW(struct list);
    l->root_path = mem_dup_str(file_root_path(root));
    l->done = done;
    l->ctx = ctx;
    buf_init(&l->json, PAGE_BYTES);
    buf_init(&l->last, PATH_USER_MAX);
    int r = check_query(l, query, err);
    if (r < 0) {
        list_free(l);
        return r;
    }
    return file_job_start(ret, file_root_loop(root), &type, l, err);
}
