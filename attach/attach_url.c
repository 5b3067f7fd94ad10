/* The address a person typed, or copied from the controller's ready line. */
#include "attach/attach_url.h"

#include "lib/base/mem.h"
#include "lib/base/slice.h"

#include <stdbool.h>
#include <string.h>

#define UNIX_SCHEME "http+unix://"

void attach_url_done(struct attach_url *u)
{
    free(u->base);
    free(u->unix_path);
    *u = (struct attach_url){0};
}

static bool is_visible(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~')
            return false;
    return true;
}

int attach_url_parse(struct attach_url *ret, const char *text, struct err *err)
{
    struct slice s = slice_str(text);
    *ret = (struct attach_url){0};
    if (strpbrk(text, "?#"))
        return err_set(
            err, ERR_INVALID,
            "the URL ends before \"?\": a token is given by CAESARION_TOKEN or in a file");
    while (s.len > 0 && s.ptr[s.len - 1] == '/')
        s.len--;
    if (slice_starts(s, UNIX_SCHEME "/")) {
        size_t scheme = strlen(UNIX_SCHEME);
        ret->base = mem_dup_str("http://localhost");
        ret->unix_path = mem_dup_n(s.ptr + scheme, s.len - scheme);
        return 0;
    }
    size_t scheme = slice_starts(s, "http://") ? 7 : slice_starts(s, "https://") ? 8 : 0;
    if (!scheme || s.len == scheme || text[scheme] == '/' || !is_visible(text))
        return err_set(err, ERR_INVALID, "\"%.200s\" is not a URL like http://127.0.0.1:8080",
                       text);
    size_t host = strcspn(text + scheme, "/");
    if (memchr(text + scheme, '@', host))
        return err_set(err, ERR_INVALID,
                       "the URL holds a name or a password; give CAESARION_TOKEN instead");
    ret->base = mem_dup_n(s.ptr, s.len);
    return 0;
}
