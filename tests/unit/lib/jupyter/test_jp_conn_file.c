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

#include <fcntl.h>
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
    assert_int_equal(jp_conn_file_write(AT_FDCWD, path, "/run/x/k", "a\"key", "python3", &err), 0);
    assert_int_equal(jp_conn_file_write(AT_FDCWD, path, "/run/x/k", "a\"key", "python3", &err), 0);
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
    assert_int_equal(jp_conn_file_write(AT_FDCWD, "/nowhere/c.json", "/run/k", "k", "p", &err),
                     -ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/c.json"));
}

#define PORTS                                                                                      \
    "\"shell_port\":1001,\"iopub_port\":1002,\"stdin_port\":1003,\"control_port\":1004,"           \
    "\"hb_port\":1005"

/* Writes `text` as the file, reads it as a connection file. */
static int read_text(struct jp_conn *conn, const char *text, struct err *err)
{
    _cleanup_(freep) char *path = mem_printf("%s/r.json", dir);
    _cleanup_(fclosep) FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fflush(file);
    int r = jp_conn_file_read(conn, path, err);
    unlink(path);
    return r;
}

static void reads_what_a_manager_wrote(void **state)
{
    struct jp_conn conn;
    struct err err = {0};
    assert_int_equal(read_text(&conn,
                               "{" PORTS
                               ",\"transport\":\"tcp\",\"ip\":\"127.0.0.1\",\"key\":\"a-b-c\","
                               "\"signature_scheme\":\"hmac-sha256\",\"kernel_name\":\"x\","
                               "\"jupyter_session\":\"/home/a b.ipynb\"}",
                               &err),
                     0);
    assert_false(conn.ipc);
    assert_string_equal(conn.ip, "127.0.0.1");
    assert_string_equal(conn.key, "a-b-c");
    assert_int_equal(conn.ports[JP_PORT_SHELL], 1001);
    assert_int_equal(conn.ports[JP_PORT_IOPUB], 1002);
    assert_int_equal(conn.ports[JP_PORT_STDIN], 1003);
    assert_int_equal(conn.ports[JP_PORT_CONTROL], 1004);
    assert_int_equal(conn.ports[JP_PORT_HB], 1005);
    char url[JP_CONN_URL_SIZE];
    jp_conn_url(&conn, JP_PORT_HB, url);
    assert_string_equal(url, "tcp://127.0.0.1:1005");
    conn.ports[JP_PORT_HB] = 0;
    jp_conn_url(&conn, JP_PORT_HB, url);
    assert_string_equal(url, "tcp://127.0.0.1:*");
    jp_conn_done(&conn);
    /* what may be left out */
    assert_int_equal(read_text(&conn, "{" PORTS ",\"key\":\"k\"}", &err), 0);
    assert_string_equal(conn.ip, "127.0.0.1");
    jp_conn_done(&conn);
}

static void reads_what_it_saved(void **state)
{
    _cleanup_(freep) char *path = mem_printf("%s/s.json", dir);
    struct jp_conn conn, again;
    struct err err = {0};
    assert_int_equal(jp_conn_file_write(AT_FDCWD, path, "/run/x/k", "key", "python3", &err), 0);
    assert_int_equal(jp_conn_file_read(&conn, path, &err), 0);
    assert_true(conn.ipc);
    assert_string_equal(conn.ip, "/run/x/k");
    char url[JP_CONN_URL_SIZE];
    jp_conn_url(&conn, JP_PORT_CONTROL, url);
    assert_string_equal(url, "ipc:///run/x/k-4");
    assert_int_equal(jp_conn_file_save(AT_FDCWD, path, &conn, "other", &err), 0);
    assert_int_equal(jp_conn_file_read(&again, path, &err), 0);
    assert_string_equal(again.key, conn.key);
    assert_memory_equal(again.ports, conn.ports, sizeof(conn.ports));
    jp_conn_done(&again);
    jp_conn_done(&conn);
    unlink(path);
}

