#pragma once
#include "kernel-runner/attach/contents_body.h"
#include "kernel-runner/attach/contents_path.h"
#include "kernel-runner/files/file_job.h"
#include "lib/base/mem_budget.h"

struct file_root;

/* One request of the contents API as blocking work: everything it needs, and what came of it. */
enum contents_op { CONTENTS_GET, CONTENTS_POST, CONTENTS_PUT, CONTENTS_PATCH, CONTENTS_DELETE };

struct contents_job {
    enum contents_op op;
    struct contents_target target;
    /* of GET */
    enum contents_type type;
    enum contents_format format;
    bool content, hash;
    struct buf body; /* of POST, PUT, PATCH */
    /*
     * For everything below that can be large, from before it is there until the job is freed. What
     * is read and answered has ceilings that keep within it.
     */
    struct mem_held held;
    size_t file_max; /* of GET with content or hash: what was charged for */

    void (*done)(void *ctx, struct contents_job *j); /* on the loop, unless the job was detached */
    void *ctx;

    /* the result */
    bool failed; /* with err */
    struct err err;
    int status;
    struct buf json;     /* empty: no body */
    struct buf text;     /* not empty: `json` ends with it, escaped, and a brace */
    struct buf location; /* empty: none */
    bool cut;            /* a list that has not all entries */

    /* the pool's */
    char *root_path;
    uint64_t max_bytes;
    int root_fd;
    struct contents_body model;
};

/* `body` may take LIMIT_CONTENTS_BYTES. */
struct contents_job *contents_job_new(enum contents_op op, const struct file_root *root);
struct contents_job *contents_job_free(struct contents_job *j); /* one not started; NULL ok */
DEFINE_CLEANUP(struct contents_job *, contents_job_free)
/* Takes the job over in any case. */
int contents_job_start(struct file_job **ret, struct loop *loop, struct contents_job *j_take,
                       struct err *err);

/* What a notebook has before anybody wrote in it, as nbformat lays it out. */
#define CONTENTS_NEW_NOTEBOOK                                                                      \
    "{\n \"cells\": [],\n \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n"

/* ---- among the files of this module; each on the pool, with root_fd open ---- */

int contents_read(struct contents_job *j, struct err *err);
int contents_create(struct contents_job *j, struct err *err); /* the server finds the name */
int contents_save(struct contents_job *j, struct err *err);
/* Answers with the model of what stands there now, without its content. */
int contents_answer_model(struct contents_job *j, int status, const char *path, struct err *err);
