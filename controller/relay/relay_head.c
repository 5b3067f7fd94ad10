/*
 * Why: the one place that says what crosses from a client to a runner and back. Towards the runner
 * a short list of what it understands, so that no credential of a caller can reach a sandbox by a
 * header nobody thought of; towards the client all but the connection's own.
 */
#include "controller/relay/relay_head.h"

#include <string.h>
#include <strings.h>

#include "lib/base/mem.h"
#include "lib/base/parse.h"
#include "lib/crypto/crypto.h"

#define PREFIX      "/api/sandboxes/"
#define FOR_ALL     "/jupyter/"
#define TARGET_NAME "token"

static bool one_of(const char *const *list, struct slice name)
{
    for (; *list; list++)
        if (strlen(*list) == name.len && strncasecmp(*list, name.ptr, name.len) == 0)
            return true;
    return false;
}

bool relay_passes_to_runner(const char *name)
{
    static const char *const list[] = {"Accept",
                                       "Content-Type",
                                       "Content-Encoding",
                                       "Range",
                                       "If-Range",
                                       "If-Match",
                                       "If-None-Match",
                                       "Last-Event-ID",
                                       "Prefer",
                                       "User-Agent",
                                       "If-Modified-Since",
                                       "If-Unmodified-Since",
                                       "Sec-Fetch-Dest",
                                       NULL};
    return one_of(list, slice_str(name));
}

bool relay_passes_to_client(struct slice name)
{
    static const char *const list[] = {"Connection",
                                       "Keep-Alive",
                                       "Proxy-Connection",
                                       "Proxy-Authenticate",
                                       "Trailer",
                                       "Transfer-Encoding",
                                       "Upgrade",
                                       "TE",
                                       "Content-Length",
                                       "Date",
                                       "Server",
                                       "Set-Cookie",
                                       "WWW-Authenticate",
                                       "X-Request-Id",
                                       NULL};
    return !one_of(list, name) &&
           !(name.len > 15 && strncasecmp(name.ptr, "Access-Control-", 15) == 0);
}

static int append_escaped(struct buf *out, const char *p, size_t len)
{
    int r = 0;
    for (size_t i = 0; i < len && r == 0; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            r = buf_printf(out, "%%%02X", c);
        else
            r = buf_append_char(out, (char)c);
    }
    return r;
}

/* Is it "token" or "token=…", however it is escaped? */
static bool is_token(const char *part, size_t len)
{
    const char *eq = memchr(part, '=', len);
    size_t n = eq ? (size_t)(eq - part) : len, got = 0;
    char name[3 * sizeof(TARGET_NAME)];
    if (n >= sizeof(name) || parse_percent(part, n, name, &got, NULL) < 0)
        return false;
    return got == strlen(TARGET_NAME) && memcmp(name, TARGET_NAME, got) == 0;
}

static int append_query(struct buf *out, const char *query)
{
    char mark = '?';
    int r = 0;
    while (*query && r == 0) {
        size_t len = strcspn(query, "&");
        if (len > 0 && !is_token(query, len)) {
            r = buf_append_char(out, mark);
            if (r == 0)
                r = append_escaped(out, query, len);
            mark = '&';
        }
        query += len + (query[len] == '&');
    }
    return r;
}

bool relay_is_for_all(const char *path_raw)
{
    return strncmp(path_raw, FOR_ALL, strlen(FOR_ALL)) == 0;
}

int relay_target(struct buf *out, const char *path_raw, const char *query_raw, struct err *err)
{
    const char *rest = NULL;
    if (strncmp(path_raw, PREFIX, strlen(PREFIX)) == 0)
        rest = strchr(path_raw + strlen(PREFIX), '/');
    else if (relay_is_for_all(path_raw))
        rest = path_raw;
    if (!rest)
        rest = "/";
    if (append_escaped(out, rest, strlen(rest)) < 0 || append_query(out, query_raw) < 0)
        return err_set(err, ERR_URI_TOO_LONG, "the path and query are longer than %zu bytes",
                       out->max);
    return 0;
}

int relay_location(struct buf *out, const char *sandbox_id, const char *path_raw,
                   struct slice value)
{
    int r = 0;
    if (value.len > 0 && value.ptr[0] == '/' && !relay_is_for_all(path_raw))
        r = buf_printf(out, PREFIX "%s", sandbox_id);
    return r < 0 ? r : buf_append_slice(out, value);
}

void relay_execution_id(const char *sandbox_id, const char *key, char out[ID_EXEC_MAX + 1])
{
    _cleanup_(freep) char *text = mem_printf("%s %s", sandbox_id, key);
    char hex[CRYPTO_HEX_SIZE];
    crypto_sha256_hex(text, strlen(text), hex);
    memcpy(out, "k-", 2);
    memcpy(out + 2, hex, 32);
    out[34] = '\0';
}
