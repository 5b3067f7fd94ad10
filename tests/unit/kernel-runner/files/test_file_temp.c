#include "kernel-runner/files/file_temp.h"

#include "tests/unit/kernel-runner/files/files_fixture.h"

static struct fixture *fx;
static struct err err;

static int setup(void **state)
{
    int r = fixture_setup(state);
    fx = *state;
    return r;
}

static int begin(struct file_temp *t, const char *path)
{
    file_temp_init(t);
    t->root_path = fx->files;
    t->path = path;
    t->max_bytes = file_root_max_bytes(fx->root);
    return file_temp_open(t, -1, &err);
}

static unsigned entries(void)
{
    unsigned n = 0;
    DIR *dir = opendir(fx->files);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void missing_folders_are_an_error_unless_asked_for(void **state)
{
    struct file_temp t;
    assert_int_equal(begin(&t, "no/a"), -ERR_NOT_FOUND);
    file_temp_done(&t);
    assert_int_equal(entries(), 0);
}

static void what_is_not_committed_leaves_nothing(void **state)
{
    struct file_temp t;
    assert_int_equal(begin(&t, "a"), 0);
    assert_int_equal(file_temp_write(&t, "x", 1, &err), 0);
    assert_int_equal(entries(), 1);
    file_temp_done(&t);
    assert_int_equal(entries(), 0);
}

static void a_name_that_is_taken_can_be_tried_again(void **state)
{
    struct file_temp t;
    int fd = open(fixture_path(fx, "a"), O_CREAT | O_WRONLY, 0644);
    close(fd);
    file_temp_init(&t);
    t.root_path = fx->files;
    t.path = "";
    t.max_bytes = 10;
    t.in_folder = true;
    assert_int_equal(file_temp_open(&t, 3, &err), 0);
    assert_int_equal(file_temp_write(&t, "new", 3, &err), 0);
    assert_int_equal(file_temp_commit_new(&t, "a", &err), FILE_TEMP_TAKEN);
    assert_int_equal(file_temp_commit_new(&t, "a1", &err), 0);
    file_temp_done(&t);
    fixture_content(fx, "a", "");
    fixture_content(fx, "a1", "new");
    assert_int_equal(entries(), 2);
}

static void permissions_are_kept(void **state)
{
    struct file_temp t;
    struct stat st;
    bool created = true;
    int fd = open(fixture_path(fx, "a"), O_CREAT | O_WRONLY, 0644);
    assert_int_equal(fchmod(fd, 0750), 0);
    close(fd);
    assert_int_equal(begin(&t, "a"), 0);
    assert_int_equal(file_temp_keep_mode(&t, &err), 0);
    assert_int_equal(file_temp_commit(&t, &created, &st, &err), 0);
    file_temp_done(&t);
    assert_false(created);
    assert_int_equal(st.st_mode & 07777, 0750);
}

static void the_room_is_a_limit(void **state)
{
    struct file_temp t;
    file_temp_init(&t);
    t.root_path = fx->files;
    t.path = "a";
    t.max_bytes = 4;
    assert_int_equal(file_temp_open(&t, 5, &err), -ERR_NO_SPACE);
    file_temp_done(&t);
    assert_int_equal(file_temp_open(&t, 4, &err), 0);
    assert_int_equal(file_temp_write(&t, "1234", 4, &err), 0);
    assert_int_equal(file_temp_write(&t, "5", 1, &err), -ERR_NO_SPACE);
    file_temp_done(&t);
    assert_int_equal(entries(), 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(missing_folders_are_an_error_unless_asked_for),
        TEST(what_is_not_committed_leaves_nothing),
        TEST(a_name_that_is_taken_can_be_tried_again),
        TEST(permissions_are_kept),
        TEST(the_room_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
