/* Errors that both kinds of client understand: RFC 9457, and Jupyter Server's own two members. */
#include "lib/api/jupyter_problem.h"

#include <string.h>

#define ALL "/jupyter/"
#define BOX "/api/sandboxes/"

bool jupyter_path(const char *path_raw)
{
    const char *rest = path_raw;
    if (strncmp(path_raw, BOX, strlen(BOX)) == 0)
        rest = strchr(path_raw + strlen(BOX), '/');
    return rest && strncmp(rest, ALL, strlen(ALL)) == 0;
}

void jupyter_problem(json_t *problem)
{
    json_t *detail = json_object_get(problem, "detail");
    json_t *title = json_object_get(problem, "title");
    json_object_set(problem, "message", detail ? detail : title);
    json_object_set(problem, "reason", title);
}
