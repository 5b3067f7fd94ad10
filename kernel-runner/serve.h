#pragma once
#include "kernel-runner/core/runner.h"
#include "lib/base/err.h"

/* The runner's front door: its socket, the token check, activity. */
struct serve;

struct serve_cfg {
    const char *listen; /* "HOST:PORT" or "unix:PATH", when listen_fd is 0 */
    int listen_fd;      /* 0: none */
    int ready_fd;       /* 0: none */
    const char *token_hash;
    struct runner *runner;
};

int serve_new(struct serve **ret, struct loop *loop, const struct serve_cfg *cfg, struct err *err);
struct serve *serve_free(struct serve *s);
/*
 * Stops accepting; calls fn when the last open request has ended. Returns false, and does not call
 * it, when none is open.
 */
bool serve_drain(struct serve *s, void (*fn)(void *ctx), void *ctx);

/* The directory for spilled logs: an inherited descriptor (0: none), or by path, or none (-1). */
int serve_open_spill(int64_t fd, const char *path, int *ret_fd, struct err *err);
/* A peer that went away is an error of write, not a signal. */
void signal_ignore_pipe(void);
