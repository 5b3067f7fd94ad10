#pragma once
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A stand-in for caesarion-runner in unit tests of the local backend: takes its command line,
 * listens on the inherited socket, says that it is ready, closes every connection, ends at SIGTERM.
 * It speaks no HTTP and starts no kernel. --log-level says how it behaves; a test program becomes
 * the stub when it is started with --listen-fd first.
 *
 *   info      as described, and prints to stderr what it sees of its sandbox
 *   die       says so and ends with status 3 before it is ready
 *   mute      never becomes ready
 *   deaf      does not mind that nobody hears it is ready (else it ends with status 5)
 *   stubborn  does not end at SIGTERM
 *   parent    leaves a child in a session of its own
 *   crash     becomes ready, and ends with status 9 at the second connection
 */
static inline const char *listener_stub_arg(int argc, char **argv, const char *flag)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], flag) == 0)
            return argv[i + 1];
    fprintf(stderr, "stub: %s is missing\n", flag);
    _exit(2);
}

static inline int listener_stub_fd(int argc, char **argv, const char *flag)
{
    unsigned fd = 0;

    if (sscanf(listener_stub_arg(argc, argv, flag), "%u", &fd) != 1)
        _exit(2);
    return (int)fd;
}

static inline void listener_stub_look(int argc, char **argv)
{
    int spill = listener_stub_fd(argc, argv, "--spill-fd");
    const char *files = listener_stub_arg(argc, argv, "--files");
    const char *run = listener_stub_arg(argc, argv, "--run-dir");
    char path[512];
    struct stat here, up;
    int fds = 0;

    int tmp = openat(spill, ".", O_TMPFILE | O_RDWR, 0600);
    int above = openat(spill, "..", O_RDONLY | O_DIRECTORY);
    fprintf(stderr, "stub: pid=%d uid=%d spill=%d\n", (int)getpid(), (int)getuid(), tmp >= 0);
    if (above >= 0 && fstat(spill, &here) == 0 && fstat(above, &up) == 0)
        fprintf(stderr, "stub: up=%s\n", here.st_ino == up.st_ino ? "same" : "reachable");
    close(tmp);
    close(above);
    snprintf(path, sizeof(path), "%s/made", files);
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    fprintf(stderr, "stub: files=%d run=%d shadow=%d usr=%d root=%d python=%d\n", file >= 0,
            access(run, F_OK) == 0 || mkdir(run, 0700) == 0, access("/etc/shadow", F_OK) == 0,
            access("/usr", W_OK) == 0, access("/", W_OK) == 0,
            access(listener_stub_arg(argc, argv, "--python"), X_OK) == 0);
    close(file);
    for (int fd = 3; fd < 1024; fd++)
        fds += fcntl(fd, F_GETFD) >= 0;
    /* Those of its cgroups are there where the host gives any. */
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--cgroup-join-fds") == 0 || strcmp(argv[i], "--cgroup-read-fds") == 0)
            for (const char *p = argv[i + 1]; p; p = strchr(p + 1, ','))
                fds--;
    fprintf(stderr, "stub: fds=%d\n", fds);
}

static inline int listener_stub_main(int argc, char **argv)
{
    int listen_fd = listener_stub_fd(argc, argv, "--listen-fd");
    int ready_fd = listener_stub_fd(argc, argv, "--ready-fd");
    const char *mode = listener_stub_arg(argc, argv, "--log-level");
    int connections = 0;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (strcmp(mode, "die") == 0) {
        fprintf(stderr, "stub: told to die\n");
        return 3;
    }
    if (strcmp(mode, "mute") == 0)
        for (;;)
            pause();
    if (strcmp(mode, "parent") == 0 && fork() == 0) {
        setsid();
        close(listen_fd);
        close(ready_fd);
        for (;;)
            pause();
    }
    if (strcmp(mode, "info") == 0)
        listener_stub_look(argc, argv);
    if (listen(listen_fd, 16) < 0)
        return 4;
    if (write(ready_fd, "", 1) != 1 && strcmp(mode, "deaf") != 0)
        return 5;
    close(ready_fd);
    struct pollfd fds[2] = {{.fd = listen_fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    for (;;) {
        poll(fds, 2, -1);
        if (fds[1].revents && strcmp(mode, "stubborn") != 0)
            return 0;
        if (fds[0].revents) {
            close(accept(listen_fd, NULL, NULL));
            if (strcmp(mode, "crash") == 0 && ++connections == 2) {
                fprintf(stderr, "stub: crashes\n");
                _exit(9);
            }
        }
    }
}
