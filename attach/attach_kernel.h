#pragma once
#include "attach/attach_url.h"

#include <stdbool.h>
struct httpc;
struct loop;

/*
 * The kernel of --new: a sandbox made for this program by Caesarion's Jupyter API, or the one that
 * the program before it left behind at a restart, started anew. Its id is kept in a file beside the
 * connection file for as long as the sandbox lives.
 */
struct attach_kernel;

struct attach_kernel_cfg {
    struct loop *loop;
    struct httpc *http;
    const struct attach_url *url; /* must outlive it */
    const char *token;            /* or NULL */
    const char *conn_file;        /* copied */
    void (*on_ready)(void *ctx, const char *kernel_id);
    void (*on_failed)(void *ctx, const struct err *err);
    void *ctx;
};

/* Starts at once; callbacks never come before this returns. */
struct attach_kernel *attach_kernel_new(const struct attach_kernel_cfg *cfg);
struct attach_kernel *attach_kernel_free(struct attach_kernel *k);
/*
 * Ends it: with `keep` only what is under way is waited for, so that the file is there for the next
 * program; without, the sandbox is deleted. No other callback comes; `done` within 3 seconds.
 */
void attach_kernel_end(struct attach_kernel *k, bool keep, void (*done)(void *ctx));
/* The sandbox has gone by itself: the next program makes a new one. */
void attach_kernel_forget(struct attach_kernel *k);
