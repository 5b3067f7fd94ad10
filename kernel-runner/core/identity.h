#pragma once
#include "lib/base/err.h"
#include "lib/crypto/crypto.h"
#include "lib/json/jsonx.h"

/*
 * Whose a sandbox is: what its claim said. A claim is made once. Sent again with the same body, it
 * is the same claim and has the same answer; any other is refused, and the refusal tells whose the
 * sandbox is. The body names the claim by `claim_id`, which its controller makes anew for each, so
 * that two claims of one owner are two; where it has none, the rest of the body is all there is to
 * tell claims apart.
 */
struct identity {
    json_t *members;              /* object: what is given back as it came; never NULL */
    char digest[CRYPTO_HEX_SIZE]; /* of the claim's body; "": not claimed */
};

#define IDENTITY_CLAIM_ID_MAX 128

void identity_init(struct identity *id);
void identity_done(struct identity *id);
bool identity_claimed(const struct identity *id);

/* May this claim be made? 0: yes. IDENTITY_REPEATED: it was, already. -ERR_INVALID,
 * -ERR_CONFLICT. */
enum { IDENTITY_REPEATED = 1 };
int identity_check(const struct identity *id, const json_t *body, struct err *err);
void identity_take(struct identity *id, const json_t *body); /* a claim that may be made */
/* A member as the claim had it, or null; caller owns. */
json_t *identity_member(const struct identity *id, const char *key);
