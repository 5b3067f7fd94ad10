/* Nothing of the host's /etc that names people or machines reaches a sandbox. */
#include "controller/backends/local_etc.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

static const struct {
    const char *path;
    const char *text;
    bool without_network; /* only then */
} etc_files[LOCAL_ETC_MAX] = {
    {"/etc/passwd",
     "root:x:0:0:root:/root:/usr/sbin/nologin\n"
     "user:x:1000:1000:user:/uploaded_files:/bin/bash\n"
     "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
     false},
    {"/etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n", false},
    {"/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n", false},
    {"/etc/hostname", "sandbox\n", false},
    {"/etc/nsswitch.conf",
     "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n", false},
    {"/etc/resolv.conf", "", true},
};

int local_memfd(const char *name, const void *data, size_t len, int *ret_fd, struct err *err)
{
    _cleanup_(closep) int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd < 0)
        return err_errno(err, "a file in memory");
    if (len > 0 && pwrite(fd, data, len, 0) != (ssize_t)len)
        return err_errno(err, "a file in memory");
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void local_etc_close(struct local_bwrap_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(files[i].fd);
}

int local_etc_open(struct local_bwrap_file ret[LOCAL_ETC_MAX], size_t *ret_n, bool network_host,
                   struct err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < LOCAL_ETC_MAX; i++) {
        const char *text = etc_files[i].text;
        if (etc_files[i].without_network && network_host)
            continue;
        int r = local_memfd("etc", text, strlen(text), &ret[n].fd, err);
        if (r < 0) {
            local_etc_close(ret, n);
            return r;
        }
        ret[n++].path = etc_files[i].path;
    }
    *ret_n = n;
    return 0;
}
