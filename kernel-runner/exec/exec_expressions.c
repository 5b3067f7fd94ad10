/* Pure; a kernel's reply is untrusted, but well-formed when it comes here. */
#include "kernel-runner/exec/exec_expressions.h"

#include "lib/api/limits.h"
#include "lib/base/buf.h"
#include "lib/json/jsonx.h"

#define KEY_MAX_BYTES 1536 /* 256, all of them escaped */

char *exec_expressions_fit(struct slice given, size_t room)
{
    struct buf out;
    room = MIN(room, EXEC_EXPRESSIONS_MAX_BYTES);
    buf_init(&out, room + EXEC_EXPRESSIONS_NOTE_BYTES);
    struct jsonx_iter it = jsonx_iter(given);
    unsigned n = 0;
    for (struct slice key, value;
         n < LIMIT_USER_EXPRESSIONS && jsonx_iter_next(&it, &key, &value);) {
        if (key.len > KEY_MAX_BYTES)
            continue;
        buf_append_str(&out, n++ ? ",\"" : "{\"");
        buf_append_slice(&out, key);
        buf_append_str(&out, "\":");
        if (out.len + value.len < room)
            buf_append_slice(&out, value);
        else
            buf_printf(&out,
                       "{\"status\":\"error\",\"ename\":\"TooLarge\",\"evalue\":\"the value has "
                       "%zu bytes, more than is kept; print it, or write it to a file\","
                       "\"traceback\":[]}",
                       value.len);
    }
    if (n == 0) {
        buf_done(&out);
        return NULL;
    }
    buf_append_char(&out, '}');
    return buf_take(&out);
}
