/*
 * The whole backend with real processes: under root with user ids of their own, then again under an
 * ordinary user, each with and without isolation. The runner is tests/support/listener_stub.h; this
 * very program is started as it.
 */
#include "controller/backends/backend_local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/backends/local_dir.h"
#include "controller/backends/local_peer.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/loop/loop.h"
#include "tests/support/listener_stub.h"

#define PYTHON      "/usr/bin/python3"
#define OTHER_USER  61183
#define DEADLINE_MS 30000

static char self[512];

struct fixture {
    char root[64];
    char state[96];
    char run[96];
    bool isolated;
    struct loop *loop;
    struct sandbox_backend *backend;
    char id[ID_SANDBOX_SIZE];
    /* what callbacks said */
    unsigned waiting;
    struct sandbox_endpoint ep;
    unsigned n_created, n_found, n_lost, n_done;
    struct err created_err, done_err;
    char found_id[ID_SANDBOX_SIZE];
    char reason[4096];
    bool is_late;
};

/* ---- helpers ---- */

static char *read_file(const char *path)
{
    char *text = mem_zero(1, 65536);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n;

    while (fd >= 0 && used < 65535 && (n = read(fd, text + used, 65535 - used)) > 0)
        used += (size_t)n;
    if (fd >= 0)
        close(fd);
    return text;
}

