#pragma once
#include "kernel-runner/exec/exec.h"
#include "kernel-runner/exec/exec_kernel.h"

/* What goes to the kernel for an execution, and what it asks back. */
int exec_sending_request(const struct exec_kernel *k, const struct exec *e);
int exec_sending_input(const struct exec_kernel *k, struct slice value, struct err *err);

/*
 * The channels are separate connections: a request for input can overtake the IOPub messages that
 * the same cell sent before it. It waits here until the cell is seen to run.
 */
#define EXEC_ASKED_MAX_BYTES MIB(1)
struct exec_asked {
    struct buf content; /* empty: nothing was asked */
};
void exec_asked_init(struct exec_asked *a);
void exec_asked_done(struct exec_asked *a);
void exec_asked_keep(struct exec_asked *a, struct slice content);
bool exec_asked_is_kept(const struct exec_asked *a);
void exec_asked_drop(struct exec_asked *a);
