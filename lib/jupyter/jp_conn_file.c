/* The connection file (jupyter_client docs/kernels.rst). */
#include "lib/jupyter/jp_conn_file.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/write_all.h"
#include "lib/json/jsonx.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SCHEME "hmac-sha256"

int jp_conn_check_prefix(const char *ipc_prefix, struct err *err)
{
    const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("-5");
    if (!*ipc_prefix || strlen(ipc_prefix) > max)
        return err_set(err, ERR_INVALID, "the socket path %s is longer than %zu bytes", ipc_prefix,
                       max);
    return 0;
}

static const struct {
    const char *name;
    int port;
} ports[] = {
    {"shell_port", JP_PORT_SHELL},     {"iopub_port", JP_PORT_IOPUB}, {"stdin_port", JP_PORT_STDIN},
    {"control_port", JP_PORT_CONTROL}, {"hb_port", JP_PORT_HB},
};

static void format(struct buf *out, const struct jp_conn *c, const char *kernel_name)
{
    buf_printf(out, "{\"transport\":\"%s\",\"ip\":", c->ipc ? "ipc" : "tcp");
    jsonx_append_string(out, slice_str(c->ip));
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        buf_printf(out, ",\"%s\":%d", ports[i].name, c->ports[ports[i].port]);
    buf_append_str(out, ",\"key\":");
    jsonx_append_string(out, slice_str(c->key));
    buf_append_str(out, ",\"signature_scheme\":\"" SCHEME "\",\"kernel_name\":");
    jsonx_append_string(out, slice_str(kernel_name));
    buf_append_str(out, "}\n");
}

int jp_conn_file_save(int dir_fd, const char *path, const struct jp_conn *conn,
                      const char *kernel_name, struct err *err)
{
    if (unlinkat(dir_fd, path, 0) < 0 && errno != ENOENT)
        return err_errno(err, "connection file %s", path);
    _cleanup_(closep) int fd =
        openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "connection file %s", path);
    struct buf out;
    buf_init(&out, JP_CONN_FILE_MAX);
    format(&out, conn, kernel_name);
    int r = write_all(fd, buf_slice(&out));
    buf_done(&out);
    if (r < 0 || fchmod(fd, 0600) < 0) {
        r = err_errno(err, "connection file %s", path);
        unlinkat(dir_fd, path, 0);
    }
    return r;
}

int jp_conn_file_write(int dir_fd, const char *path, const char *ipc_prefix, const char *key,
                       const char *kernel_name, struct err *err)
{
    int r = jp_conn_check_prefix(ipc_prefix, err);
    if (r < 0)
        return r;
    struct jp_conn conn = {.ipc = true, .ip = mem_dup_str(ipc_prefix), .key = mem_dup_str(key)};
    for (int port = JP_PORT_SHELL; port <= JP_PORT_HB; port++)
        conn.ports[port] = port;
    r = jp_conn_file_save(dir_fd, path, &conn, kernel_name, err);
    jp_conn_done(&conn);
    return r;
}

void jp_conn_url(const struct jp_conn *conn, int port, char out[JP_CONN_URL_SIZE])
{
    int n = conn->ports[port];
    if (conn->ipc)
        snprintf(out, JP_CONN_URL_SIZE, "ipc://%s-%d", conn->ip, n);
    else if (n == 0)
        snprintf(out, JP_CONN_URL_SIZE, "tcp://%s:*", conn->ip);
    else
        snprintf(out, JP_CONN_URL_SIZE, "tcp://%s:%d", conn->ip, n);
}

void jp_conn_done(struct jp_conn *c)
{
    free(c->ip);
    mem_free_secret(c->key);
    *c = (struct jp_conn){0};
}

/* ---- reading ---- */

/* The whole file, at most JP_CONN_FILE_MAX. */
static int read_file(const char *path, struct buf *out, struct err *err)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, "cannot open %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a file", path);
    char part[KIB(4)];
    for (ssize_t n; (n = read(fd, part, sizeof(part))) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot read %s", path);
        if (buf_append(out, part, (size_t)n) < 0)
            return err_set(err, ERR_TOO_LARGE, "%s is longer than %zu bytes", path,
                           JP_CONN_FILE_MAX);
    }
    explicit_bzero(part, sizeof(part));
    return 0;
}

static int read_ports(struct jp_conn *ret, const json_t *j, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        int64_t port = -1;
        int r = jsonx_get_int(j, ports[i].name, ret->ipc ? 1 : 0, 65535, &port, err);
        if (r < 0)
            return r;
        if (port < 0)
            return err_field(err, ports[i].name, "it is missing");
        ret->ports[ports[i].port] = (int)port;
    }
    return 0;
}

/* Encrypted sockets would look like a kernel that never answers. */
static int check_plain(const json_t *j, struct err *err)
{
    static const char *const names[] = {"curve_publickey", "curve_secretkey"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = "";
        int r = jsonx_get_string(j, names[i], JP_CONN_KEY_MAX, &value, err);
        if (r < 0)
            return r;
        if (*value)
            return err_field(err, names[i],
                             "it asks for encrypted sockets (CurveZMQ), which are not supported; "
                             "set transport_encryption to disabled");
    }
    return 0;
}

static int read_conn(struct jp_conn *ret, const json_t *j, struct err *err)
{
    const char *transport = "tcp", *ip = "127.0.0.1", *key = "", *scheme = SCHEME;
    int r = jsonx_object(j, err);
    if (r < 0 || (r = jsonx_get_string(j, "transport", 16, &transport, err)) < 0 ||
        (r = jsonx_get_string(j, "ip", 255, &ip, err)) < 0 ||
        (r = jsonx_get_string(j, "key", JP_CONN_KEY_MAX, &key, err)) < 0 ||
        (r = jsonx_get_string(j, "signature_scheme", 64, &scheme, err)) < 0 ||
        (r = check_plain(j, err)) < 0)
        return r;
    if (strcmp(scheme, SCHEME) != 0)
        return err_field(err, "signature_scheme",
                         "signatures of the scheme \"%s\" are not known, "
                         "only " SCHEME,
                         scheme);
    if (!*key)
        return err_field(err, "key", "there is no key, so anybody could speak for the clients");
    ret->ipc = strcmp(transport, "ipc") == 0;
    if (!ret->ipc && strcmp(transport, "tcp") != 0)
        return err_field(err, "transport", "the transport \"%s\" is not tcp or ipc", transport);
    if (!*ip)
        return err_field(err, "ip", "there is no address");
    if (ret->ipc && (r = jp_conn_check_prefix(ip, err)) < 0)
        return r;
    ret->ip = mem_dup_str(ip);
    ret->key = mem_dup_str(key);
    return read_ports(ret, j, err);
}

int jp_conn_file_read(struct jp_conn *ret, const char *path, struct err *err)
{
    *ret = (struct jp_conn){0};
    struct buf text;
    buf_init(&text, JP_CONN_FILE_MAX);
    int r = read_file(path, &text, err);
    json_t *j = NULL;
    if (r == 0) {
        r = jsonx_parse(&j, buf_slice(&text), err);
        if (r == 0)
            r = read_conn(ret, j, err);
        if (r < 0 && err && err->field[0])
            r = err_wrap(err, "connection file %s, %s", path, err->field);
        else if (r < 0)
            r = err_wrap(err, "connection file %s", path);
    }
    if (text.ptr)
        explicit_bzero(text.ptr, text.len);
    buf_done(&text);
    json_decref(j);
    if (r < 0)
        jp_conn_done(ret);
    return r;
}