/* Processes whose command line names `id`. */
static unsigned count_processes(const char *id)
{
    DIR *proc = opendir("/proc");
    const struct dirent *e;
    unsigned n = 0;

    while ((e = readdir(proc))) {
        char path[300], line[8192];
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd < 0 ? -1 : read(fd, line, sizeof(line));
        if (fd >= 0)
            close(fd);
        n += len > 0 && memmem(line, (size_t)len, id, strlen(id)) != NULL;
    }
    closedir(proc);
    return n;
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    unsigned n = 0;

    while (dir && (e = readdir(dir)))
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

static void on_late(void *ctx)
{
    struct fixture *f = ctx;

    f->is_late = true;
    loop_stop(f->loop);
}

/* Runs the loop until as many callbacks came as were waited for. */
static void wait_for(struct fixture *f, unsigned n)
{
    struct loop_timer *late = loop_timer_new(f->loop, on_late, f);

    f->waiting = n;
    loop_timer_start(late, DEADLINE_MS, 0);
    loop_run(f->loop);
    loop_timer_free(late);
    if (f->is_late)
        fail_msg("nothing happened in time");
}

static void came(struct fixture *f)
{
    if (f->waiting > 0 && --f->waiting == 0)
        loop_stop(f->loop);
}

static void on_created(void *ctx, const struct sandbox_endpoint *ep, const struct err *err)
{
    struct fixture *f = ctx;

    f->n_created++;
    f->created_err = err ? *err : (struct err){0};
    if (ep)
        f->ep = *ep;
    came(f);
}

static void on_done(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;

    f->n_done++;
    f->done_err = err ? *err : (struct err){0};
    came(f);
}

static void on_found(void *ctx, const char *id, const struct sandbox_endpoint *ep)
{
    struct fixture *f = ctx;

    f->n_found++;
    f->ep = *ep;
    snprintf(f->found_id, sizeof(f->found_id), "%s", id);
    came(f);
}

static void on_lost(void *ctx, const char *id, const char *reason)
{
    struct fixture *f = ctx;

    f->n_lost++;
    assert_string_equal(id, f->id);
    snprintf(f->reason, sizeof(f->reason), "%s", reason);
    came(f);
}

static const struct sandbox_backend_events events = {.on_found = on_found, .on_lost = on_lost};

static int try_open(struct fixture *f, const char *mode, const char *python, struct err *err)
{
    struct backend_local_cfg cfg = {.state_dir = f->state,
                                    .runtime_dir = f->run,
                                    .runner = self,
                                    .python = python,
                                    .isolation_none = !f->isolated,
                                    .memory_bytes = MIB(512),
                                    .pids_max = 64,
                                    .files_max_bytes = MIB(1),
                                    .output_limit_bytes = MIB(1),
                                    .exec_timeout_ms = 1000,
                                    .idle_timeout_ms = 1000,
                                    .unclaimed_timeout_ms = 1000,
                                    .log_level = mode};
    int r = backend_local_new(&f->backend, f->loop, &cfg, err);

    if (r == 0)
        sandbox_backend_listen(f->backend, &events, f);
    return r;
}

static void open_backend(struct fixture *f, const char *mode)
{
    struct err err = {0};

    if (try_open(f, mode, PYTHON, &err) < 0)
        fail_msg("%s", err.text);
}

static void close_backend(struct fixture *f)
{
    f->backend = sandbox_backend_close(f->backend);
}

static void begin_create(struct fixture *f, int64_t deadline_ms)
{
    struct sandbox_backend_spec spec = {
        .id = f->id,
        .token_hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        .deadline_ms = deadline_ms};
    struct err err = {0};
    unsigned before = f->n_created;

    if (f->backend->ops->create(f->backend, &spec, on_created, f, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(f->n_created, before);
}

static void create(struct fixture *f)
{
    begin_create(f, DEADLINE_MS);
    wait_for(f, 1);
    if (f->created_err.code)
        fail_msg("%s", f->created_err.text);
}

static void begin_remove(struct fixture *f, int64_t deadline_ms)
{
    unsigned before = f->n_done;

    assert_int_equal(f->backend->ops->remove(f->backend, f->id, deadline_ms, on_done, f, NULL), 0);
    assert_int_equal(f->n_done, before);
}

static void adopt(struct fixture *f)
{
    unsigned done = f->n_done;

    assert_int_equal(f->backend->ops->adopt(f->backend, DEADLINE_MS, on_done, f, NULL), 0);
    while (f->n_done == done)
        wait_for(f, 1);
    assert_int_equal(f->done_err.code, 0);
}

static int connect_to(const struct sandbox_endpoint *ep)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, ep->unix_path, sizeof(addr.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void assert_alive(struct fixture *f)
{
    int fd = connect_to(&f->ep);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(count_processes(f->id), f->isolated ? 2 : 1);
}

static void assert_nothing_left(struct fixture *f)
{
    _cleanup_(freep) char *sandboxes = mem_printf("%s/sandboxes", f->state);

    assert_int_equal(count_processes(f->id), 0);
    assert_int_equal(count_entries(sandboxes), 0);
    assert_int_equal(count_entries(f->run), 0);
}

static char *log_of(struct fixture *f)
{
    _cleanup_(freep) char *path = mem_printf("%s/sandboxes/%s/runner.log", f->state, f->id);

    return read_file(path);
}

/* ---- fixture ---- */

static int setup(void **state, bool isolated)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};

    f->isolated = isolated;
    snprintf(f->root, sizeof(f->root), "/tmp/test_local.XXXXXX");
    if (!mkdtemp(f->root) || loop_new(&f->loop, &err) < 0)
        return -1;
    snprintf(f->state, sizeof(f->state), "%s/state", f->root);
    snprintf(f->run, sizeof(f->run), "%s/run", f->root);
    mkdir(f->state, 0700);
    mkdir(f->run, 0700);
    crypto_new_sandbox_id(f->id);
    *state = f;
    return 0;
}

static int setup_isolated(void **state)
{
    return setup(state, true);
}

static int setup_none(void **state)
{
    return setup(state, false);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *sandboxes = mem_printf("%s/sandboxes", f->state);
    _cleanup_(freep) char *mounts = read_file("/proc/self/mountinfo");

    sandbox_backend_close(f->backend);
    loop_free(f->loop);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    int left = strstr(mounts, " stage ") || strstr(mounts, f->root);
    left |= waitpid(-1, NULL, WNOHANG) == 0;
    left |= count_processes(f->id) != 0;
    left |= rmdir(sandboxes) < 0 && errno != ENOENT;
    left |= rmdir(f->state) | rmdir(f->run) | rmdir(f->root);
    free(f);
    return left;
}

/* ---- tests ---- */

static void sandbox_runs_and_is_removed(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "info");
    create(f);
    assert_alive(f);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_int_equal(f->done_err.code, 0);
    assert_int_equal(f->n_lost, 0);
    assert_nothing_left(f);
    begin_remove(f, 10000); /* unknown by now */
    wait_for(f, 1);
    assert_int_equal(f->done_err.code, 0);
}

static void sandbox_sees_only_what_it_may(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "info");
    create(f);
    _cleanup_(freep) char *log = log_of(f);
    const char *expected_isolated =
        "stub: files=1 run=1 shadow=0 usr=0 root=0 python=1\nstub: fds=4\n";
    if (!strstr(log, "spill=1\n"))
        fail_msg("%s", log);
    if (f->isolated) {
        assert_non_null(strstr(log, "stub: pid=1 uid=1000 "));
        if (!strstr(log, expected_isolated))
            fail_msg("%s", log);
        assert_non_null(strstr(log, geteuid() == 0 ? "up=same" : "up=reachable"));
    } else {
        assert_non_null(strstr(log, "stub: files=1 run=1 "));
    }
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_nothing_left(f);
}

