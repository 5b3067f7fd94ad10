/* One table of options. */
#include "kernel-runner/runner_conf.h"

#include "lib/base/macros.h"

#define FD_MAX  1048576
#define DAY_MS  (24ULL * 3600 * 1000)
#define YEAR_MS (365 * DAY_MS)

/* clang-format off */
static const struct conf_option options[] = {
    {"id", CONF_STRING, CONF_AT(struct runner_conf, id), .help = "sandbox id; made when not given"},
    {"listen", CONF_STRING, CONF_AT(struct runner_conf, listen), .arg = "HOST:PORT|unix:PATH",
     .help = "where to serve the API, when no socket is inherited"},
    {"listen-fd", CONF_INT, CONF_AT(struct runner_conf, listen_fd), .def = "0", .max = FD_MAX,
     .help = "an inherited socket, bound but not listening"},
    {"ready-fd", CONF_INT, CONF_AT(struct runner_conf, ready_fd), .def = "0", .max = FD_MAX,
     .help = "gets one byte when the API is served"},
    {"token-hash", CONF_STRING, CONF_AT(struct runner_conf, token_hash), .arg = "HEX",
     .help = "SHA-256 of the token callers must show; without it nobody needs one"},
    {"files", CONF_STRING, CONF_AT(struct runner_conf, files), .def = "/uploaded_files", .arg = "DIR",
     .help = "root of the file API and working directory of kernels"},
    {"run-dir", CONF_STRING, CONF_AT(struct runner_conf, run_dir), .def = "/run/caesarion", .arg = "DIR",
     .help = "private directories of kernels are made here"},
    {"python", CONF_STRING, CONF_AT(struct runner_conf, python), .def = "/usr/bin/python3", .arg = "PATH",
     .help = "interpreter with ipykernel"},
    {"spill-fd", CONF_INT, CONF_AT(struct runner_conf, spill_fd), .def = "0", .max = FD_MAX,
     .help = "an inherited directory for temporary files of long outputs"},
    {"spill-dir", CONF_STRING, CONF_AT(struct runner_conf, spill_dir), .arg = "DIR",
     .help = "the same by path; without either, long outputs are kept in memory files"},
    {"memory", CONF_SIZE, CONF_AT(struct runner_conf, memory), .def = "2Gi", .max = 1ULL << 46,
     .help = "memory of all processes together; 0 turns the limit off"},
    {"cgroup", CONF_STRING, CONF_AT(struct runner_conf, cgroup), .arg = "v1|v2",
     .help = "kernels are held by a cgroup, whose inherited descriptors the next two name"},
    {"cgroup-join-fds", CONF_STRING, CONF_AT(struct runner_conf, cgroup_join_fds), .arg = "FD,FD",
     .help = "cgroup.procs, one a hierarchy: each kernel moves itself there"},
    {"cgroup-read-fds", CONF_STRING, CONF_AT(struct runner_conf, cgroup_read_fds), .arg = "FD,FD",
     .help = "memory in use, statistics, OOM events, statistics of the runner's own; v1: TCP's too"},
    {"pids", CONF_INT, CONF_AT(struct runner_conf, pids), .def = "256", .max = 1 << 22,
     .help = "processes and threads of user code; 0 turns the limit off"},
    {"files-max", CONF_SIZE, CONF_AT(struct runner_conf, files_max), .def = "1Gi", .max = 1ULL << 46,
     .help = "what uploads may fill"},
    {"output-limit", CONF_SIZE, CONF_AT(struct runner_conf, output_limit), .def = "256Mi", .min = 1024,
     .max = 1ULL << 34, .help = "output kept of one execution; the rest is counted"},
    {"output-total", CONF_SIZE, CONF_AT(struct runner_conf, output_total), .def = "1Gi", .min = 1024,
     .max = 1ULL << 40, .help = "output kept of all executions; the oldest go first"},
    {"held-max", CONF_SIZE, CONF_AT(struct runner_conf, held_max), .def = "64Mi", .min = 1 << 20,
     .max = 1ULL << 40, .help = "memory for bodies, queued code, replies and answers together"},
    {"exec-timeout", CONF_DURATION, CONF_AT(struct runner_conf, exec_timeout), .def = "300s", .min = 1,
     .max = DAY_MS, .help = "time of an execution that names none"},
    {"idle-timeout", CONF_DURATION, CONF_AT(struct runner_conf, idle_timeout), .def = "1h", .min = 1,
     .max = YEAR_MS, .help = "the sandbox ends itself after this long without use"},
    {"idle-counts-connections", CONF_BOOL, CONF_AT(struct runner_conf, idle_counts_connections),
     .def = "false", .help = "attached Jupyter clients are use, also silent ones"},
    {"unclaimed-timeout", CONF_DURATION, CONF_AT(struct runner_conf, unclaimed_timeout), .def = "1h",
     .min = 1, .max = YEAR_MS, .help = "the same for one that nobody claimed"},
    {"start-timeout", CONF_DURATION, CONF_AT(struct runner_conf, start_timeout), .def = "60s", .min = 1,
     .max = DAY_MS, .help = "a kernel that does not answer within this is killed"},
    {"log-level", CONF_STRING, CONF_AT(struct runner_conf, log_level), .def = "info",
     .arg = "error|warn|info|debug", .help = "what is logged"},
    {"log-max", CONF_SIZE, CONF_AT(struct runner_conf, log_max), .def = "0", .max = 1ULL << 34,
     .help = "where stderr is a file, it is cut to its last lines at this size; 0: never"},
};
/* clang-format on */

const struct conf_program runner_program = {
    .name = "caesarion-runner",
    .version = "2.0.0",
    .summary = "runs Jupyter kernels in a sandbox and serves them over HTTP",
    .env_prefix = "CAESARION_RUNNER_",
    .options = options,
    .n_options = ARRAY_LEN(options),
};
