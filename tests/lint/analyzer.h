#pragma once
/*
 * Read before every file that clang-tidy looks at, and by no compiler: says what the analyzer
 * cannot see from outside err.c. What forwards a failure is negative; without this, each `return
 * err_set(…)` also has a path on which it was a success, with its results unset.
 */
#include "lib/base/err.h"

#define ANALYZER_NEGATIVE(call)                                                                    \
    __extension__({                                                                                \
        int _negative = call;                                                                      \
        if (_negative >= 0)                                                                        \
            __builtin_unreachable();                                                               \
        _negative;                                                                                 \
    })
#define err_set(...)   ANALYZER_NEGATIVE((err_set)(__VA_ARGS__))
#define err_field(...) ANALYZER_NEGATIVE((err_field)(__VA_ARGS__))
#define err_errno(...) ANALYZER_NEGATIVE((err_errno)(__VA_ARGS__))
#define err_wrap(...)  ANALYZER_NEGATIVE((err_wrap)(__VA_ARGS__))
