#pragma once
#include <stddef.h>

#define ARRAY_LEN(a)          (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)             ((a) < (b) ? (a) : (b))
#define MAX(a, b)             ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(p, t, m) ((t *)(void *)((char *)(p)-offsetof(t, m)))
#define _printf_(fmt, args)   __attribute__((format(printf, fmt, args)))
#define _unused_              __attribute__((unused))

#define KIB(n) ((size_t)(n)*1024U)
#define MIB(n) ((size_t)(n)*1024U * 1024U)
