#pragma once
#include "lib/base/err.h"

#include <stdint.h>
#include <sys/types.h>
struct loop;

/*
 * Connects to where a URL points, without a word of HTTP: libcurl resolves names, tries addresses
 * and speaks TLS. For this folder.
 */
struct httpc_dial;

struct httpc_dial_cfg {
    const char *url;
    const char *unix_path; /* or NULL */
    const char *ca_file;   /* PEM; NULL: the system's */
    int64_t timeout_ms;
    /* Once, never before httpc_dial_start() returns. ERR_UNAVAILABLE: no connection. */
    void (*on_done)(void *ctx, const struct err *err);
    void *ctx;
};

int httpc_dial_start(struct httpc_dial **ret, struct loop *loop, const struct httpc_dial_cfg *cfg,
                     struct err *err);
/* Connected without TLS: the descriptor, the caller's now. Frees `d`. */
int httpc_dial_take(struct httpc_dial *d);
/* Connected with TLS: the descriptor to watch, and the bytes, as read(2) and write(2). */
int httpc_dial_fd(const struct httpc_dial *d);
ssize_t httpc_dial_recv(struct httpc_dial *d, void *out, size_t max);
ssize_t httpc_dial_send(struct httpc_dial *d, const void *data, size_t len);
/* Closes the connection. NULL ok; safe inside on_done. */
struct httpc_dial *httpc_dial_free(struct httpc_dial *d);
