#pragma once
#include "kernel-runner/core/runner.h"
#include "lib/http/http.h"

/* What an API shows of a kernel; the caller owns it. */
typedef json_t *(*kernel_model_fn)(struct runner *r, const struct kernel *k);

/*
 * Answers with the kernel's model as soon as it takes requests; sandbox_failed with its last words
 * when it is dead, not_found when it was deleted meanwhile. Sets on_close.
 */
void kernel_answer_when_settled(struct runner *r, struct http_request *req, struct kernel *k,
                                int status, kernel_model_fn model);
