#pragma once
#include "lib/conf/conf.h"

/* The options of caesarion-runner; the table in runner_conf.c says what each is for. */
struct runner_conf {
    char *id, *listen, *token_hash, *files, *run_dir, *python, *spill_dir, *log_level;
    char *cgroup, *cgroup_join_fds, *cgroup_read_fds;
    int64_t listen_fd, ready_fd, spill_fd;
    uint64_t memory, files_max, output_limit, output_total, held_max, log_max;
    int64_t pids;
    bool idle_counts_connections;
    int64_t exec_timeout, idle_timeout, unclaimed_timeout, start_timeout;
};

extern const struct conf_program runner_program;
