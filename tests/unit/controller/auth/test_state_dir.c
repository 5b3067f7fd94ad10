#include "controller/auth/state_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

struct fixture {
    char dir[64];
    char state[96];
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);

    crypto_init(NULL);
    strcpy(f->dir, "/tmp/test_state.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->state, sizeof(f->state), "%s/a/b", f->dir);
    setenv("XDG_RUNTIME_DIR", f->dir, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", f->dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    free(f);
    return status;
}

static struct state_dir *open_dir(const char *path)
{
    struct state_dir *s = NULL;
    struct err err = {0};

    if (state_dir_open(&s, path, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static void close_dir(struct state_dir *s)
{
    char *runtime = mem_dup_str(state_dir_runtime(s));

    state_dir_close(s);
    assert_int_equal(access(runtime, F_OK), -1); /* it was empty */
    free(runtime);
}

static void refuses(const char *path, const char *sentence)
{
    struct state_dir *s = NULL;
    struct err err = {0};

    assert_true(state_dir_open(&s, path, &err) < 0);
    assert_null(s);
    if (!strstr(err.text, sentence))
        fail_msg("\"%s\" does not say \"%s\"", err.text, sentence);
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void key_is_made_once_and_kept(void **state)
{
    struct fixture *f = *state;
    uint8_t key[32];
    char path[128];

    struct state_dir *s = open_dir(f->state);
    assert_string_equal(state_dir_path(s), f->state);
    assert_int_equal(mode_of(f->state), 0700);
    memcpy(key, state_dir_key(s), sizeof(key));
    snprintf(path, sizeof(path), "%s/key", f->state);
    assert_int_equal(mode_of(path), 0600);
    char *runtime = mem_dup_str(state_dir_runtime(s));
    assert_int_equal(mode_of(runtime), 0700);
    assert_true(strlen(runtime) <= 60);
    state_dir_close(s);

    s = open_dir(f->state);
    assert_memory_equal(key, state_dir_key(s), sizeof(key));
    assert_string_equal(state_dir_runtime(s), runtime);
    close_dir(s);
    free(runtime);
}

static void lock_names_who_has_it(void **state)
{
    struct fixture *f = *state;
    char sentence[64];

    struct state_dir *s = open_dir(f->state);
    snprintf(sentence, sizeof(sentence), "another controller (pid %d)", (int)getpid());
    refuses(f->state, sentence);
    state_dir_close(s);
    close_dir(open_dir(f->state));
}

static void damaged_key_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[128];

    close_dir(open_dir(f->state));
    snprintf(path, sizeof(path), "%s/key", f->state);
    assert_int_equal(truncate(path, 5), 0);
    refuses(f->state, "is damaged (5 bytes instead of 32)");
    assert_int_equal(truncate(path, 32), 0);
    chmod(path, 0640);
    refuses(f->state, "chmod 600");
    chmod(path, 0600);
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    refuses(f->state, "cannot read");
}

static void open_directory_is_made_private_only_when_ours(void **state)
{
    struct fixture *f = *state;
    char other[128], file[160];

    snprintf(other, sizeof(other), "%s/other", f->dir);
    assert_int_equal(mkdir(other, 0755), 0);
    chmod(other, 0755);
    close_dir(open_dir(other));
    assert_int_equal(mode_of(other), 0700);
    chmod(other, 0755);
    close_dir(open_dir(other)); /* has our lock */
    assert_int_equal(mode_of(other), 0700);

    chmod(other, 0755);
    snprintf(file, sizeof(file), "%s/lock", other);
    unlink(file);
    refuses(other, "holds other things");
    assert_int_equal(mode_of(other), 0755);
}

static void file_in_the_way_is_a_sentence(void **state)
{
    struct fixture *f = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/file", f->dir);
    assert_int_equal(secret_file_create(path, "x", 1, NULL), 0);
    refuses(path, "cannot open the directory");
    strcat(path, "/below");
    refuses(path, "cannot make the directory");
}

static void secret_file_has_a_ceiling(void **state)
{
    struct fixture *f = *state;
    char path[128], *data = NULL;
    size_t len = 0;
    struct err err;

    snprintf(path, sizeof(path), "%s/secret", f->dir);
    assert_int_equal(secret_file_create(path, "12345678", 8, NULL), 0);
    assert_int_equal(secret_file_read(path, 8, &data, &len, NULL), 0);
    assert_int_equal(len, 8);
    assert_string_equal(data, "12345678");
    free(data);
    assert_int_equal(secret_file_read(path, 7, &data, &len, &err), -ERR_TOO_LARGE);
    assert_true(secret_file_read("/dev/null", 7, &data, &len, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(key_is_made_once_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(lock_names_who_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(open_directory_is_made_private_only_when_ours, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(file_in_the_way_is_a_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(secret_file_has_a_ceiling, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
