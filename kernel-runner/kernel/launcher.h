#pragma once
#include <stddef.h>

/* kernel-runner/python/launcher.py, embedded at build time (cmake/Embed.cmake). */
extern const unsigned char launcher_py[];
extern const size_t launcher_py_len;
