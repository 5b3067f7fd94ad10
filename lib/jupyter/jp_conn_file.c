/* The connection file (jupyter_client docs/kernels.rst). */
#include "lib/jupyter/jp_conn_file.h"

#include "lib/base/cleanup.h"
#include "lib/json/jsonx.h"
#include "lib/jupyter/jp_client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

int jp_conn_check_prefix(const char *ipc_prefix, struct err *err)
{
    const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("-5");
    if (!*ipc_prefix || strlen(ipc_prefix) > max)
        return err_set(err, ERR_INVALID, "the socket path %s is longer than %zu bytes", ipc_prefix,
                       max);
    return 0;
}

static int write_all(int fd, struct slice s)
{
    while (s.len) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return 0;
}

static void format(struct buf *out, const char *ipc_prefix, const char *key,
                   const char *kernel_name)
{
    buf_append_str(out, "{\"transport\":\"ipc\",\"ip\":");
    jsonx_append_string(out, slice_str(ipc_prefix));
    buf_printf(out,
               ",\"shell_port\":%d,\"iopub_port\":%d,\"stdin_port\":%d,\"control_port\":%d,"
               "\"hb_port\":%d,\"key\":",
               JP_PORT_SHELL, JP_PORT_IOPUB, JP_PORT_STDIN, JP_PORT_CONTROL, JP_PORT_HB);
    jsonx_append_string(out, slice_str(key));
    buf_append_str(out, ",\"signature_scheme\":\"hmac-sha256\",\"kernel_name\":");
    jsonx_append_string(out, slice_str(kernel_name));
    buf_append_str(out, "}\n");
}

int jp_conn_file_write(const char *path, const char *ipc_prefix, const char *key,
                       const char *kernel_name, struct err *err)
{
    int r = jp_conn_check_prefix(ipc_prefix, err);
    if (r < 0)
        return r;
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(err, "connection file %s", path);
    _cleanup_(closep) int fd =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "connection file %s", path);
    struct buf out;
    buf_init(&out, KIB(4));
    format(&out, ipc_prefix, key, kernel_name);
    r = write_all(fd, buf_slice(&out));
    buf_done(&out);
    if (r < 0 || fchmod(fd, 0600) < 0) {
        r = err_errno(err, "connection file %s", path);
        unlink(path);
    }
    return r;
}
