/* One parser for what --listen, --allow-host and requests name, so that they cannot disagree. */
#include "controller/auth/hosts.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/macros.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/base/slice.h"

#define NAME_MAX_LEN 253
#define NAME_CHARS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"

struct hosts {
    char **names;
    size_t n_names;
    bool all;
};

struct host {
    struct slice name; /* without brackets and without the dot at the end */
    bool address;
    bool port;
};

static bool is_address(int family, struct slice text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return inet_pton(family, copy, &addr) == 1;
}

static bool is_port(const char *s)
{
    uint64_t n;

    return !*s || parse_u64(s, 0, 65535, &n, NULL) == 0;
}

/* host [":" [port]] of RFC 3986, names by the characters that names of hosts have. */
static bool parse_host(const char *s, struct host *ret)
{
    const char *end;

    *ret = (struct host){0};
    if (s[0] == '[') {
        end = strchr(s, ']');
        ret->name = slice_make(s + 1, end ? (size_t)(end - s) - 1 : 0);
        ret->address = is_address(AF_INET6, ret->name);
        if (!end || !ret->address)
            return false;
        end++;
    } else {
        size_t len = strspn(s, NAME_CHARS);
        end = s + len;
        if (len > 1 && s[len - 1] == '.')
            len--;
        ret->name = slice_make(s, len);
        ret->address = is_address(AF_INET, ret->name);
        if (len == 0 || len > NAME_MAX_LEN)
            return false;
    }
    ret->port = *end == ':';
    return *end == ':' ? is_port(end + 1) : !*end;
}

static bool is_name(struct slice a, const char *b)
{
    return a.len == strlen(b) && strncasecmp(a.ptr, b, a.len) == 0;
}

/* RFC 6761 6.3: every resolver and browser keeps these on the machine itself. */
static bool is_localhost(struct slice name)
{
    static const char suffix[] = ".localhost";
    size_t n = sizeof(suffix) - 1;

    return is_name(name, suffix + 1) ||
           (name.len > n && strncasecmp(name.ptr + name.len - n, suffix, n) == 0);
}

static void add(struct hosts *h, struct slice name)
{
    h->names = mem_resize(h->names, (h->n_names + 1) * sizeof(*h->names));
    h->names[h->n_names++] = mem_dup_n(name.ptr, name.len);
}

int hosts_new(struct hosts **ret, const struct hosts_cfg *cfg, struct err *err)
{
    _cleanup_(hosts_freep) struct hosts *h = MEM_NEW(struct hosts);
    struct host host;

    h->all = !cfg->listen_host;
    if (cfg->listen_host && parse_host(cfg->listen_host, &host))
        add(h, host.name);
    for (size_t i = 0; cfg->allow && cfg->allow[i]; i++) {
        const char *name = cfg->allow[i];
        if (strcmp(name, "*") == 0) {
            h->all = true;
            continue;
        }
        if (!parse_host(name, &host) || host.port)
            return err_set(err, ERR_INVALID,
                           "--allow-host %.150s: give the name of a host without scheme and port, "
                           "or * for all",
                           name);
        add(h, host.name);
    }
    *ret = TAKE_PTR(h);
    return 0;
}

struct hosts *hosts_free(struct hosts *h)
{
    if (!h)
        return NULL;
    for (size_t i = 0; i < h->n_names; i++)
        free(h->names[i]);
    free(h->names);
    free(h);
    return NULL;
}

int hosts_check(const struct hosts *h, const char *authority, struct err *err)
{
    struct host host;

    if (!authority || h->all)
        return 0;
    if (!parse_host(authority, &host))
        return err_set(err, ERR_INVALID, "the request's Host is not HOST or HOST:PORT");
    if (host.address || is_localhost(host.name))
        return 0;
    for (size_t i = 0; i < h->n_names; i++)
        if (is_name(host.name, h->names[i]))
            return 0;
    return err_set(err, ERR_FORBIDDEN,
                   "this server does not answer to the name %.*s; if the name is yours, start with "
                   "--allow-host %.*s",
                   (int)MIN(host.name.len, 80U), host.name.ptr, (int)MIN(host.name.len, 80U),
                   host.name.ptr);
}
