#include "controller/backends/local_bwrap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct local_bwrap_env env[] = {{"PATH", "/usr/bin"}, {"HOME", "/uploaded_files"}};
static const struct local_bwrap_link tops[] = {{"usr/bin", "/bin"}, {NULL, "/lib64"}};
static const struct local_bwrap_file etc[] = {{"/etc/passwd", 7}, {"/etc/hosts", 8}};
static const struct local_bwrap_tree trees[] = {{"/tmp/0", "/caesarion-runner"},
                                                {"/tmp/1", "/root/venv"}};
static const struct local_bwrap_link links[] = {{"/opt/py/bin/python3", "/srv/python"}};

static const char *const masks[] = {"/proc/keys"};

static struct local_bwrap sample(void)
{
    return (struct local_bwrap){.files_bytes = 1073741824,
                                .tmp_bytes = 1000,
                                .run_bytes = 64,
                                .shm_bytes = 32,
                                .env = env,
                                .n_env = 2,
                                .tops = tops,
                                .n_tops = 2,
                                .etc = etc,
                                .n_etc = 2,
                                .masks = masks,
                                .n_masks = 1,
                                .trees = trees,
                                .n_trees = 2,
                                .links = links,
                                .n_links = 1};
}

/* Every word of the isolation, in order: a change here is a change of what a sandbox may do. */
static const char *const expected[] = {
    "--unshare-all",
    "--unshare-user",
    "--as-pid-1",
    "--disable-userns",
    "--hostname",
    "sandbox",
    "--uid",
    "1000",
    "--gid",
    "1000",
    "--clearenv",
    "--setenv",
    "PATH",
    "/usr/bin",
    "--setenv",
    "HOME",
    "/uploaded_files",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--ro-bind",
    "/lib64",
    "/lib64",
    "--perms",
    "0755",
    "--dir",
    "/etc",
    "--perms",
    "0444",
    "--file",
    "7",
    "/etc/passwd",
    "--perms",
    "0444",
    "--file",
    "8",
    "/etc/hosts",
    "--ro-bind-try",
    "/etc/ld.so.cache",
    "/etc/ld.so.cache",
    "--ro-bind-try",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf",
    "--ro-bind-try",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.conf.d",
    "--ro-bind-try",
    "/etc/localtime",
    "/etc/localtime",
    "--ro-bind-try",
    "/etc/timezone",
    "/etc/timezone",
    "--ro-bind-try",
    "/etc/ssl/certs",
    "/etc/ssl/certs",
    "--ro-bind-try",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/openssl.cnf",
    "--ro-bind-try",
    "/etc/ca-certificates.conf",
    "/etc/ca-certificates.conf",
    "--ro-bind-try",
    "/etc/mime.types",
    "/etc/mime.types",
    "--ro-bind-try",
    "/etc/fonts",
    "/etc/fonts",
    "--ro-bind-try",
    "/etc/alternatives",
    "/etc/alternatives",
    "--ro-bind-try",
    "/etc/services",
    "/etc/services",
    "--ro-bind-try",
    "/etc/protocols",
    "/etc/protocols",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--remount-ro",
    "/dev",
    "--ro-bind",
    "/dev/null",
    "/proc/keys",
    "--perms",
    "0700",
    "--size",
    "32",
    "--tmpfs",
    "/dev/shm",
    "--perms",
    "1777",
    "--size",
    "1000",
    "--tmpfs",
    "/tmp",
    "--perms",
    "0700",
    "--size",
    "64",
    "--tmpfs",
    "/run",
    "--perms",
    "0700",
    "--size",
    "1073741824",
    "--tmpfs",
    "/uploaded_files",
    "--ro-bind",
    "/tmp/0",
    "/caesarion-runner",
    "--ro-bind",
    "/tmp/1",
    "/root/venv",
    "--symlink",
    "/opt/py/bin/python3",
    "/srv/python",
    "--remount-ro",
    "/",
    "--chdir",
    "/uploaded_files",
};

static void bwrap_args_are_exactly_these(void **state)
{
    struct local_bwrap b = sample();
    struct err err = {0};
    struct buf out;

    buf_init(&out, LOCAL_BWRAP_ARGS_MAX);
    assert_int_equal(local_bwrap_args(&out, &b, &err), 0);
    const char *at = out.ptr;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(at < out.ptr + out.len);
        assert_string_equal(at, expected[i]);
        at += strlen(at) + 1;
    }
    assert_ptr_equal(at, out.ptr + out.len);
    buf_done(&out);
}

static bool has(const struct buf *b, const char *word)
{
    for (const char *at = b->ptr; at < b->ptr + b->len; at += strlen(at) + 1)
        if (strcmp(at, word) == 0)
            return true;
    return false;
}

static void bwrap_args_share_the_network_only_when_asked(void **state)
{
    struct local_bwrap b = sample();
    struct buf out;

    buf_init(&out, LOCAL_BWRAP_ARGS_MAX);
    b.network_host = true;
    assert_int_equal(local_bwrap_args(&out, &b, NULL), 0);
    assert_true(has(&out, "--share-net"));
    assert_true(has(&out, "/etc/resolv.conf"));
    assert_false(has(&out, "--die-with-parent"));
    buf_done(&out);
}

static void bwrap_args_over_the_ceiling_are_refused(void **state)
{
    struct local_bwrap b = sample();
    struct err err = {0};
    struct buf out;

    buf_init(&out, 100);
    assert_true(local_bwrap_args(&out, &b, &err) < 0);
    assert_int_equal(err.code, ERR_INTERNAL);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bwrap_args_are_exactly_these),
        cmocka_unit_test(bwrap_args_share_the_network_only_when_asked),
        cmocka_unit_test(bwrap_args_over_the_ceiling_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
