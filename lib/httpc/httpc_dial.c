/*
 * Why: what happens before the first byte of a connection that is not libcurl's afterwards.
 *
 * Each has a multi handle of its own. In a shared one a connection of CURLOPT_CONNECT_ONLY lies
 * among the idle ones, and libcurl closes those that are old or have something to read, as TLS
 * tunnels have. Removing the easy handle closes its connection (multi.c, "Better close the
 * connection here"): the close callback then lets the descriptor be taken along.
 */
#include "lib/httpc/httpc_dial.h"

#include <errno.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/httpc/httpc_multi.h"

struct httpc_dial {
    struct httpc_multi multi;
    CURL *easy;
    void (*on_done)(void *ctx, const struct err *err);
    void *ctx;
    int taken; /* the descriptor that outlives libcurl's connection, or -1 */
    char text[CURL_ERROR_SIZE];
};

static int on_curl_close(void *ctx, curl_socket_t fd)
{
    struct httpc_dial *d = ctx;
    return fd == d->taken ? 0 : close(fd);
}

static void run(void *ctx, curl_socket_t fd, int mask)
{
    struct httpc_dial *d = ctx;
    struct err err = {0};
    int running = 0, left = 0;
    curl_multi_socket_action(d->multi.curl, fd, mask, &running);
    const CURLMsg *m = curl_multi_info_read(d->multi.curl, &left);
    if (!m || m->msg != CURLMSG_DONE)
        return;
    CURLcode code = m->data.result;
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        err_set(&err, ERR_INVALID, "unusable address: %s", d->text);
    else if (code != CURLE_OK)
        err_set(&err, ERR_UNAVAILABLE, "cannot connect: %s",
                d->text[0] ? d->text : curl_easy_strerror(code));
    d->on_done(d->ctx, code == CURLE_OK ? NULL : &err);
}

static void set_options(struct httpc_dial *d, const struct httpc_dial_cfg *cfg)
{
    CURL *e = d->easy;
    curl_easy_setopt(e, CURLOPT_URL, cfg->url);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, d->text);
    if (cfg->unix_path)
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, cfg->unix_path);
    if (cfg->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, cfg->ca_file);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* A resolver that hangs is left behind instead of waited for. */
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 10L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)cfg->timeout_ms);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_curl_close);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, d);
}

int httpc_dial_start(struct httpc_dial **ret, struct loop *loop, const struct httpc_dial_cfg *cfg,
                     struct err *err)
{
    struct httpc_dial *d = MEM_NEW(struct httpc_dial);
    d->on_done = cfg->on_done;
    d->ctx = cfg->ctx;
    d->taken = -1;
    httpc_multi_init(&d->multi, loop, run, d);
    d->easy = curl_easy_init();
    if (!d->easy)
        abort();
    set_options(d, cfg);
    CURLMcode m = curl_multi_add_handle(d->multi.curl, d->easy);
    if (m != CURLM_OK) {
        httpc_dial_free(d);
        return err_set(err, ERR_INTERNAL, "HTTP client: %s", curl_multi_strerror(m));
    }
    *ret = d;
    return 0;
}

int httpc_dial_fd(const struct httpc_dial *d)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_getinfo(d->easy, CURLINFO_ACTIVESOCKET, &fd);
    return fd;
}

int httpc_dial_take(struct httpc_dial *d)
{
    int fd = httpc_dial_fd(d);
    d->taken = fd;
    httpc_dial_free(d);
    return fd;
}

static ssize_t count_or_errno(CURLcode code, size_t n, bool sending)
{
    if (code == CURLE_OK)
        return (ssize_t)n; /* receiving: 0 is the end */
    errno = code == CURLE_AGAIN ? EAGAIN : sending ? EPIPE : ECONNRESET;
    return -1;
}

ssize_t httpc_dial_recv(struct httpc_dial *d, void *out, size_t max)
{
    size_t n = 0;
    CURLcode code = curl_easy_recv(d->easy, out, max, &n);
    return count_or_errno(code, n, /* sending= */ false);
}

ssize_t httpc_dial_send(struct httpc_dial *d, const void *data, size_t len)
{
    size_t n = 0;
    CURLcode code = curl_easy_send(d->easy, data, len, &n);
    return count_or_errno(code, n, /* sending= */ true);
}

struct httpc_dial *httpc_dial_free(struct httpc_dial *d)
{
    if (!d)
        return NULL;
    curl_multi_remove_handle(d->multi.curl, d->easy);
    curl_easy_cleanup(d->easy);
    httpc_multi_done(&d->multi);
    free(d);
    return NULL;
}