static void sandbox_has_a_user_of_its_own_under_root(void **state)
{
    struct fixture *f = *state;
    struct local_peer a = {0}, b = {0};

    open_backend(f, "parent");
    create(f);
    assert_int_equal(local_peer_find(&a, f->ep.unix_path, /* portable= */ true, NULL), 0);
    close(a.pidfd);
    char first[ID_SANDBOX_SIZE];
    memcpy(first, f->id, sizeof(first));
    crypto_new_sandbox_id(f->id);
    create(f);
    assert_int_equal(local_peer_find(&b, f->ep.unix_path, /* portable= */ false, NULL), 0);
    close(b.pidfd);
    if (geteuid() == 0) {
        assert_true(a.uid >= 1900000000 && b.uid >= 1900000000);
        assert_int_not_equal(a.uid, b.uid);
    } else {
        assert_int_equal(a.uid, geteuid());
    }
    begin_remove(f, 10000);
    memcpy(f->id, first, sizeof(first));
    begin_remove(f, 10000);
    wait_for(f, 2);
    assert_nothing_left(f);
}

/* A child in a session of its own ends with PID 1. */
static void sandbox_removal_ends_daemons(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "parent");
    create(f);
    assert_int_equal(count_processes(f->id), 3);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_nothing_left(f);
}

static void stubborn_runner_is_killed_at_its_deadline(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "stubborn");
    create(f);
    begin_remove(f, 1500); /* a third of it is for the end after the kill */
    wait_for(f, 1);
    assert_int_equal(f->done_err.code, 0);
    assert_nothing_left(f);
}

static void second_remove_kills_at_once(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "stubborn");
    create(f);
    int64_t start = clk_mono_ms();
    begin_remove(f, 10000);
    begin_remove(f, 10000);
    wait_for(f, 2);
    assert_int_equal(f->done_err.code, 0);
    assert_true(clk_mono_ms() - start < 5000);
    assert_nothing_left(f);
}

static void runner_that_dies_at_once_leaves_its_words(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "die");
    begin_create(f, DEADLINE_MS);
    wait_for(f, 1);
    assert_int_equal(f->created_err.code, ERR_SANDBOX_FAILED);
    assert_string_equal(f->created_err.text,
                        "the runner ended before it was ready (exit status 3): stub: told to die");
    assert_int_equal(f->n_lost, 0);
    assert_nothing_left(f);
}

static void runner_that_is_never_ready_times_out(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "mute");
    begin_create(f, 700);
    wait_for(f, 1);
    assert_int_equal(f->created_err.code, ERR_TIMEOUT);
    assert_int_equal(f->n_created, 1);
}

static void remove_while_starting_ends_the_creation_first(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "mute");
    begin_create(f, DEADLINE_MS);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_int_equal(f->n_created, 1);
    if (f->n_done == 0)
        wait_for(f, 1);
    assert_int_equal(f->created_err.code, ERR_SANDBOX_FAILED);
    assert_non_null(strstr(f->created_err.text, "removed while it was being made"));
    assert_int_equal(f->done_err.code, 0);
}

static void lost_sandbox_is_told_once_and_cleared_away(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "crash"); /* the probe was its first connection */
    create(f);
    int fd = connect_to(&f->ep);
    assert_true(fd >= 0);
    wait_for(f, 1);
    close(fd);
    assert_int_equal(f->n_lost, 1);
    if (!strstr(f->reason, "(exit status 9); its last words: stub: crashes"))
        fail_msg("%s", f->reason);
    begin_remove(f, 10000); /* waits for what is still being removed */
    wait_for(f, 1);
    assert_nothing_left(f);
    assert_int_equal(f->n_lost, 1);
}

