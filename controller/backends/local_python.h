#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Where an interpreter lives: the folders a sandbox must see, each at its own path, for Python to
 * work there as it does here. A virtual environment needs its base interpreter's folders too; links
 * on the way from one to the other that lie in none of them are made anew inside.
 */
struct local_python_link {
    char *target;
    char *path;
};

/*
 * What its sys.path names outside of its own folders (by a .pth file, as an editable install writes
 * it) may be a project with its secrets, or $HOME: sandboxes see such a tree when it was allowed.
 */
struct local_python_left_out {
    char *path;
    bool is_secret; /* holds what no sandbox may see: allowing it does not help */
};

struct local_python {
    char *executable; /* to be started; a wrapper such as pyenv's is not it, what it starts is */
    char **trees;     /* absolute, none below another or below /usr and /lib* */
    size_t n_trees;
    struct local_python_left_out *left_out;
    size_t n_left_out;
    struct local_python_link *links;
    size_t n_links;
};

#define LOCAL_PYTHON_TREES_MAX 64
#define LOCAL_PYTHON_LINKS_MAX 16

/* Both lists are absolute paths, ended by NULL. */
struct local_python_rules {
    const char *const *secrets; /* neither they nor a folder above them is ever among the trees */
    const char *const *allowed; /* what stands in sys.path below these is shown */
};

/*
 * Runs `python` (absolute, or a name to find in PATH) once and asks it; blocks up to deadline_ms.
 * An error when the interpreter's own folders hold one of the secrets.
 */
int local_python_find(struct local_python **ret, const char *python,
                      const struct local_python_rules *rules, int64_t deadline_ms, struct err *err);
struct local_python *local_python_free(struct local_python *p); /* NULL ok */

/* What the interpreter said, or failed to say: for the above, and its tests. */
int local_python_parse(struct local_python **ret, const char *said,
                       const struct local_python_rules *rules, struct err *err);

/* Finds a program by PATH (or takes an absolute path); NULL when there is none to execute. */
char *local_find_program(const char *name);

DEFINE_CLEANUP(struct local_python *, local_python_free)
