#pragma once
#include "lib/base/err.h"
struct controller_conf;

/*
 * Assembles the controller, serves until a signal ends it, and takes everything down again. Prints
 * the ready line to stdout. Signals must have been blocked by controller_block_signals() before
 * anything else. < 0: it could not start, err says why in a sentence for the person who started it.
 */
int controller_run(const struct controller_conf *conf, struct err *err);
void controller_block_signals(void);