static void killed_runner_is_lost(void **state)
{
    struct fixture *f = *state;
    struct local_peer peer;

    open_backend(f, "parent");
    create(f);
    assert_int_equal(local_peer_find(&peer, f->ep.unix_path, /* portable= */ false, NULL), 0);
    close(peer.pidfd);
    kill(peer.pid, SIGKILL);
    wait_for(f, 1);
    assert_int_equal(f->n_lost, 1);
    assert_non_null(strstr(f->reason, "killed by signal 9"));
    begin_remove(f, 10000);
    wait_for(f, 1);
    if (f->isolated)
        assert_nothing_left(f);
}

/* Without bubblewrap's monitor PID 1 lives on, and its end is still seen. */
static void sandbox_outlives_its_monitor(void **state)
{
    struct fixture *f = *state;
    struct local_peer peer;

    open_backend(f, "info");
    create(f);
    assert_int_equal(local_peer_find(&peer, f->ep.unix_path, /* portable= */ false, NULL), 0);
    close(peer.pidfd);
    pid_t monitor = local_peer_monitor(peer.pid);
    assert_true(monitor > 1);
    kill(monitor, SIGKILL);
    int fd = connect_to(&f->ep);
    assert_true(fd >= 0);
    close(fd);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_int_equal(f->done_err.code, 0);
    assert_int_equal(f->n_lost, 0);
    assert_nothing_left(f);
}

static void closed_backend_leaves_sandboxes_to_the_next(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "info");
    create(f);
    close_backend(f);
    assert_alive(f);
    open_backend(f, "info");
    adopt(f);
    assert_int_equal(f->n_found, 1);
    assert_string_equal(f->found_id, f->id);
    assert_alive(f);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_int_equal(f->done_err.code, 0);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    assert_nothing_left(f);
}

static void adopted_sandbox_that_dies_is_lost(void **state)
{
    struct fixture *f = *state;
    struct local_peer peer;

    open_backend(f, "info");
    create(f);
    close_backend(f);
    open_backend(f, "info");
    adopt(f);
    assert_int_equal(local_peer_find(&peer, f->ep.unix_path, /* portable= */ false, NULL), 0);
    close(peer.pidfd);
    kill(peer.pid, SIGKILL);
    wait_for(f, 1);
    assert_int_equal(f->n_lost, 1);
    begin_remove(f, 10000);
    wait_for(f, 1);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    assert_nothing_left(f);
}

static void adoption_removes_remains(void **state)
{
    struct fixture *f = *state;
    struct local_peer peer;

    open_backend(f, "info");
    create(f);
    assert_int_equal(local_peer_find(&peer, f->ep.unix_path, /* portable= */ false, NULL), 0);
    close_backend(f);
    kill(peer.pid, SIGKILL);
    close(peer.pidfd);
    assert_true(waitpid(-1, NULL, 0) > 0);
    assert_true(access(f->ep.unix_path, F_OK) == 0);
    open_backend(f, "info");
    adopt(f);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_int_equal(f->n_found, 0);
    assert_nothing_left(f);
}

/* The controller died between fork and the runner's readiness, and the runner came up … */
static void adoption_takes_a_half_made_sandbox(void **state)
{
    struct fixture *f = *state;

    open_backend(f, "deaf");
    begin_create(f, DEADLINE_MS);
    close_backend(f);
    open_backend(f, "info");
    adopt(f);
    while (f->n_found == 0)
        wait_for(f, 1);
    assert_alive(f);
    begin_remove(f, 10000);
    wait_for(f, 1);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    assert_nothing_left(f);
}

/* … or did not. */
static void adoption_clears_a_half_made_sandbox_away(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *sandboxes = mem_printf("%s/sandboxes", f->state);

    open_backend(f, "die");
    begin_create(f, DEADLINE_MS);
    close_backend(f);
    open_backend(f, "info");
    adopt(f);
    while (count_entries(sandboxes) > 0) { /* a turn of the loop each */
        begin_remove(f, 10000);
        wait_for(f, 1);
    }
    assert_int_equal(f->n_found, 0);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    assert_nothing_left(f);
}

