#include "lib/base/process.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* LeakSanitizer attaches to its own process, in the exit handler that runs last. */
static void allow_tracing(void)
{
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

void process_hide(void)
{
    const struct rlimit none = {0, 0};

    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (CAESARION_SANITIZED)
        atexit(allow_tracing);
    setrlimit(RLIMIT_CORE, &none);
}
