#pragma once
#include "attach/attach_conf.h"

/*
 * Writes a kernelspec that starts this program with --new, and its logos, into the user's Jupyter
 * data directory or the one asked for; a token from the environment goes into a file of its own.
 * Says on stdout what it did.
 */
int kernelspec_install(const struct attach_conf *conf, struct err *err);
