#include "controller/listen.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/macros.h"

static void opens(struct listen_socket *s, const char *text)
{
    struct err err = {0};

    if (listen_socket_open(s, text, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    assert_true(s->fd >= 0);
}

static void refuses(const char *text, const char *sentence)
{
    struct listen_socket s;
    struct err err = {0};

    assert_true(listen_socket_open(&s, text, &err) < 0);
    assert_int_equal(s.fd, -1);
    if (!strstr(err.text, sentence))
        fail_msg("%s: \"%s\" does not say \"%s\"", text, err.text, sentence);
    listen_socket_close(&s);
}

static void port_0_takes_a_free_one(void **state)
{
    struct listen_socket s, other;
    char text[64];
    unsigned port = 0;

    opens(&s, "127.0.0.1:0");
    assert_int_equal(sscanf(s.url, "http://127.0.0.1:%u/", &port), 1);
    assert_true(port > 0);
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    refuses(text, "is taken by another program");
    listen_socket_close(&s);
    opens(&other, text); /* free again at once */
    listen_socket_close(&other);
}

static void names_and_ipv6_work(void **state)
{
    struct listen_socket s;
    struct err err;

    opens(&s, "localhost:0");
    assert_int_equal(strncmp(s.url, "http://localhost:", 17), 0);
    listen_socket_close(&s);
    if (listen_socket_open(&s, "[::1]:0", &err) == 0) { /* not every machine has IPv6 */
        assert_int_equal(strncmp(s.url, "http://[::1]:", 13), 0);
        listen_socket_close(&s);
    }
}

static void bad_addresses_are_sentences(void **state)
{
    refuses("", "HOST:PORT");
    refuses("8080", "HOST:PORT");
    refuses(":8080", "HOST:PORT");
    refuses("127.0.0.1:", "HOST:PORT");
    refuses("127.0.0.1:65536", "HOST:PORT");
    refuses("127.0.0.1:-1", "HOST:PORT");
    refuses("::1:8080", "[ADDRESS]:PORT");
    refuses("no.such.host.invalid:0", "is not known");
    refuses("unix:", "1 to 107 bytes");
    refuses("unix:/nonexistent/x.sock", "cannot listen on");
}

static void unix_path_has_a_ceiling(void **state)
{
    char dir[] = "/tmp/test_listen.XXXXXX", text[256];
    struct listen_socket s;

    assert_non_null(mkdtemp(dir));
    int n = snprintf(text, sizeof(text), "unix:%s/", dir);
    size_t path = (size_t)n - strlen("unix:");
    memset(text + n, 'x', 107 - path);
    text[strlen("unix:") + 107] = 0;
    opens(&s, text);
    listen_socket_close(&s);
    strcat(text, "x");
    refuses(text, "1 to 107 bytes");
    rmdir(dir);
}

static void dead_socket_file_is_replaced(void **state)
{
    char dir[] = "/tmp/test_listen.XXXXXX", path[64], text[96];
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct listen_socket s;
    struct stat st;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(text, sizeof(text), "unix:%s", path);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    refuses(text, "is in use");
    close(fd);
    opens(&s, text);
    assert_string_equal(s.url + strlen("http+unix://"), path);
    listen_socket_close(&s);
    assert_int_equal(stat(path, &st), -1);

    FILE *f = fopen(path, "w"); /* a file that is no socket is never removed */
    assert_non_null(f);
    fclose(f);
    refuses(text, "is in use");
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_0_takes_a_free_one),      cmocka_unit_test(names_and_ipv6_work),
        cmocka_unit_test(bad_addresses_are_sentences),  cmocka_unit_test(unix_path_has_a_ceiling),
        cmocka_unit_test(dead_socket_file_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
