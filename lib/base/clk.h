#pragma once
#include <stdint.h>

/* "2026-11-23T20:48:00.123456Z" and the NUL */
#define CLK_RFC3339_SIZE 28

int64_t clk_mono_ms(void);
int64_t clk_mono_us(void);
/* Microseconds since 1970 of the wall clock: what `_at` fields hold. */
int64_t clk_wall_us(void);
/* RFC 3339 in UTC with six decimals; writes CLK_RFC3339_SIZE bytes and returns `out`. */
char *clk_rfc3339(int64_t wall_us, char out[CLK_RFC3339_SIZE]);