static void refuses_bad_files(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", ""},
        {"[]", "object"},
        {"{\"key\":\"k\"}", "shell_port: it is missing"},
        {"{" PORTS "}", "there is no key"},
        {"{" PORTS ",\"key\":\"\"}", "there is no key"},
        {"{" PORTS ",\"key\":1}", ", key: must be"},
        {"{" PORTS ",\"key\":\"k\",\"signature_scheme\":\"hmac-md5\"}",
         "\"hmac-md5\" are not known"},
        {"{" PORTS ",\"key\":\"k\",\"signature_scheme\":\"\"}", "\"\" are not known"},
        {"{" PORTS ",\"key\":\"k\",\"transport\":\"udp\"}", "\"udp\" is not tcp or ipc"},
        {"{" PORTS ",\"key\":\"k\",\"ip\":\"\"}", "there is no address"},
        {"{" PORTS ",\"key\":\"k\",\"curve_publickey\":\"abc\"}", "encrypted sockets"},
        {"{" PORTS ",\"key\":\"k\",\"shell_port\":2}", ""},
        {"{\"shell_port\":65536,\"key\":\"k\"}", "65535"},
        {"{\"shell_port\":-1,\"key\":\"k\"}", "shell_port"},
        {"{\"shell_port\":\"5\",\"key\":\"k\"}", "shell_port"},
        {"{\"shell_port\":0,\"key\":\"k\",\"transport\":\"ipc\",\"ip\":\"/k\"}", "shell_port"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct jp_conn conn;
        struct err err = {0};
        assert_true(read_text(&conn, bad[i].text, &err) < 0);
        assert_int_equal(err.code, ERR_INVALID);
        assert_non_null(strstr(err.text, "/r.json"));
        assert_non_null(strstr(err.text, bad[i].why));
        assert_null(conn.ip);
        assert_null(conn.key);
    }
    struct jp_conn conn;
    struct err err = {0};
    assert_int_equal(jp_conn_file_read(&conn, "/nowhere/c.json", &err), -ERR_NOT_FOUND);
    assert_int_equal(jp_conn_file_read(&conn, dir, &err), -ERR_INVALID);
    assert_non_null(strstr(err.text, "is not a file"));
}

/* Port 0 lets the one who binds choose, on tcp. */
static void takes_port_0(void **state)
{
    struct jp_conn conn;
    struct err err = {0};
    assert_int_equal(read_text(&conn,
                               "{\"shell_port\":0,\"iopub_port\":0,\"stdin_port\":0,"
                               "\"control_port\":0,\"hb_port\":0,\"key\":\"k\"}",
                               &err),
                     0);
    assert_int_equal(conn.ports[JP_PORT_SHELL], 0);
    jp_conn_done(&conn);
}

static void sizes_have_a_ceiling(void **state)
{
    struct jp_conn conn;
    struct err err = {0};
    char *text = mem_zero(1, JP_CONN_FILE_MAX + 2);
    memset(text, ' ', JP_CONN_FILE_MAX + 1);
    static const char file[] = "{" PORTS ",\"key\":\"k\"}";
    memcpy(text, file, strlen(file));
    text[JP_CONN_FILE_MAX] = '\0';
    assert_int_equal(read_text(&conn, text, &err), 0);
    jp_conn_done(&conn);
    text[JP_CONN_FILE_MAX] = ' ';
    assert_int_equal(read_text(&conn, text, &err), -ERR_TOO_LARGE);
    free(text);
    char key[JP_CONN_KEY_MAX + 2] = "";
    memset(key, 'k', JP_CONN_KEY_MAX);
    _cleanup_(freep) char *at = mem_printf("{" PORTS ",\"key\":\"%s\"}", key);
    assert_int_equal(read_text(&conn, at, &err), 0);
    jp_conn_done(&conn);
    key[JP_CONN_KEY_MAX] = 'k';
    _cleanup_(freep) char *above = mem_printf("{" PORTS ",\"key\":\"%s\"}", key);
    assert_true(read_text(&conn, above, &err) < 0);
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
        cmocka_unit_test(writes_what_a_kernel_reads), cmocka_unit_test(refuses_what_cannot_work),
        cmocka_unit_test(reads_what_a_manager_wrote), cmocka_unit_test(reads_what_it_saved),
        cmocka_unit_test(refuses_bad_files),          cmocka_unit_test(takes_port_0),
        cmocka_unit_test(sizes_have_a_ceiling),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
