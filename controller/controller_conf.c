/* One table of options. */
#include "controller/controller_conf.h"

#include <stddef.h>

#include "lib/api/limits.h"
#include "lib/base/macros.h"

#define AT(member)      CONF_AT(struct controller_conf, member)
#define DAY_MS          (24ULL * 3600 * 1000)
#define EXEC_MS_MAX     ((uint64_t)(LIMIT_TIMEOUT_S * 1000))
#define LIFETIME_MS_MAX ((uint64_t)(LIMIT_LIFETIME_S * 1000))

static const char *const backends[] = {"local", "kubernetes", NULL};
static const char *const isolations[] = {"bwrap", "none", NULL};
static const char *const networks[] = {"none", "host", NULL};
static const char *const on_exits[] = {"remove", "keep", NULL};
const char *const controller_log_levels[] = {"error", "warn", "info", "debug", NULL};

/* clang-format off */
static const struct conf_option options[] = {
    {"listen", CONF_STRING, AT(listen), .def = "127.0.0.1:8080", .arg = "HOST:PORT|unix:PATH",
     .help = "where to serve; port 0 takes a free one"},
    {"backend", CONF_ENUM, AT(backend), .def = "local", .words = backends,
     .help = "what makes the sandboxes"},
    {"token-file", CONF_STRING, AT(token_file), .arg = "FILE",
     .help = "callers, one a line: name:token or name:token:admin; tokens have 16 characters or "
             "more"},
    {"token", CONF_STRING, AT(token), .secret = true, .max = 512,
     .help = "the token of one admin, of 16 characters or more; without it and without a file one "
             "is made and printed"},
    {"state-dir", CONF_STRING, AT(state_dir), .arg = "DIR",
     .help = "key, token and lock; by default $XDG_STATE_HOME/caesarion, for root "
             "/var/lib/caesarion"},
    {"warm", CONF_INT, AT(warm), .def = "1", .max = 1000,
     .help = "sandboxes kept ready with their kernel started"},
    {"max-sandboxes", CONF_INT, AT(max_sandboxes), .def = "100", .min = 1, .max = 100000,
     .help = "most sandboxes with an owner; warm ones do not count"},
    {"max-sandboxes-per-caller", CONF_INT, AT(max_per_caller), .def = "0", .max = 100000,
     .help = "most sandboxes of one caller; 0: no limit but the one above"},
    {"exec-timeout", CONF_DURATION, AT(exec_timeout), .def = "300s", .min = 1, .max = EXEC_MS_MAX,
     .help = "time of an execution that names none"},
    {"idle-timeout", CONF_DURATION, AT(idle_timeout), .def = "1h", .min = 1, .max = LIFETIME_MS_MAX,
     .help = "a sandbox ends itself after this long without use"},
    {"idle-counts-connections", CONF_BOOL, AT(idle_counts_connections),
     .help = "an attached Jupyter client keeps its sandbox, however silent"},
    {"isolation", CONF_ENUM, AT(isolation), .def = "bwrap", .words = isolations,
     .help = "how local sandboxes are kept from the host; none is for trusted code only"},
    {"network", CONF_ENUM, AT(network), .def = "none", .words = networks,
     .help = "what local sandboxes reach"},
    {"memory", CONF_SIZE, AT(memory), .def = "2Gi", .max = 1ULL << 46,
     .help = "memory of all processes of a sandbox; 0 turns the limit off"},
    {"pids", CONF_INT, AT(pids), .def = "256", .max = 1 << 22,
     .help = "processes and threads of a sandbox; 0 turns the limit off"},
    {"files-max", CONF_SIZE, AT(files_max), .def = "1Gi", .min = 4096, .max = 1ULL << 46,
     .help = "size of a sandbox's files, and of its /tmp"},
    {"output-limit", CONF_SIZE, AT(output_limit), .def = "256Mi", .min = 1024, .max = 1ULL << 34,
     .help = "output kept of one execution; the rest is counted"},
    {"python", CONF_STRING, AT(python), .arg = "PATH",
     .help = "interpreter with ipykernel; by default .venv/bin/python of the checkout, or python3"},
    {"python-path", CONF_LIST, AT(python_path), .arg = "DIR",
     .help = "show sandboxes what sys.path names below this folder, outside of the environment "
             "(an editable install); read-only"},
    {"runner", CONF_STRING, AT(runner), .arg = "PATH",
     .help = "caesarion-runner; by default beside this program"},
    {"on-exit", CONF_ENUM, AT(on_exit), .def = "remove", .words = on_exits,
     .help = "what a clean stop does with local sandboxes"},
    {"drain-timeout", CONF_DURATION, AT(drain_timeout), .def = "30s", .max = DAY_MS,
     .help = "how long a stop waits for open requests"},
    {"metrics-open", CONF_BOOL, AT(metrics_open), .help = "serve /metrics to all, without a token; otherwise to admins"},
    {"allow-origin", CONF_LIST, AT(allow_origin), .arg = "ORIGIN",
     .help = "pages that may call from a browser, as scheme://host[:port], or * for all"},
    {"allow-host", CONF_LIST, AT(allow_host), .arg = "NAME",
     .help = "names in Host to answer to, beside addresses, localhost and that of --listen; * for "
             "all"},
    {"log-level", CONF_ENUM, AT(log_level), .def = "info", .words = controller_log_levels,
     .help = "least level of the log on stderr"},
};
/* clang-format on */

const struct conf_program controller_program = {
    .name = "caesarion",
    .version = "2.0.0",
    .summary = "runs Python for people, programs and language models, each in a sandbox of its own",
    .env_prefix = "CAESARION_",
    .options = options,
    .n_options = ARRAY_LEN(options),
};
