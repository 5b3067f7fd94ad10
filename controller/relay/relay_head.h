#pragma once
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/ids.h"

#include <stdbool.h>

/* What of a request's and an answer's head passes between a client and a runner. Pure. */

/* A request to "/jupyter/…", which speaks for all of a caller's sandboxes. */
bool relay_is_for_all(const char *path_raw);

/*
 * Appends the target at the runner of a request to "/api/sandboxes/{id}/X?query": "/X?query" as it
 * came, and of one to "/jupyter/X?query" the same, without a `token` parameter, and with the bytes
 * escaped that may not stand in a request line. "/" when there is no X.
 */
int relay_target(struct buf *out, const char *path_raw, const char *query_raw, struct err *err);

/* The few headers a runner gets from the client. Never Authorization, Cookie, Origin, Host. */
bool relay_passes_to_runner(const char *name);
/* Everything but the connection's own headers and those the controller sets itself. */
bool relay_passes_to_client(struct slice name);

/*
 * "/executions/e1" → "/api/sandboxes/{id}/executions/e1"; other values stay, and those that answer
 * a request to "/jupyter/…".
 */
int relay_location(struct buf *out, const char *sandbox_id, const char *path_raw,
                   struct slice value);

/* The same id for the same sandbox and key, always; the key was checked before. */
void relay_execution_id(const char *sandbox_id, const char *key, char out[ID_EXEC_MAX + 1]);
