#pragma once
#include "lib/base/slice.h"
#include "lib/json/jsonx.h"

#include <stdbool.h>

/* What both programs answer to Jupyter clients in the same words (Jupyter Server's REST API). */
#define JUPYTER_API_VERSION "2.17.0"  /* of the Jupyter Server whose API this is */
#define JUPYTER_KERNEL_NAME "python3" /* the one kernelspec there is */

/*
 * GET /api/kernelspecs and /api/kernelspecs/{name}. `prefix` is the path below which the caller
 * sees the API ("/jupyter"): the logos' addresses begin with it. NULL: there is no such kernelspec.
 * The caller owns the result.
 */
json_t *jupyter_kernelspecs_json(const char *prefix);
json_t *jupyter_kernelspec_json(const char *name, const char *prefix);
/* GET /kernelspecs/{name}/{file}: its bytes (constant) and MIME type; false when there is none. */
bool jupyter_kernelspec_resource(const char *name, const char *file, struct slice *ret,
                                 const char **ret_type);

/*
 * Headers between controller and runner. A request below /jupyter/ (all the caller's sandboxes, not
 * one) says so: there the end of a sandbox's main kernel is the end of the sandbox.
 */
#define JUPYTER_SCOPE_HEADER "X-Caesarion-Scope"
#define JUPYTER_SCOPE_ALL    "all"

/* Reserved labels: caesarion.jupyter-session.<session id> is the session as JSON text. */
#define JUPYTER_SESSION_LABEL "caesarion.jupyter-session."
