/* Allocation that aborts when memory is out: a half-built object is never returned. */
#include "lib/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *need(void *p)
{
    if (!p)
        abort();
    return p;
}

void *mem_alloc(size_t size)
{
    return need(malloc(size ? size : 1));
}

void *mem_zero(size_t count, size_t size)
{
    return need(calloc(count ? count : 1, size ? size : 1));
}

void *mem_resize(void *p, size_t size)
{
    return need(realloc(p, size ? size : 1));
}

char *mem_dup_str(const char *s)
{
    return s ? mem_dup_n(s, strlen(s)) : NULL;
}

char *mem_dup_n(const char *s, size_t len)
{
    char *p = mem_alloc(len + 1);
    if (len)
        memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

char *mem_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    return s;
}

void mem_free_secret(char *s)
{
    if (!s)
        return;
    explicit_bzero(s, strlen(s));
    free(s);
}
