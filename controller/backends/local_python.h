#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

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

struct local_python {
    char *executable; /* to be started; a wrapper such as pyenv's is not it, what it starts is */
    char **trees;     /* absolute, none below another or below /usr and /lib* */
    size_t n_trees;
    struct local_python_link *links;
    size_t n_links;
};

#define LOCAL_PYTHON_TREES_MAX 64
#define LOCAL_PYTHON_LINKS_MAX 16

/*
 * Runs `python` (absolute, or a name to find in PATH) once and asks it; blocks up to deadline_ms.
 * Folders that hold one of `secrets` (ended by NULL) are never among the trees: an error when the
 * interpreter itself needs one, left out otherwise.
 */
int local_python_find(struct local_python **ret, const char *python, const char *const *secrets,
                      int64_t deadline_ms, struct err *err);
struct local_python *local_python_free(struct local_python *p); /* NULL ok */

/* What the interpreter said, or failed to say: for the above, and its tests. */
int local_python_parse(struct local_python **ret, const char *said, const char *const *secrets,
                       struct err *err);

/* Finds a program by PATH (or takes an absolute path); NULL when there is none to execute. */
char *local_find_program(const char *name);

DEFINE_CLEANUP(struct local_python *, local_python_free)
