#include "lib/base/write_all.h"

#include <errno.h>
#include <unistd.h>

int write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return 0;
}
