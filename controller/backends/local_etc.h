#pragma once
#include "controller/backends/local_bwrap.h"
#include "lib/base/err.h"

#define LOCAL_ETC_MAX 6

/*
 * The synthetic files of a sandbox's /etc, each as a memfd (close-on-exec) that bubblewrap reads
 * once; the caller closes them. With the host's network the host's resolv.conf is bound instead of
 * an empty one.
 */
int local_etc_open(struct local_bwrap_file ret[LOCAL_ETC_MAX], size_t *ret_n, bool network_host,
                   struct err *err);
void local_etc_close(struct local_bwrap_file *files, size_t n);

/* A memfd that holds `len` bytes, at its start. */
int local_memfd(const char *name, const void *data, size_t len, int *ret_fd, struct err *err);
