#pragma once
#include "lib/base/err.h"

/*
 * The system calls that no process of a kernel makes: a program for seccomp, made once, that the
 * child of a fork installs before exec. Which calls, and why, is one table in kernel_filter.c.
 */
struct kernel_filter;

/* -ERR_UNAVAILABLE with a sentence where it cannot be made. */
int kernel_filter_new(struct kernel_filter **ret, struct err *err);
struct kernel_filter *kernel_filter_free(struct kernel_filter *f); /* NULL ok; returns NULL */
/* On the calling thread, for good; it has PR_SET_NO_NEW_PRIVS. Async-signal-safe. -1: errno. */
int kernel_filter_install(const struct kernel_filter *f);
