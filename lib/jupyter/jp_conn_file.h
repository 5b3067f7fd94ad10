#pragma once
#include "lib/base/err.h"

/*
 * Writes the connection file a kernel is started with: ipc:// sockets <ipc_prefix>-1 … -5 as in
 * JP_PORT_*, HMAC-SHA256 with `key`. Mode 0600; replaces what stands at `path`, follows no link.
 */
int jp_conn_file_write(const char *path, const char *ipc_prefix, const char *key,
                       const char *kernel_name, struct err *err);
/* -ERR_INVALID when a socket of this prefix would not fit an AF_UNIX address. */
int jp_conn_check_prefix(const char *ipc_prefix, struct err *err);
