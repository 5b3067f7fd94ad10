#pragma once
#include "kernel-runner/core/runner.h"
#include "lib/http/http.h"

/* Answers with all executions, newest first, without outputs; state NULL: all. */
void exec_list_answer(struct runner *r, struct http_request *req, const char *state);
