#include "controller/backends/local_python.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/backends/local_run.h"
#include "lib/base/mem.h"

static const char *const nothing[] = {NULL};
static const struct local_python_rules no_rules = {nothing, nothing};

static bool has_tree(const struct local_python *p, const char *path)
{
    for (size_t i = 0; i < p->n_trees; i++)
        if (strcmp(p->trees[i], path) == 0)
            return true;
    return false;
}

static bool is_left_out(const struct local_python *p, const char *path, bool is_secret)
{
    for (size_t i = 0; i < p->n_left_out; i++)
        if (strcmp(p->left_out[i].path, path) == 0)
            return p->left_out[i].is_secret == is_secret;
    return false;
}

static void python_trees_are_reduced(void **state)
{
    _cleanup_(local_python_freep) struct local_python *p = NULL;
    struct err err = {0};

    int r = local_python_parse(
        &p,
        "noise of a site module\n{\"caesarion_python\": \"/x/venv/bin/python\", "
        "\"prefixes\": [\"/x/venv\", \"/x/venv/\", \"/usr\", \"/x/base\"], "
        "\"paths\": [\"/x/venv/lib/site-packages\", \"/x/project\", \"/x/project/src\", \"/\", "
        "\"/root\", \"relative\", \"/usr/lib/python3\"]}\n",
        &no_rules, &err);
    assert_int_equal(r, 0);
    assert_string_equal(p->executable, "/x/venv/bin/python");
    assert_int_equal(p->n_trees, 2);
    assert_true(has_tree(p, "/x/venv") && has_tree(p, "/x/base"));
    assert_int_equal(p->n_links, 0);
    assert_int_equal(p->n_left_out, 4);
    assert_true(is_left_out(p, "/x/project", false) && is_left_out(p, "/x/project/src", false));
    assert_true(is_left_out(p, "/", true) && is_left_out(p, "/root", true));
}

/* What a .pth of an editable install names, and what an operator allows of it. */
static void python_shows_of_other_folders_only_what_is_allowed(void **state)
{
    static const char said[] =
        "{\"caesarion_python\": \"/x/venv/bin/p\", \"prefixes\": [\"/x/venv\"], \"paths\": "
        "[\"/x/venv/lib\", \"/x/project\", \"/x/other/src\", \"/x/others\", \"/home/alice\"]}";
    static const char *const allowed[] = {"/x/project", "/x/other", "/home", NULL};
    const struct local_python_rules rules = {nothing, allowed};
    _cleanup_(local_python_freep) struct local_python *p = NULL;

    assert_int_equal(local_python_parse(&p, said, &rules, NULL), 0);
    assert_int_equal(p->n_trees, 3);
    assert_true(has_tree(p, "/x/venv") && has_tree(p, "/x/project") && has_tree(p, "/x/other/src"));
    assert_int_equal(p->n_left_out, 2);
    assert_true(is_left_out(p, "/x/others", false) && is_left_out(p, "/home/alice", true));
}

/* bubblewrap binds what a link leads to. */
static void python_links_to_secrets_are_left_out(void **state)
{
    char dir[] = "/tmp/test_python.XXXXXX", venv[64], home[64], link[80], said[400];
    const char *const secrets[] = {home, NULL}, *const allowed[] = {dir, NULL};
    const struct local_python_rules rules = {secrets, allowed}, tight = {nothing, nothing};
    _cleanup_(local_python_freep) struct local_python *p = NULL;
    _cleanup_(local_python_freep) struct local_python *q = NULL;
    struct err err = {0};

    assert_non_null(mkdtemp(dir));
    snprintf(venv, sizeof(venv), "%s/venv", dir);
    snprintf(home, sizeof(home), "%s/home", dir);
    snprintf(link, sizeof(link), "%s/link", venv);
    assert_int_equal(mkdir(venv, 0700) | mkdir(home, 0700) | symlink("../home", link), 0);
    snprintf(said, sizeof(said),
             "{\"caesarion_python\": \"%s/p\", \"prefixes\": [\"%s\"], \"paths\": [\"%s\"]}", venv,
             venv, link);
    int r = local_python_parse(&p, said, &rules, NULL);
    int r_tight = local_python_parse(&q, said, &tight, NULL);
    snprintf(said, sizeof(said),
             "{\"caesarion_python\": \"%s/p\", \"prefixes\": [\"%s\"], \"paths\": []}", venv, link);
    struct local_python *refused = NULL;
    int r_needed = local_python_parse(&refused, said, &rules, &err);
    unlink(link);
    rmdir(venv);
    rmdir(home);
    rmdir(dir);
    assert_int_equal(r, 0);
    assert_true(p->n_trees == 1 && has_tree(p, venv));
    assert_true(p->n_left_out == 1 && is_left_out(p, link, true));
    assert_int_equal(r_tight, 0);
    assert_true(q->n_trees == 1 && q->n_left_out == 1 && is_left_out(q, link, false));
    assert_true(r_needed < 0);
    assert_non_null(strstr(err.text, "no sandbox may see"));
}

static void python_wider_tree_takes_the_place_of_narrow_ones(void **state)
{
    _cleanup_(local_python_freep) struct local_python *p = NULL;

    assert_int_equal(local_python_parse(&p,
                                        "{\"caesarion_python\": \"/x/py/bin/p\", \"prefixes\": "
                                        "[\"/x/py/a\", \"/x/py/b\", \"/x/py\"], \"paths\": []}",
                                        &no_rules, NULL),
                     0);
    assert_int_equal(p->n_trees, 1);
    assert_string_equal(p->trees[0], "/x/py");
}

