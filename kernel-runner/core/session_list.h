#pragma once
#include "kernel-runner/core/runner.h"

/*
 * Jupyter sessions: which notebook or console uses which kernel. They are labels of the sandbox
 * (JUPYTER_SESSION_LABEL), so that whoever knows the sandbox knows them; a session whose kernel is
 * gone, or ended, is gone.
 */
struct jupyter_session {
    char id[ID_UUID_SIZE];
    char kernel_id[ID_UUID_SIZE];
    char *path, *name, *type;
};
void jupyter_session_done(struct jupyter_session *s); /* frees what it holds */

/* By id, or by path: 0 and a copy, or -ERR_NOT_FOUND. */
int session_list_get(struct runner *r, const char *id, struct jupyter_session *ret,
                     struct err *err);
int session_list_find_path(struct runner *r, const char *path, struct jupyter_session *ret);
bool session_list_has_kernel(struct runner *r, const char *kernel_id);
/*
 * Writes it; with id "" it is new and gets one. A new one with an id was moved here from another
 * sandbox, which that id names. -ERR_LIMIT, -ERR_INVALID.
 */
int session_list_put(struct runner *r, struct jupyter_session *s, struct err *err);
void session_list_remove(struct runner *r, const char *id);
/* Calls fn for each, in the order they were made. */
void session_list_each(struct runner *r, void (*fn)(void *ctx, const struct jupyter_session *s),
                       void *ctx);
