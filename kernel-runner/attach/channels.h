#pragma once
struct http_request;

/*
 * GET /jupyter/api/kernels/{kid}/channels: a WebSocket to a kernel, in the v1 protocol where the
 * client offers it, else in legacy JSON. `?session_id=` makes it one that can come back. Answered
 * with 101 at once, also while the kernel starts. ctx is the struct runner.
 *
 * A client that does not read: see hub.h; it never stops another, nor is it closed for being silent
 * or for missing a pong. Close codes: 1007 a message that is none, 1009 one above
 * LIMIT_CLIENT_MESSAGE_BYTES, 1013 too far behind, 1001 the sandbox ends, 1000 the kernel was
 * deleted or the session has a newer connection.
 */
void channels_handler(void *ctx, struct http_request *req);
