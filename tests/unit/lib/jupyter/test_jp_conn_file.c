/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "lib/jupyter/jp_conn_file.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/jp-conn-XXXXXX";

static void writes_what_a_kernel_reads(void **state)
{
    _cleanup_(freep) char *path = mem_printf("%s/c.json", dir);
    _cleanup_(freep) char *target = mem_printf("%s/elsewhere", dir);
    struct err err = {0};
    /* a link that somebody left there is replaced, not followed */
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(jp_conn_file_write(path, "/run/x/k", "a\"key", "python3", &err), 0);
    assert_int_equal(jp_conn_file_write(path, "/run/x/k", "a\"key", "python3", &err), 0);
    assert_int_not_equal(access(target, F_OK), 0);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    _cleanup_(json_decrefp) json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    _cleanup_(json_decrefp) json_t *expected =
        json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:s,s:s,s:s}", "transport", "ipc", "ip", "/run/x/k",
                  "shell_port", 1, "iopub_port", 2, "stdin_port", 3, "control_port", 4, "hb_port",
                  5, "key", "a\"key", "signature_scheme", "hmac-sha256", "kernel_name", "python3");
    assert_true(json_equal(j, expected));
    unlink(path);
}

static void refuses_what_cannot_work(void **state)
{
    struct err err = {0};
    char prefix[110];
    memset(prefix, 'x', sizeof(prefix));
    prefix[105] = '\0';
    assert_int_equal(jp_conn_check_prefix(prefix, &err), 0);
    prefix[105] = 'x';
    prefix[106] = '\0';
    assert_int_equal(jp_conn_check_prefix(prefix, &err), -ERR_INVALID);
    assert_int_equal(jp_conn_check_prefix("", &err), -ERR_INVALID);
    assert_int_equal(jp_conn_file_write("/nowhere/c.json", "/run/k", "k", "p", &err),
                     -ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/c.json"));
}

static int setup(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_a_kernel_reads),
        cmocka_unit_test(refuses_what_cannot_work),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
