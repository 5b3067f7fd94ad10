#pragma once
#include <stddef.h>
#include <stdlib.h>

/*
 * Allocation that never returns NULL: out of memory aborts. Safe because no size comes from a peer
 * without having passed a ceiling first.
 */
void *mem_alloc(size_t size);              /* uninitialised; size 0 gives a unique pointer */
void *mem_zero(size_t count, size_t size); /* zeroed */
void *mem_resize(void *p, size_t size);
char *mem_dup_str(const char *s);           /* NULL gives NULL */
char *mem_dup_n(const char *s, size_t len); /* NUL-terminated copy of len bytes */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Wipes a secret and frees it; NULL ok. */
void mem_free_secret(char *s);
static inline __attribute__((unused)) void mem_free_secretp(char **s)
{
    mem_free_secret(*s);
}

#define MEM_NEW(type)      ((type *)mem_zero(1, sizeof(type)))
#define MEM_NEW_N(type, n) ((type *)mem_zero((n), sizeof(type)))
