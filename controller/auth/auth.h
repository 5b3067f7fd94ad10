#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Who may call: tokens from a file, from CAESARION_TOKEN, or made here. Tokens are kept as keyed
 * hashes only. The caller objects live as long as `auth`.
 */
struct auth;

#define AUTH_CALLERS_MAX 10000
#define AUTH_NAME_MAX    63  /* letters, digits, "-_.@", beginning with a letter or digit */
#define AUTH_TOKEN_MIN   16  /* shorter ones can be guessed */
#define AUTH_TOKEN_MAX   512 /* visible ASCII without ":" */

struct caller {
    char name[AUTH_NAME_MAX + 1];
    bool admin;
};

/* What sandbox lookups want: NULL for an admin, who sees all. */
static inline const char *caller_owner_filter(const struct caller *c)
{
    return c->admin ? NULL : c->name;
}

struct auth_cfg {
    const char *token_file;          /* or NULL */
    const char *token;               /* CAESARION_TOKEN: one admin; or NULL */
    const char *generated_file;      /* where a made token is kept (0600) when neither is there */
    const char *const *allow_origin; /* ended by NULL; "*" allows all; may be NULL */
};

int auth_new(struct auth **ret, const struct auth_cfg *cfg, struct err *err);
struct auth *auth_free(struct auth *a);
/* The token made here, for the ready line; NULL when callers were configured. */
const char *auth_generated_token(const struct auth *a);
size_t auth_callers(const struct auth *a);
/* The token file may be read by others: worth a warning. */
bool auth_token_file_is_open(const struct auth *a);

/*
 * From the Authorization header ("Bearer T" or "token T", any case of the scheme) or else ?token=;
 * each may be NULL. ERR_UNAUTHORIZED otherwise. Takes the same time for every wrong token.
 */
int auth_identify(const struct auth *a, const char *authorization, const char *query_token,
                  const struct caller **ret, struct err *err);
/*
 * A browser names the page that asks in Origin: it must be this server (its Host) or be allowed,
 * else ERR_FORBIDDEN. Each may be NULL; no Origin is no browser and passes.
 */
int auth_check_origin(const struct auth *a, const char *origin, const char *host, struct err *err);
/* The origin is allowed by --allow-origin (not merely this server): CORS headers are due. */
bool auth_origin_is_allowed(const struct auth *a, const char *origin);

DEFINE_CLEANUP(struct auth *, auth_free)
