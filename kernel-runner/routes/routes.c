/* The table of what the runner answers. */
#include "kernel-runner/routes/routes.h"

#include "kernel-runner/attach/channels.h"
#include "kernel-runner/attach/contents.h"
#include "kernel-runner/routes/routes_exec.h"
#include "kernel-runner/routes/routes_files.h"
#include "kernel-runner/routes/routes_jupyter.h"
#include "kernel-runner/routes/routes_kernels.h"
#include "kernel-runner/routes/routes_sandbox.h"
#include "lib/api/limits.h"
#include "lib/base/macros.h"

#define JSON HTTP_BODY_BUFFER, LIMIT_JSON_BODY_BYTES
#define NONE HTTP_BODY_NONE, 0

/* clang-format off */
const struct http_route runner_routes[] = {
    {"GET",    "/healthz",                 NONE, routes_healthz, ROUTE_OPEN | ROUTE_QUIET},
    {"GET",    "/readyz",                  NONE, routes_readyz,  ROUTE_QUIET},
    {"GET",    "/metrics",                 NONE, routes_metrics, ROUTE_QUIET},
    {"GET",    "/sandbox",                 NONE, routes_sandbox, ROUTE_QUIET},
    {"POST",   "/claim",                   JSON, routes_claim,   ROUTE_QUIET},

    {"POST",   "/execute",                 HTTP_BODY_BUFFER, LIMIT_EXECUTE_BODY_BYTES, routes_execute, 0},
    {"GET",    "/executions",              NONE, routes_exec_list,   0},
    {"GET",    "/executions/{eid}",        NONE, routes_exec_get,    0},
    {"GET",    "/executions/{eid}/events", NONE, routes_exec_events, 0},
    {"POST",   "/executions/{eid}/cancel", JSON, routes_exec_cancel, 0},
    {"POST",   "/executions/{eid}/input",  HTTP_BODY_BUFFER, LIMIT_EXECUTE_BODY_BYTES, routes_exec_input, 0},

    {"POST",   "/interrupt",               JSON, routes_interrupt,     0},
    {"POST",   "/restart",                 JSON, routes_restart,       0},
    {"GET",    "/kernels",                 NONE, routes_kernel_list,   0},
    {"POST",   "/kernels",                 HTTP_BODY_BUFFER, LIMIT_EXECUTE_BODY_BYTES, routes_kernel_add, 0},
    {"GET",    "/kernels/{kid}",           NONE, routes_kernel_get,    0},
    {"DELETE", "/kernels/{kid}",           NONE, routes_kernel_delete, 0},

    {"GET",    "/jupyter/",                            NONE, jupyter_index,    0},
    {"GET",    "/jupyter/api",                         NONE, jupyter_version,  0},
    {"GET",    "/jupyter/api/status",                  NONE, jupyter_status,   0},
    {"GET",    "/jupyter/api/me",                      NONE, jupyter_me,       0},
    {"GET",    "/jupyter/api/kernelspecs",             NONE, jupyter_specs,    0},
    {"GET",    "/jupyter/api/kernelspecs/{name}",      NONE, jupyter_spec,     0},
    {"GET",    "/jupyter/kernelspecs/{name}/{file}",   NONE, jupyter_resource, 0},
    {"GET",    "/jupyter/api/kernels",                 NONE, jupyter_kernel_list,      0},
    {"POST",   "/jupyter/api/kernels",                 HTTP_BODY_BUFFER, LIMIT_EXECUTE_BODY_BYTES, jupyter_kernel_add, 0},
    {"GET",    "/jupyter/api/kernels/{kid}",           NONE, jupyter_kernel_get,       0},
    {"DELETE", "/jupyter/api/kernels/{kid}",           NONE, jupyter_kernel_delete,    0},
    {"POST",   "/jupyter/api/kernels/{kid}/interrupt", JSON, jupyter_kernel_interrupt, 0},
    {"POST",   "/jupyter/api/kernels/{kid}/restart",   JSON, jupyter_kernel_restart,   0},
    {"GET",    "/jupyter/api/kernels/{kid}/channels",  NONE, channels_handler,         0},
    {"GET",    "/jupyter/api/sessions",                NONE, jupyter_session_list,     0},
    {"POST",   "/jupyter/api/sessions",                JSON, jupyter_session_add,      0},
    {"GET",    "/jupyter/api/sessions/{sid}",          NONE, jupyter_session_get,      0},
    {"PATCH",  "/jupyter/api/sessions/{sid}",          JSON, jupyter_session_change,   0},
    {"DELETE", "/jupyter/api/sessions/{sid}",          NONE, jupyter_session_delete,   0},

    {"GET",    "/files",                   NONE, routes_files_list,   0},
    {"GET",    "/files/{path...}",         NONE, routes_files_get,    0},
    {"PUT",    "/files/{path...}",         HTTP_BODY_STREAM, 0, routes_files_put, 0},
    {"DELETE", "/files/{path...}",         NONE, routes_files_delete, 0},

    {"GET",    "/jupyter/files/{path...}",        NONE, routes_files_get, 0},
    {"GET",    "/jupyter/api/contents",           NONE, contents_get,    0},
    {"POST",   "/jupyter/api/contents",           JSON, contents_post,   0},
    {"GET",    "/jupyter/api/contents/{path...}", NONE, contents_get,    0},
    {"POST",   "/jupyter/api/contents/{path...}", JSON, contents_post,   0},
    {"PUT",    "/jupyter/api/contents/{path...}", HTTP_BODY_STREAM, 0, contents_put, 0},
    {"PATCH",  "/jupyter/api/contents/{path...}", JSON, contents_patch,  0},
    {"DELETE", "/jupyter/api/contents/{path...}", NONE, contents_delete, 0},
};
/* clang-format on */
const size_t runner_routes_len = ARRAY_LEN(runner_routes);
