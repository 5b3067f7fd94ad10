/*
 * The isolation of a local sandbox, in one list. The order counts: a later mount covers an earlier
 * one, so trees come after the tmpfs that may lie above them, and the root is made read-only last
 * (bubblewrap's root and /dev are tmpfs without a limit of their own).
 *
 * --unshare-user beside --unshare-all: without it a caller with CAP_SYS_ADMIN would silently get
 * no user namespace where none can be made. Never --die-with-parent: sandboxes outlive a
 * controller. Not --new-session: the child did setsid() already, and one more would hide the runner
 * from the process group by which a half-made sandbox is ended.
 */
#include "controller/backends/local_bwrap.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct args {
    struct buf *out;
    int failed;
};

static void arg(struct args *a, const char *s)
{
    if (a->failed == 0)
        a->failed = buf_append(a->out, s, strlen(s) + 1);
}

/* add(a, "--bind", x, y, NULL) */
__attribute__((sentinel)) static void add(struct args *a, ...)
{
    va_list ap;
    const char *s;

    va_start(ap, a);
    while ((s = va_arg(ap, const char *)))
        arg(a, s);
    va_end(ap);
}

static void add_namespaces(struct args *a, const struct local_bwrap *b)
{
    add(a, "--unshare-all", "--unshare-user", NULL);
    if (b->network_host)
        arg(a, "--share-net");
    add(a, "--as-pid-1", "--disable-userns", "--hostname", "sandbox", NULL);
    add(a, "--uid", "1000", "--gid", "1000", NULL);
}

static void add_system(struct args *a, const struct local_bwrap *b)
{
    add(a, "--ro-bind", "/usr", "/usr", NULL);
    for (size_t i = 0; i < b->n_tops; i++) {
        const struct local_bwrap_link *top = &b->tops[i];
        if (top->target)
            add(a, "--symlink", top->target, top->path, NULL);
        else
            add(a, "--ro-bind", top->path, top->path, NULL);
    }
}

static void add_etc(struct args *a, const struct local_bwrap *b)
{
    static const char *const shared[] = {
        "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",    "/etc/localtime",
        "/etc/timezone",    "/etc/ssl/certs",  "/etc/ssl/openssl.cnf", "/etc/ca-certificates.conf",
        "/etc/mime.types",  "/etc/fonts",      "/etc/alternatives",    "/etc/services",
        "/etc/protocols",
    };
    char fd[16];

    add(a, "--perms", "0755", "--dir", "/etc", NULL);
    for (size_t i = 0; i < b->n_etc; i++) {
        snprintf(fd, sizeof(fd), "%d", b->etc[i].fd);
        add(a, "--perms", "0444", "--file", fd, b->etc[i].path, NULL);
    }
    if (b->network_host)
        add(a, "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf", NULL);
    for (size_t i = 0; i < ARRAY_LEN(shared); i++)
        add(a, "--ro-bind-try", shared[i], shared[i], NULL);
}

static void add_tmpfs(struct args *a, const char *perms, uint64_t bytes, const char *path)
{
    char size[24];

    snprintf(size, sizeof(size), "%" PRIu64, bytes);
    add(a, "--perms", perms, "--size", size, "--tmpfs", path, NULL);
}

static void add_writable(struct args *a, const struct local_bwrap *b)
{
    add(a, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", NULL);
    for (size_t i = 0; i < b->n_masks; i++)
        add(a, "--ro-bind", "/dev/null", b->masks[i], NULL);
    add_tmpfs(a, "0700", b->shm_bytes, "/dev/shm");
    add_tmpfs(a, "1777", b->tmp_bytes, "/tmp");
    add_tmpfs(a, "0700", b->run_bytes, "/run");
    add_tmpfs(a, "0700", b->files_bytes, "/uploaded_files");
}

int local_bwrap_args(struct buf *out, const struct local_bwrap *b, struct err *err)
{
    struct args a = {.out = out};

    add_namespaces(&a, b);
    arg(&a, "--clearenv");
    for (size_t i = 0; i < b->n_env; i++)
        add(&a, "--setenv", b->env[i].name, b->env[i].value, NULL);
    add_system(&a, b);
    add_etc(&a, b);
    add_writable(&a, b);
    for (size_t i = 0; i < b->n_trees; i++)
        add(&a, "--ro-bind", b->trees[i].source, b->trees[i].path, NULL);
    for (size_t i = 0; i < b->n_links; i++)
        add(&a, "--symlink", b->links[i].target, b->links[i].path, NULL);
    add(&a, "--remount-ro", "/", "--chdir", "/uploaded_files", NULL);
    if (a.failed < 0)
        return err_set(err, ERR_INTERNAL, "the arguments of bubblewrap are too long");
    return 0;
}
