#pragma once
#include <stdbool.h>
#include <stdint.h>

/*
 * How long a sandbox lives. Pure: the clocks are given. All is reckoned by CLOCK_MONOTONIC, the
 * clock of the loop's timers, so that nobody who sets the wall clock ends a sandbox or keeps it.
 * It stands still while the machine sleeps, and so does every sandbox on it: CLOCK_BOOTTIME would
 * end all of them in the moment in which a laptop is opened again.
 */
struct lifetime {
    int64_t idle_ms;
    int64_t max_ms;    /* 0: no end but idleness */
    int64_t begun_us;  /* monotonic */
    int64_t active_us; /* monotonic: when it was last used */
    int64_t offset_us; /* wall minus monotonic, as last shown */
};

enum lifetime_end { LIFETIME_LASTS, LIFETIME_IDLE, LIFETIME_MAX };

/* When it ends if nothing more happens; `busy`: it is in use at this moment. */
int64_t lifetime_ends_us(const struct lifetime *l, int64_t now_us, bool busy);
enum lifetime_end lifetime_end(const struct lifetime *l, int64_t now_us, bool busy);
/*
 * A monotonic time as people read it. The same one gives the same answer, however often it is
 * asked, until the wall clock is set by more than a second.
 */
int64_t lifetime_shown(struct lifetime *l, int64_t us, int64_t now_us, int64_t wall_us);
