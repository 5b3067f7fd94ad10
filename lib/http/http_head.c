/*
 * Is a request's head the only thing that it can be? libmicrohttpd 0.9.75 is lenient: a lone CR or
 * LF ends a line for it, a NUL hides the rest of one, a folded line is joined or lost, and of a
 * repeated header it believes the first. Where another reader on the way believes otherwise, one
 * request becomes two. It says nothing of all that, but it parses in place: request line and
 * headers lie in one buffer, with NULs where it ended them. So the pieces it names, with what must
 * stand between them in a well-formed head, have to fill the whole of it: one CRLF, one colon, one
 * space more or less and they do not. (Two bytes it may also end a line by cannot be told from CR
 * LF: NUL LF, and a line of nothing but a colon with LF. No proxy passes such a line on.) Another
 * layout, of another version, would be refused from the first request on.
 */
#include "lib/base/parse.h"
#include "lib/http/http_internal.h"

#include <strings.h>

#define TOKEN_CHARS "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

struct walk {
    const char *at; /* where the next line must begin */
    bool broken;
    bool bad_name, bad_value;
    unsigned hosts, lengths, encodings;
};

static bool is_token(const char *s, size_t len)
{
    return len > 0 && strspn(s, TOKEN_CHARS) == len;
}

static bool has_controls(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f)
            return true;
    return false;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len)
{
    struct walk *w = cls;
    if (name != w->at || !value) {
        w->broken = true;
        return MHD_NO;
    }
    const char *after_colon = name + name_len + 1;
    w->broken |=
        value < after_colon || value - after_colon != (ptrdiff_t)strspn(after_colon, " \t");
    w->bad_name |= !is_token(name, name_len);
    w->bad_value |= has_controls(value, value_len);
    w->at = value + value_len + 2;
    w->hosts += strcasecmp(name, "Host") == 0;
    w->lengths += strcasecmp(name, "Content-Length") == 0;
    w->encodings += strcasecmp(name, "Transfer-Encoding") == 0;
    return w->broken ? MHD_NO : MHD_YES;
}

/* RFC 9112 3: one space each, no other blank in the target. Bytes above ASCII pass: curl sends
 * them. */
static bool is_request_line(const struct http_request *req, const char *method, const char *target,
                            const char *version)
{
    size_t len = req->uri_len;
    if (target != method + strlen(method) + 1 || version != target + len + 1)
        return false;
    if (!is_token(method, strlen(method)) || strlen(version) != strlen("HTTP/1.1") || len == 0)
        return false;
    /* Of a target beyond its bound only the beginning was kept; it is refused for that. */
    return strcspn(req->uri, " \t") == strlen(req->uri) &&
           !has_controls(req->uri, strlen(req->uri));
}

static int check_lines(struct http_request *req, const struct http_head *head, struct walk *w,
                       struct err *err)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!is_request_line(req, head->method, head->target, head->version))
        return err_set(
            err, ERR_INVALID,
            "the request line must be METHOD, target and version with one space between");
    w->at = head->version + strlen(head->version) + 2;
    MHD_get_connection_values_n(req->conn->mhd, MHD_HEADER_KIND, on_header, w);
    if (w->bad_name)
        return err_set(err, ERR_INVALID, "a header has a malformed name");
    if (w->broken || !info || w->at + 2 != head->method + info->header_size)
        return err_set(err, ERR_INVALID,
                       "the header's lines must be \"name: value\" and end with CR LF, without "
                       "other CR, LF or NUL, and not be folded");
    if (w->bad_value)
        return err_set(err, ERR_INVALID, "a header's value has control characters");
    return 0;
}

int http_head_check(struct http_request *req, const struct http_head *head, struct err *err)
{
    struct walk w = {0};
    int r = check_lines(req, head, &w, err);
    if (r < 0)
        return r;
    const char *encoding = http_header(req, "Transfer-Encoding");
    const char *length = http_header(req, "Content-Length");
    const char *host = http_header(req, "Host");
    if (w.hosts > 1 || (w.hosts == 0 && !req->http_1_0))
        return err_set(err, ERR_INVALID, "an HTTP/1.1 request needs exactly one Host header");
    /* RFC 9112 3.2.2 lets the target win; who sends two names wants two readers to differ. */
    if (host && req->authority_own && strcasecmp(host, req->authority_own) != 0)
        return err_set(err, ERR_INVALID, "the request's target and its Host name different hosts");
    /* RFC 9112 6.3 permits to take equal ones for one; who sends them wants the same. */
    if (w.lengths + w.encodings > 1)
        return err_set(err, ERR_INVALID, "the length of the body is stated more than once");
    if (encoding && (req->http_1_0 || strcasecmp(encoding, "chunked") != 0))
        return err_set(err, ERR_INVALID, "the only Transfer-Encoding known here is chunked");
    uint64_t n = 0;
    if (length && parse_u64(length, 0, INT64_MAX, &n, NULL) < 0)
        return err_set(err, ERR_INVALID, "Content-Length is not a length");
    req->content_length = encoding ? -1 : (int64_t)n;
    return 0;
}
