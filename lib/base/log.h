#pragma once
#include "lib/base/macros.h"

#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Where it goes: one JSON object a line to stderr, in one write. Nothing above `level` is written.
 */
void log_init(const char *program, enum log_level level);
/* "error", "warn", "info", "debug"; returns -1 for another word. */
int log_level_parse(const char *s);
enum log_level log_level_get(void);

/*
 * A ceiling for the file behind stderr, which must be open for reading, writing and appending: what
 * would pass it is made room for by cutting all but the last lines, and a line "log_cut" first says
 * how many bytes went. Nothing happens where stderr is no regular file. 0: no ceiling.
 */
#define LOG_MAX_AT_LEAST KIB(32)
void log_set_max(uint64_t bytes);

/*
 * log_event(LOG_INFO, "sandbox_ready", "sandbox", id, "ms", "12", NULL): pairs of strings after
 * the event's name, ended by NULL. A value of NULL leaves its pair out. A line has at most 8 KiB:
 * the value that does not fit is cut and marked with "…", pairs behind it are left out.
 * Only programs log above debug; lib/ returns errors instead.
 */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));
