#pragma once
#include "lib/base/err.h"
#include "lib/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* What both ways of talking to Caesarion have in common. */

/*
 * An answer that is not the wanted one, or none (status 0, `cause`), as a sentence about `what`
 * ("sandbox sb-…"): with the server's own words when it gave any.
 */
int attach_http_error(struct err *err, const char *what, int status, struct slice body,
                      const struct err *cause);
/* It may be otherwise in a moment: no connection, a server that starts, too many requests. */
bool attach_http_passing(int status);
/* It says for good that the thing is not there, or not for this caller. */
bool attach_http_final(int status);

/* The wait before attempt n (0, 1, …): 0.1 s doubled up to max_ms, of which half is random. */
int64_t attach_backoff_ms(unsigned n, int64_t max_ms);

/* "Authorization: Bearer …", or NULL without a token. A secret: mem_free_secret(). */
char *attach_http_auth(const char *token);
