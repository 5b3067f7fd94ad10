/* bubblewrap says what failed; an operator needs to know which switch of the host stands where. */
#include "controller/backends/local_hint.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/macros.h"

#define OR_NONE "; or start with --isolation none, which does not isolate"

/* -1 when it is not there. */
static int sysctl_value(const char *sysctls, const char *name)
{
    char path[256], text[24];
    unsigned value;

    snprintf(path, sizeof(path), "%s/%s", sysctls, name);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    return sscanf(text, "%u", &value) == 1 ? (int)MIN(value, 1000000U) : -1;
}

static const char *exhausted(const char *sysctls)
{
    if (sysctl_value(sysctls, "user/max_user_namespaces") == 0)
        return "user namespaces are switched off: sysctl user.max_user_namespaces is 0 "
               "(sysctl -w user.max_user_namespaces=10000 allows them)" OR_NONE;
    return "this user has no namespaces left, or they are nested too deeply: look at the "
           "user.max_*_namespaces sysctls, and count the sandboxes that run" OR_NONE;
}

static const char *forbidden(const char *sysctls)
{
    if (sysctl_value(sysctls, "kernel/unprivileged_userns_clone") == 0)
        return "ordinary users may not make user namespaces: sysctl "
               "kernel.unprivileged_userns_clone is 0 (sysctl -w "
               "kernel.unprivileged_userns_clone=1 allows it)" OR_NONE;
    if (sysctl_value(sysctls, "kernel/apparmor_restrict_unprivileged_userns") == 1)
        return "AppArmor forbids user namespaces: sysctl "
               "kernel.apparmor_restrict_unprivileged_userns is 1 (set it to 0, or give bwrap a "
               "profile that allows userns)" OR_NONE;
    if (sysctl_value(sysctls, "user/max_user_namespaces") == 0)
        return exhausted(sysctls);
    return "user namespaces are forbidden here, most likely by a container's seccomp profile "
           "(docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
           "--security-opt systempaths=unconfined)" OR_NONE;
}

const char *local_hint(const char *words, const char *sysctls, char *out, size_t size)
{
    static const char no_proc[] =
        "a container's masks on /proc forbid a new one (docker run --security-opt "
        "systempaths=unconfined)" OR_NONE;
    static const char too_old[] = "this bubblewrap is too old: 0.8.0 or newer is needed" OR_NONE;
    const char *hint = NULL;

    if (strstr(words, "Creating new namespace failed"))
        hint = exhausted(sysctls);
    else if (strstr(words, "No permissions to create new namespace") ||
             strstr(words, "No permissions to creating new namespace") ||
             strstr(words, "setting up uid map: Permission denied") ||
             strstr(words, "Failed RTM_NEWADDR"))
        hint = forbidden(sysctls);
    else if (strstr(words, "Can't mount proc on"))
        hint = no_proc;
    else if (strstr(words, "bwrap: Unknown option"))
        hint = too_old;
    if (!hint)
        return NULL;
    snprintf(out, size, "%s", hint);
    return out;
}
