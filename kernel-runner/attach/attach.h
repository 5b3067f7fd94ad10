#pragma once
#include "kernel-runner/attach/hub.h"

/* The Jupyter clients of this sandbox: a hub for each kernel that has or had some. */
struct attach;

struct attach *attach_new(struct runner *r); /* also sets runner_attach() */
/* Every connection must be over (http_server_free() sees to that). NULL ok. */
struct attach *attach_free(struct attach *a);
/* The sandbox is going away: every client is told so. */
void attach_close_all(struct attach *a);
/* The hub of a kernel, made where there is none. */
struct hub *attach_hub(struct attach *a, struct kernel *k);
unsigned attach_connections(const struct attach *a, const struct kernel *k);
/*
 * Ends a kernel as Jupyter's DELETE does: a further one is removed in the next turn, the main one
 * is dead until a restart. `all`: the end of the main kernel is the end of the sandbox.
 */
void attach_end_kernel(struct attach *a, struct kernel *k, bool all);
