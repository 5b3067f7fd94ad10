#pragma once
#include "lib/base/buf.h"
#include "lib/crypto/crypto.h"
#include "lib/jupyter/jp_msg.h"

/*
 * The multipart form of a message, without sockets: [ident…] <IDS|MSG> signature header
 * parent_header metadata content [buffer…]. Pure functions over borrowed slices.
 */
#define JP_DELIMITER  "<IDS|MSG>"
#define JP_HEADER_MAX KIB(64)
/* Most frames of a message: its buffers, delimiter, signature, four JSON frames and two idents. */
#define JP_FRAMES_MAX (JP_BUFFERS_MAX + 8)
enum { JP_HEADER, JP_PARENT, JP_METADATA, JP_CONTENT, JP_JSON_FRAMES };

/*
 * Checks the signature and reads header and parent header; msg->channel is the caller's. The first
 * of several idents is kept. -ERR_UNAUTHORIZED for a wrong signature, -ERR_INVALID for a wrong
 * form; *msg is then undefined. `key` is a scheduled key and is left ready for the next message;
 * NULL: signatures are not looked at.
 */
int jp_wire_decode(struct jp_msg *msg, const struct slice *frames, size_t n,
                   struct crypto_hmac *key);

/*
 * The part of it that reads msg->header and msg->parent, for a message that came another way: ids,
 * types and kind. -ERR_INVALID; an empty parent becomes {}.
 */
int jp_wire_read_ids(struct jp_msg *msg);

void jp_wire_sign(struct crypto_hmac *key, const struct slice json[JP_JSON_FRAMES],
                  char out[CRYPTO_HEX_SIZE]);

/* Appends a header frame. */
int jp_wire_header(struct buf *out, const char *msg_id, const char *session, const char *msg_type,
                   int64_t wall_us);

/*
 * Lists the frames of a message to send, in order: ident (unless empty), delimiter, signature,
 * JSON frames, buffers. An empty parent or metadata becomes {}. `sig` keeps the signature and must
 * live as long as `out`. Returns the number of frames, or 0 when there are too many buffers.
 */
size_t jp_wire_encode(struct slice out[JP_FRAMES_MAX], char sig[CRYPTO_HEX_SIZE],
                      struct crypto_hmac *key, struct slice ident,
                      const struct slice json[JP_JSON_FRAMES], const struct slice *buffers,
                      size_t n_buffers);
