#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"
#include "lib/base/mem_budget.h"
#include "lib/base/slice.h"
#include "lib/json/jsonx.h"

/* The body of POST …/execute, checked. */
struct exec_request {
    char *code;
    size_t code_len;
    char *kernel_id;    /* NULL: the main one */
    int64_t timeout_ms; /* 0: the sandbox's default */
    int64_t generation; /* 0: any */
    bool stop_on_error;
    bool silent;
    bool store_history;
    bool allow_stdin;
    bool interrupt_on_disconnect;
    json_t *user_expressions; /* object of strings */
    struct mem_held held;     /* for code and expressions, see exec_request_hold() */
};

/*
 * Parses and checks; `text` is the raw JSON. Errors name the field. Code: 1 byte to 1 MiB of UTF-8
 * without NUL, not blank (-ERR_INVALID; longer: -ERR_TOO_LARGE).
 */
int exec_request_parse(struct exec_request **ret, struct slice text, struct err *err);
struct exec_request *exec_request_free(struct exec_request *r);
/* Charges what it takes of memory. -ERR_LIMIT. */
int exec_request_hold(struct exec_request *r, struct mem_budget *budget, struct err *err);
/* It will not be sent (again): code and expressions are freed. */
void exec_request_let_go(struct exec_request *r);
/* The content of the Jupyter execute_request; the caller frees. */
char *exec_request_content(const struct exec_request *r);
DEFINE_CLEANUP(struct exec_request *, exec_request_free)
