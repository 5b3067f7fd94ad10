#pragma once
#include "kernel-runner/attach/hub.h"
#include "kernel-runner/attach/send_room.h"

/* The Jupyter clients of this sandbox: a hub for each kernel that has or had some. */
struct attach;

struct attach *attach_new(struct runner *r); /* also sets runner_attach() */
/* Every connection must be over (http_server_free() sees to that). NULL ok. */
struct attach *attach_free(struct attach *a);
/* The sandbox is going away: every client is told so. */
void attach_close_all(struct attach *a);
/* The hub of a kernel, made where there is none. */
struct hub *attach_hub(struct attach *a, struct kernel *k);
/* What the connections share. */
struct send_room *attach_send_room(struct attach *a);
size_t *attach_gather_left(struct attach *a); /* for ws_conn_cfg */
unsigned attach_connections(const struct attach *a, const struct kernel *k);
/* A kernel that Jupyter clients may see: not one that a client has ended. -ERR_NOT_FOUND. */
int attach_find_kernel(struct runner *r, const char *id, struct kernel **ret, struct err *err);
/*
 * Ends a kernel as Jupyter's DELETE does: a further one is removed, the main one is dead until a
 * restart. Not from inside a kernel's events.
 */
void attach_end_kernel(struct attach *a, struct kernel *k);
