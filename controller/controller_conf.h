#pragma once
#include "lib/conf/conf.h"

#include <stdbool.h>
#include <stdint.h>

enum conf_backend { CONF_BACKEND_LOCAL, CONF_BACKEND_KUBERNETES };
enum conf_isolation { CONF_ISOLATION_BWRAP, CONF_ISOLATION_NONE };
enum conf_network { CONF_NETWORK_NONE, CONF_NETWORK_HOST };
enum conf_on_exit { CONF_ON_EXIT_REMOVE, CONF_ON_EXIT_KEEP };

/* The options of caesarion, as conf_parse() fills them in. Durations in ms, sizes in bytes. */
struct controller_conf {
    char *listen;
    int backend;
    char *token_file;
    char *token;
    char *state_dir;
    int64_t warm;
    int64_t max_sandboxes;
    int64_t max_per_caller; /* sandboxes; 0: no limit */
    int64_t exec_timeout;
    int64_t idle_timeout;
    bool idle_counts_connections;
    int isolation;
    int network;
    uint64_t memory;
    int64_t pids;
    uint64_t files_max;
    uint64_t output_limit;
    char *python;
    struct conf_list python_path;
    char *runner;
    int on_exit;
    int64_t drain_timeout;
    bool metrics_open;
    struct conf_list allow_origin;
    struct conf_list allow_host;
    int log_level; /* enum log_level */
};

extern const struct conf_program controller_program;
extern const char *const controller_log_levels[];
