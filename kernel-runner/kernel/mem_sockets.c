/*
 * A Unix socket's data are charged to the sender until they are read; when that one is closed, only
 * their length in the receiver's queue is left to see. So the larger of both sums counts.
 */
#include "kernel-runner/kernel/mem_sockets.h"

#include "lib/base/cleanup.h"
#include "lib/base/macros.h"

#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

struct sums {
    uint64_t memory, queued;
};

/* "lo" is the only interface: this namespace is nobody else's. */
static bool is_own_network(void)
{
    _cleanup_(fclosep) FILE *f = fopen("/proc/net/dev", "re");
    char line[512], name[64];
    unsigned n = 0;
    bool lo = false;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, " %63[^:]:", name) == 1 && strchr(line, ':')) {
            n++;
            lo = lo || strcmp(name, "lo") == 0;
        }
    return f && n == (lo ? 1U : 0U);
}

static uint64_t of_meminfo(const uint32_t *info, size_t n)
{
    uint32_t sent = 0;
    if (n <= SK_MEMINFO_WMEM_QUEUED)
        return 0;
    sent = MAX(info[SK_MEMINFO_WMEM_ALLOC], info[SK_MEMINFO_WMEM_QUEUED]);
    return (uint64_t)info[SK_MEMINFO_RMEM_ALLOC] + sent;
}

static void add_attributes(struct sums *s, struct rtattr *a, size_t len, int memory, int queue)
{
    for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        if (a->rta_type == memory)
            s->memory += of_meminfo(RTA_DATA(a), RTA_PAYLOAD(a) / sizeof(uint32_t));
        if (queue >= 0 && a->rta_type == queue && RTA_PAYLOAD(a) >= sizeof(struct unix_diag_rqlen))
            s->queued += ((const struct unix_diag_rqlen *)RTA_DATA(a))->udiag_rqueue;
    }
}

static void add_message(struct sums *s, struct nlmsghdr *h, bool is_unix)
{
    size_t fixed = is_unix ? sizeof(struct unix_diag_msg) : sizeof(struct inet_diag_msg);
    if (h->nlmsg_len < NLMSG_LENGTH(fixed))
        return;
    struct rtattr *a = (struct rtattr *)(void *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(fixed));
    add_attributes(s, a, h->nlmsg_len - NLMSG_LENGTH(fixed),
                   is_unix ? UNIX_DIAG_MEMINFO : INET_DIAG_SKMEMINFO,
                   is_unix ? UNIX_DIAG_RQLEN : -1);
}

/* Sends one request for a dump and adds up its answers; the kernel ends it with DONE or an error.
 */
static void dump(struct sums *s, int fd, const void *request, size_t len, bool is_unix)
{
    _Alignas(struct nlmsghdr) char in[8192];
    if (send(fd, request, len, MSG_NOSIGNAL) < 0)
        return;
    for (;;) {
        ssize_t n = recv(fd, in, sizeof(in), 0);
        if (n <= 0)
            return;
        size_t left = (size_t)n;
        for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)in; NLMSG_OK(h, left);
             h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
                return;
            add_message(s, h, is_unix);
        }
    }
}

static void dump_unix(struct sums *s, int fd)
{
    struct {
        struct nlmsghdr h;
        struct unix_diag_req r;
    } q = {.h = {.nlmsg_len = sizeof(q),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
           .r = {.sdiag_family = AF_UNIX,
                 .udiag_states = ~0U,
                 .udiag_show = UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO}};
    dump(s, fd, &q, sizeof(q), /* is_unix= */ true);
}

static void dump_inet(struct sums *s, int fd, uint8_t family, uint8_t protocol)
{
    struct {
        struct nlmsghdr h;
        struct inet_diag_req_v2 r;
    } q = {.h = {.nlmsg_len = sizeof(q),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
           .r = {.sdiag_family = family,
                 .sdiag_protocol = protocol,
                 .idiag_ext = 1U << (INET_DIAG_SKMEMINFO - 1),
                 .idiag_states = ~0U}};
    dump(s, fd, &q, sizeof(q), /* is_unix= */ false);
}

uint64_t mem_sockets_bytes(void)
{
    static const uint8_t families[] = {AF_INET, AF_INET6}, protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
    if (!is_own_network())
        return 0;
    _cleanup_(closep) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return 0;
    struct sums unix_sums = {0}, inet = {0};
    dump_unix(&unix_sums, fd);
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        for (size_t j = 0; j < ARRAY_LEN(protocols); j++)
            dump_inet(&inet, fd, families[i], protocols[j]);
    return MAX(unix_sums.memory, unix_sums.queued) + inet.memory;
}
