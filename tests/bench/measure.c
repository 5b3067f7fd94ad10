/* Clock, connections, statistics and JSON text of the benchmark's clients. */
#include "tests/bench/measure.h"

#include "lib/crypto/crypto.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

_Noreturn void measure_die(const char *what)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

void *measure_must(void *p)
{
    if (!p)
        measure_die("out of memory");
    return p;
}

double measure_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(a.sun_path))
        measure_die("the socket's path is too long");
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        measure_die("cannot connect");
    return fd;
}

static int connect_tcp(const char *address)
{
    const char *colon = strrchr(address, ':');
    char host[64];
    if (!colon || (size_t)snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address) >=
                      sizeof(host))
        measure_die("the address is HOST:PORT or unix:PATH");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *a;
    if (getaddrinfo(host, colon + 1, &hints, &a) != 0)
        measure_die("the address is not numeric");
    int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) < 0)
        measure_die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    freeaddrinfo(a);
    return fd;
}

int measure_connect(const char *address)
{
    return strncmp(address, "unix:", 5) == 0 ? connect_unix(address + 5) : connect_tcp(address);
}

char *measure_code(const char *code)
{
    static const char start[] = "{\"code\":\"";
    char *out = measure_must(malloc(strlen(code) * 6 + sizeof(start) + 8));
    char *p = mempcpy(out, start, sizeof(start) - 1);
    for (; *code; code++) {
        if (*code == '"' || *code == '\\' || (unsigned char)*code < 0x20)
            p += snprintf(p, 7, "\\u%04x", (unsigned)(unsigned char)*code);
        else
            *p++ = *code;
    }
    memcpy(p, "\"", 2);
    return out;
}

char *measure_execute_content(const char *code)
{
    static const char rest[] = ",\"silent\":false,\"store_history\":true,\"user_expressions\":{},"
                               "\"allow_stdin\":false,\"stop_on_error\":true}";
    char *start = measure_code(code);
    size_t n = strlen(start);
    start = measure_must(realloc(start, n + sizeof(rest)));
    memcpy(start + n, rest, sizeof(rest));
    return start;
}

char *measure_stream_text(const char *content, size_t len, char *out)
{
    const char *p = content, *end = p + len;
    p = memmem(p, len, "\"text\"", 6);
    p = p ? memchr(p + 6, '"', (size_t)(end - p - 6)) : NULL;
    return p ? measure_json_text(p + 1, end, out) : out;
}

static unsigned hex4(const char *p)
{
    unsigned u = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)p[i];
        u = u * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return u;
}

static char *put_utf8(char *out, unsigned u)
{
    if (u < 0x80) {
        *out++ = (char)u;
        return out;
    }
    if (u < 0x800) {
        *out++ = (char)(0xC0 | u >> 6);
    } else {
        if (u < 0x10000) {
            *out++ = (char)(0xE0 | u >> 12);
        } else {
            *out++ = (char)(0xF0 | u >> 18);
            *out++ = (char)(0x80 | (u >> 12 & 0x3F));
        }
        *out++ = (char)(0x80 | (u >> 6 & 0x3F));
    }
    *out++ = (char)(0x80 | (u & 0x3F));
    return out;
}

/* p is behind "\u"; returns where the escape (or pair of them) ends. */
static const char *unicode(const char *p, const char *end, char **out)
{
    if (end - p < 4)
        return end;
    unsigned u = hex4(p);
    p += 4;
    if (u >= 0xD800 && u < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        u = 0x10000 + ((u & 0x3FF) << 10) + (hex4(p + 2) & 0x3FF);
        p += 6;
    }
    *out = put_utf8(*out, u);
    return p;
}

char *measure_json_text(const char *p, const char *end, char *out)
{
    static const char from[] = "nrtbf\"\\/", to[] = "\n\r\t\b\f\"\\/";
    while (p < end && *p != '"') {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        if (end - p < 2)
            break;
        const char *found = strchr(from, p[1]);
        if (found)
            *out++ = to[found - from];
        p = found ? p + 2 : unicode(p + 2, end, &out);
    }
    return out;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void measure_print_latency(const double *us, size_t n)
{
    double *sorted = measure_must(malloc((n + 1) * sizeof(double)));
    memcpy(sorted, us, n * sizeof(double));
    qsort(sorted, n, sizeof(double), compare);
    sorted[n] = 0;
    printf("\"n\":%zu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"us\":[", n, sorted[n / 2],
           sorted[n * 9 / 10], sorted[n * 99 / 100]);
    for (size_t i = 0; i < n; i++)
        printf("%s%.1f", i ? "," : "", us[i]);
    printf("]");
    free(sorted);
}

void measure_print_text(const char *text, size_t len, double seconds)
{
    char sha[CRYPTO_HEX_SIZE];
    crypto_sha256_hex(text, len, sha);
    printf("\"bytes\":%zu,\"seconds\":%.6f,\"mb_per_s\":%.1f,\"sha256\":\"%s\"", len, seconds,
           (double)len / 1e6 / seconds, sha);
}

size_t measure_lags(const char *text, const char *end, double at_us, double *lags, size_t n,
                    size_t max)
{
    while (text < end && n < max) {
        char *rest;
        double then_ns = (double)strtoull(text, &rest, 10);
        if (rest == text)
            break;
        lags[n++] = at_us - then_ns / 1e3;
        text = rest;
    }
    return n;
}
