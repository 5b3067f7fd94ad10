#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

/*
 * The names this server answers to. A page whose name its owner makes point here (DNS rebinding) is
 * to the browser this server's own: no Origin is foreign then, and only the name in Host is.
 */
struct hosts;

struct hosts_cfg {
    const char
        *listen_host; /* of --listen, without brackets; NULL: a Unix socket, any name will do */
    const char *const *allow; /* of --allow-host, ended by NULL; "*" allows all; may be NULL */
};

/* ERR_INVALID for an entry of `allow` that is no host. */
int hosts_new(struct hosts **ret, const struct hosts_cfg *cfg, struct err *err);
struct hosts *hosts_free(struct hosts *h); /* NULL ok; returns NULL */
/*
 * `authority` is what the request names: "host", "host:port", "[v6]:port"; NULL (HTTP/1.0) passes.
 * ERR_INVALID when it is malformed, ERR_FORBIDDEN when it is a name not known here. Addresses,
 * localhost and *.localhost pass: nobody can make those point elsewhere.
 */
int hosts_check(const struct hosts *h, const char *authority, struct err *err);

DEFINE_CLEANUP(struct hosts *, hosts_free)
