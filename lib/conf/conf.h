#pragma once
#include "lib/base/buf.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The options of a program: one table row each, from which the flag, its environment twin, its
 * check and its help text follow. A flag beats the environment, the environment beats the default.
 */
enum conf_type {
    CONF_STRING,   /* char *: NULL when unset; min and max are lengths in bytes */
    CONF_INT,      /* int64_t, never negative */
    CONF_SIZE,     /* uint64_t, bytes: 64Ki, 2Gi */
    CONF_DURATION, /* int64_t, milliseconds: 300s, 1h; min and max in milliseconds */
    CONF_BOOL,     /* bool: "--flag" or "--flag=false" */
    CONF_ENUM,     /* int: the index in `words` */
    CONF_LIST,     /* struct conf_list: the flag repeats, the environment separates with commas */
};

struct conf_list {
    char **items;
    size_t len;
};

struct conf_option {
    const char *flag; /* without the dashes; "max-sandboxes" has the twin <prefix>MAX_SANDBOXES */
    enum conf_type type;
    size_t offset, size;      /* CONF_AT(struct x_conf, member) */
    const char *def;          /* as one would write it; NULL: unset, 0, false, empty */
    uint64_t min, max;        /* max 0: 4096 for strings, 64 for lists, else the type's own */
    const char *arg;          /* what help calls the value; NULL: by type */
    const char *const *words; /* CONF_ENUM: ended by NULL */
    const char *help;         /* one sentence without a full stop */
    /*
     * A secret (CONF_STRING) is never taken from the command line, where other users could read it:
     * only from its environment twin, which is wiped, or from the file that --<flag>-file or
     * <PREFIX>_<FLAG>_FILE names (not where the table has a row of its own by that name).
     */
    bool secret;
    char letter; /* 'f': "-f VALUE" is "--<flag> VALUE"; not for secrets; 0: none */
    bool bare;   /* the argument without dashes is its value; one row at most */
};

#define CONF_AT(type, member)                                                                      \
    .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)

struct conf_program {
    const char *name;       /* "caesarion" */
    const char *version;    /* "2.0.0" */
    const char *summary;    /* what it does, one line */
    const char *env_prefix; /* "CAESARION_" */
    const struct conf_option *options;
    size_t n_options;
};

/* Expected outcomes of conf_parse(): the program prints that and exits with 0. */
enum { CONF_HELP = 1, CONF_VERSION };

/*
 * Fills the program's struct at `values` (zeroed by the caller), which conf_done() frees, also
 * after a failure. A failure is a sentence for the person who typed it. Reads the environment, so
 * call it before any thread starts.
 */
int conf_parse(const struct conf_program *program, int argc, char *const *argv, void *values,
               struct err *err);
void conf_done(const struct conf_program *program, void *values); /* wipes secrets */

/* The text of --help and --version, with the newline. */
int conf_help(const struct conf_program *program, struct buf *out);
int conf_version(const struct conf_program *program, struct buf *out);
/* The environment twin of a flag: "CAESARION_MAX_SANDBOXES". The caller frees. */
char *conf_env_name(const struct conf_program *program, const char *flag);
