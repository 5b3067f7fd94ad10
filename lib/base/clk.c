/* The two clocks: monotonic for deadlines, wall for what people read. */
#include "lib/base/clk.h"

#include <stdio.h>
#include <time.h>

static int64_t now_us(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clk_mono_ms(void)
{
    return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clk_mono_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

int64_t clk_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}

char *clk_rfc3339(int64_t wall_us, char out[CLK_RFC3339_SIZE])
{
    /* Years beyond 9999 would not fit the format; no clock of ours gets there. */
    if (wall_us < 0 || wall_us > 253402300799999999)
        wall_us = 0;
    time_t sec = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    char date[64];
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, CLK_RFC3339_SIZE, "%.19s.%06dZ", date, (int)(wall_us % 1000000));
    return out;
}
