#pragma once
#include "lib/json/jsonx.h"

#include <stdbool.h>

/* Is it a path of the Jupyter API: "/jupyter/…" or "/api/sandboxes/{id}/jupyter/…"? */
bool jupyter_path(const char *path_raw);
/* Adds what Jupyter clients read in an error: `message`, the detail, and `reason`, the title. */
void jupyter_problem(json_t *problem);