static void python_never_shows_the_state_directory(void **state)
{
    static const char *const secrets[] = {"/x/state/caesarion", "/run/caesarion/1234", NULL};
    static const char *const allowed[] = {"/x/state", NULL};
    const struct local_python_rules rules = {secrets, allowed};
    _cleanup_(local_python_freep) struct local_python *p = NULL;
    struct err err = {0};

    assert_true(local_python_parse(&p,
                                   "{\"caesarion_python\": \"/x/bin/p\", \"prefixes\": [\"/x\"], "
                                   "\"paths\": []}",
                                   &rules, &err) < 0);
    assert_non_null(strstr(err.text, "no sandbox may see"));
    /* a folder of sys.path is left out */
    assert_int_equal(local_python_parse(&p,
                                        "{\"caesarion_python\": \"/y/bin/p\", \"prefixes\": "
                                        "[\"/y\"], \"paths\": [\"/x/state\"]}",
                                        &rules, NULL),
                     0);
    assert_int_equal(p->n_trees, 1);
    assert_string_equal(p->trees[0], "/y");
}

static void python_refuses_other_answers(void **state)
{
    static const char *const said[] = {"", "Python 2.7", "{\"caesarion_python\"",
                                       "{\"caesarion_python\": null}",
                                       "{\"caesarion_python\": \"python\"}"};
    struct local_python *p = NULL;

    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        struct err err = {0};
        assert_true(local_python_parse(&p, said[i], &no_rules, &err) < 0);
        assert_true(err.text[0] != '\0');
    }
}

static void python_links_outside_are_made_anew(void **state)
{
    _cleanup_(local_python_freep) struct local_python *p = NULL;
    char dir[] = "/tmp/test_python.XXXXXX", a[64], b[64], said[256];

    assert_non_null(mkdtemp(dir));
    snprintf(a, sizeof(a), "%s/a", dir);
    snprintf(b, sizeof(b), "%s/b", dir);
    assert_int_equal(symlink("b", a), 0);
    assert_int_equal(symlink("/usr/bin/env", b), 0);
    snprintf(said, sizeof(said),
             "{\"caesarion_python\": \"%s\", \"prefixes\": [\"/usr\"], \"paths\": []}", a);
    int r = local_python_parse(&p, said, &no_rules, NULL);
    unlink(a);
    unlink(b);
    rmdir(dir);
    assert_int_equal(r, 0);
    assert_int_equal(p->n_trees, 0);
    assert_int_equal(p->n_links, 2);
    assert_string_equal(p->links[0].path, a);
    assert_string_equal(p->links[0].target, "b");
    assert_string_equal(p->links[1].path, b);
    assert_string_equal(p->links[1].target, "/usr/bin/env");
}

static void check_find(const char *python, const char *expected)
{
    struct local_python *p = NULL;
    struct err err = {0};

    assert_true(local_python_find(&p, python, &no_rules, 20000, &err) < 0);
    if (!strstr(err.text, expected))
        fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

static void python_find_says_what_is_wrong(void **state)
{
    check_find("/nonexistent/python", "was not found");
    check_find("no-such-python", "was not found");
    check_find("/etc/passwd", "cannot be executed");
    check_find("/bin/false", "did not say where its files are");
    check_find("/bin/ls", "its words: ");
}

static void python_find_asks_the_real_one(void **state)
{
    _cleanup_(local_python_freep) struct local_python *p = NULL;
    struct err err = {0};

    if (access("/usr/bin/python3", X_OK) < 0)
        skip();
    if (local_python_find(&p, "/usr/bin/python3", &no_rules, 20000, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(access(p->executable, X_OK), 0);
}

static void run_tells_status_output_and_lateness(void **state)
{
    const char *sh[] = {"/bin/sh", "-c", "echo out; echo err >&2; exit 3", NULL};
    const char *late[] = {"/bin/sh", "-c", "sleep 1000 & wait", NULL};
    const char *none[] = {"/nonexistent/program", NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL};
    struct local_spawn s = {.argv = sh, .envp = env};
    struct local_run run;
    struct err err = {0};
    struct buf out;

    buf_init(&out, 100);
    assert_int_equal(local_run(&s, 20000, &out, &run, NULL), 0);
    assert_int_equal(run.exit_code, 3);
    assert_string_equal(out.ptr, "out\nerr\n");
    s.argv = late;
    assert_int_equal(local_run(&s, 100, &out, &run, NULL), 0);
    assert_true(run.timed_out);
    assert_int_equal(run.signal, 9);
    s.argv = none;
    assert_true(local_run(&s, 20000, &out, &run, &err) < 0);
    assert_string_equal(err.text, "/nonexistent/program cannot be run: No such file or directory");
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(python_trees_are_reduced),
        cmocka_unit_test(python_shows_of_other_folders_only_what_is_allowed),
        cmocka_unit_test(python_links_to_secrets_are_left_out),
        cmocka_unit_test(python_wider_tree_takes_the_place_of_narrow_ones),
        cmocka_unit_test(python_never_shows_the_state_directory),
        cmocka_unit_test(python_refuses_other_answers),
        cmocka_unit_test(python_links_outside_are_made_anew),
        cmocka_unit_test(python_find_says_what_is_wrong),
        cmocka_unit_test(python_find_asks_the_real_one),
        cmocka_unit_test(run_tells_status_output_and_lateness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
