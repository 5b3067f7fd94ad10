#pragma once
#include "attach/attach_conf.h"

/* Before any thread starts. */
void attach_block_signals(void);
/*
 * Attaches to a sandbox, or with --new to one of its own, until SIGTERM or SIGINT or the end of
 * what it is attached to. 0: as wanted; negative: err says why it ended.
 */
int attach_run(const struct attach_conf *conf, struct err *err);
