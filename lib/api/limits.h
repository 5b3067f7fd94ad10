#pragma once
#include "lib/base/macros.h"

/*
 * The ceilings of the API, in one place: what a peer may send, how much is kept. Each has a test at
 * the ceiling and at the ceiling + 1. Those an operator can change are options (`--help`).
 */
#define LIMIT_CODE_BYTES          MIB(1) /* `code` of an execution */
#define LIMIT_EXECUTE_BODY_BYTES  MIB(8) /* code may be escaped up to six-fold, plus the rest */
#define LIMIT_JSON_BODY_BYTES     MIB(1) /* every other JSON body */
#define LIMIT_EXEC_QUEUE          256    /* waiting API executions per kernel, then 429 */
#define LIMIT_EXECS_KEPT          512    /* finished API executions that can be asked for */
#define LIMIT_NOTEBOOK_EXECS_KEPT 64     /* the same for notebook clients' executions */
#define LIMIT_EXEC_KEPT_MS        (15 * 60 * 1000) /* after its end; then 410 */
#define LIMIT_EXPIRED_IDS         4096    /* ids remembered as expired (410 rather than 404) */
#define LIMIT_KERNELS             16      /* per sandbox */
#define LIMIT_LATE_BYTES          MIB(1)  /* late_outputs of one execution */
#define LIMIT_LOG_MEMORY_BYTES    MIB(4)  /* one event log in memory; above, it spills to a file */
#define LIMIT_LOGS_MEMORY_BYTES   MIB(16) /* all logs in memory, except those being written */
#define LIMIT_SPILL_MEMORY_BYTES                                                                   \
    MIB(32) /* those, too; above, all that is written goes to files                                \
             */
#define LIMIT_STREAM_EVENT_BYTES   KIB(128) /* text of one stream event; longer output is split */
#define LIMIT_INPUT_BYTES          MIB(1)   /* `value` of an input reply */
#define LIMIT_CLIENT_MESSAGE_BYTES MIB(16)  /* one WebSocket message of a Jupyter client */
#define LIMIT_CLIENT_GATHER_BYTES  MIB(64)  /* of such that are not whole yet, of all clients */
#define LIMIT_SESSIONS             64       /* Jupyter sessions of a sandbox */
#define LIMIT_SESSION_BYTES        KIB(8)   /* path and name of one */
#define LIMIT_ENV_ENTRIES          128
#define LIMIT_ENV_NAME_BYTES       256
#define LIMIT_ENV_VALUE_BYTES      KIB(32)
#define LIMIT_LABELS               32
#define LIMIT_LABEL_KEY_BYTES      63
#define LIMIT_LABEL_VALUE_BYTES    253
#define LIMIT_NAME_BYTES           128
#define LIMIT_USER_EXPRESSIONS     32
#define LIMIT_TIMEOUT_S            86400.0 /* timeout_s and exec_timeout_s */
#define LIMIT_LIFETIME_S           31536000.0
#define LIMIT_READERS              256     /* who read or wait for one execution at a time */
#define LIMIT_ALL_READERS          1024    /* the same of all executions of a sandbox */
#define LIMIT_CONTENTS_BYTES       MIB(24) /* body of a save by Jupyter's contents API */
#define LIMIT_CONTENTS_FILE_BYTES  MIB(16) /* of a file that it returns with its content */
#define LIMIT_CONTENTS_ENTRIES     10000   /* of a directory, the first by name */
