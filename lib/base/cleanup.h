#pragma once
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Ownership in the scope: `_cleanup_(freep) char *s` frees s when it leaves the scope. */
#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Makes x_freep() out of x_free() for a pointer type. */
#define DEFINE_CLEANUP(type, fn) /* NOLINTNEXTLINE(bugprone-macro-parentheses) */                  \
    static inline __attribute__((unused)) void fn##p(type *p)                                      \
    {                                                                                              \
        if (*p)                                                                                    \
            fn(*p);                                                                                \
    }

/* Hands over what a cleanup variable owns. */
#define TAKE_PTR(p)                                                                                \
    __extension__({                                                                                \
        __typeof__(p) *_pp = &(p);                                                                 \
        __typeof__(p) _v = *_pp;                                                                   \
        *_pp = NULL;                                                                               \
        _v;                                                                                        \
    })
#define TAKE_FD(fd)                                                                                \
    __extension__({                                                                                \
        int *_fdp = &(fd);                                                                         \
        int _v = *_fdp;                                                                            \
        *_fdp = -1;                                                                                \
        _v;                                                                                        \
    })

static inline __attribute__((unused)) void freep(void *p)
{
    free(*(void **)p);
}

static inline __attribute__((unused)) void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose)
DEFINE_CLEANUP(DIR *, closedir)
