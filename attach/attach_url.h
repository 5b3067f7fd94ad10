#pragma once
#include "lib/base/err.h"

/* Where Caesarion is, as httpc takes it. */
struct attach_url {
    char *base;      /* "https://host:8080/path", without a slash at its end */
    char *unix_path; /* of a socket, or NULL */
};

/*
 * http, https and http+unix. -ERR_INVALID with a sentence for anything else, and for a query or a
 * user: a token does not belong into a URL.
 */
int attach_url_parse(struct attach_url *ret, const char *text, struct err *err);
void attach_url_done(struct attach_url *u);
