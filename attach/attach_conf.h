#pragma once
#include "lib/conf/conf.h"

/* The options of caesarion-attach; the table in attach_conf.c says what each is for. */
struct attach_conf {
    char *sandbox, *url, *token, *token_file, *connection_file, *kernel, *prefix, *name;
    int transport; /* enum attach_transport */
    int log_level;
    bool make_new, install_kernelspec, user, sys_prefix;
};
enum attach_transport { ATTACH_TCP, ATTACH_IPC };

#define ATTACH_NAME "caesarion" /* of the kernelspec, unless another is given */

extern const struct conf_program attach_program;

/*
 * What the rows cannot say: which options go together, and ids in their form. Reads the token file
 * into `token`. -ERR_INVALID with a sentence.
 */
int attach_conf_check(struct attach_conf *conf, struct err *err);
