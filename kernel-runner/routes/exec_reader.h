#pragma once
#include "kernel-runner/core/runner.h"
#include "lib/http/http.h"

/*
 * Answers `req` with the events of an execution after `after_seq`, then live to `done`: NDJSON or
 * SSE. Every 15 s of silence an empty line or a comment. Takes care of itself until the request
 * ends.
 */
void exec_reader_start(struct runner *r, struct http_request *req, struct exec *e,
                       uint64_t after_seq, bool sse);
/* Answers with the execution as JSON: now, or when it is done. */
void exec_answer_now(struct runner *r, struct http_request *req, struct exec *e, int status);
void exec_answer_when_done(struct runner *r, struct http_request *req, struct exec *e);
