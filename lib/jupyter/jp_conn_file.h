#pragma once
#include "lib/base/err.h"
#include "lib/jupyter/jp_client.h"

#include <stdbool.h>

/* The connection file (jupyter_client docs/kernels.rst): where a kernel's sockets are. */
#define JP_CONN_FILE_MAX KIB(64) /* that is read */
#define JP_CONN_KEY_MAX  1024
#define JP_CONN_URL_SIZE 300

struct jp_conn {
    bool ipc;
    char *ip;                  /* tcp: an address; ipc: the prefix of the sockets' paths */
    int ports[JP_PORT_HB + 1]; /* by JP_PORT_*; tcp: 0 lets the one who binds choose */
    char *key;                 /* HMAC-SHA256, not empty */
};
void jp_conn_done(struct jp_conn *c); /* frees what it holds, wipes the key */

/*
 * Reads what somebody else wrote. -ERR_INVALID with a sentence: not such a file, no key, another
 * signature scheme, encrypted sockets; -ERR_TOO_LARGE. *ret is then as jp_conn_done() leaves it.
 */
int jp_conn_file_read(struct jp_conn *ret, const char *path, struct err *err);
/*
 * Mode 0600; replaces what stands at `path` of `dir_fd` (AT_FDCWD: a path of the process), follows
 * no link there. Where others can write, `path` is one name.
 */
int jp_conn_file_save(int dir_fd, const char *path, const struct jp_conn *conn,
                      const char *kernel_name, struct err *err);
/* As libzmq takes it: "tcp://127.0.0.1:5555", "ipc:///dir/k-1"; port 0 becomes "*". */
void jp_conn_url(const struct jp_conn *conn, int port, char out[JP_CONN_URL_SIZE]);

/*
 * Writes the connection file a kernel is started with: ipc:// sockets <ipc_prefix>-1 … -5 as in
 * JP_PORT_*, HMAC-SHA256 with `key`; as jp_conn_file_save().
 */
int jp_conn_file_write(int dir_fd, const char *path, const char *ipc_prefix, const char *key,
                       const char *kernel_name, struct err *err);
/* -ERR_INVALID when a socket of this prefix would not fit an AF_UNIX address. */
int jp_conn_check_prefix(const char *ipc_prefix, struct err *err);