static void adoption_of_nothing_is_done(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *foreign = mem_printf("%s/sandboxes/README", f->state);

    open_backend(f, "info");
    close(open(foreign, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    adopt(f);
    assert_int_equal(f->n_found, 0);
    assert_int_equal(unlink(foreign), 0); /* not touched */
}

static void start_says_what_is_missing(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *path = mem_dup_str(getenv("PATH"));
    struct err err = {0};

    assert_true(try_open(f, "info", "/nonexistent/python", &err) < 0);
    assert_non_null(strstr(err.text, "/nonexistent/python was not found"));
    if (f->isolated) {
        setenv("PATH", f->root, 1);
        assert_true(try_open(f, "info", PYTHON, &err) < 0);
        setenv("PATH", path, 1);
        assert_non_null(strstr(err.text, "bubblewrap (bwrap) was not found: install it (Debian: "
                                         "apt install bubblewrap)"));
    }
    rmdir(f->run);
    assert_true(try_open(f, "info", PYTHON, &err) < 0);
    assert_non_null(strstr(err.text, "runtime directory"));
    mkdir(f->run, 0700);
}

static void create_refuses_a_known_id(void **state)
{
    struct fixture *f = *state;
    struct sandbox_backend_spec spec = {.id = f->id, .token_hash = "x", .deadline_ms = 1000};
    struct err err = {0};

    open_backend(f, "info");
    create(f);
    assert_true(f->backend->ops->create(f->backend, &spec, on_created, f, &err) < 0);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_alive(f);
    begin_remove(f, 10000);
    wait_for(f, 1);
    assert_nothing_left(f);
}

static void create_without_room_for_its_socket_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct sandbox_backend_spec spec = {.id = f->id, .token_hash = "x", .deadline_ms = 1000};
    struct err err = {0};

    open_backend(f, "info");
    rmdir(f->run);
    assert_true(f->backend->ops->create(f->backend, &spec, on_created, f, &err) < 0);
    mkdir(f->run, 0700);
    assert_int_equal(err.code, ERR_SANDBOX_FAILED);
    assert_non_null(strstr(err.text, f->run));
    assert_nothing_left(f);
    assert_int_equal(f->n_created, 0);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, setup_isolated, teardown),                               \
        cmocka_unit_test_setup_teardown(test, setup_none, teardown)
#define ISOLATED(test) cmocka_unit_test_setup_teardown(test, setup_isolated, teardown)

static int run_suite(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(sandbox_runs_and_is_removed),
        BOTH(sandbox_sees_only_what_it_may),
        ISOLATED(sandbox_has_a_user_of_its_own_under_root),
        ISOLATED(sandbox_removal_ends_daemons),
        BOTH(stubborn_runner_is_killed_at_its_deadline),
        BOTH(second_remove_kills_at_once),
        BOTH(runner_that_dies_at_once_leaves_its_words),
        BOTH(runner_that_is_never_ready_times_out),
        BOTH(remove_while_starting_ends_the_creation_first),
        BOTH(lost_sandbox_is_told_once_and_cleared_away),
        ISOLATED(killed_runner_is_lost),
        ISOLATED(sandbox_outlives_its_monitor),
        BOTH(closed_backend_leaves_sandboxes_to_the_next),
        BOTH(adopted_sandbox_that_dies_is_lost),
        BOTH(adoption_removes_remains),
        BOTH(adoption_takes_a_half_made_sandbox),
        BOTH(adoption_clears_a_half_made_sandbox_away),
        BOTH(adoption_of_nothing_is_done),
        BOTH(start_says_what_is_missing),
        BOTH(create_refuses_a_known_id),
        BOTH(create_without_room_for_its_socket_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

static int run_as_other_user(void)
{
    int status = 0;

    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(OTHER_USER) < 0 || setuid(OTHER_USER) < 0)
            _exit(1);
        if (access(self, X_OK) < 0) {
            print_message("%s cannot be reached by an ordinary user: not tested as one\n", self);
            _exit(0);
        }
        _exit(run_suite() ? 1 : 0);
    }
    waitpid(pid, &status, 0);
    return status ? 1 : 0;
}

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (argc > 1 && strcmp(argv[1], "--listen-fd") == 0)
        return listener_stub_main(argc, argv);
    if (n <= 0 || crypto_init(NULL) < 0)
        return 1;
    if (access(PYTHON, X_OK) < 0) {
        print_message(PYTHON " is missing: skipped\n");
        return 77;
    }
    int failed = run_suite();
    if (geteuid() == 0)
        failed |= run_as_other_user();
    return failed;
}
