#pragma once
#include <stdint.h>

/*
 * What the buffers of the sockets of this network namespace hold, by sock_diag: 0 where the
 * namespace is not the sandbox's own (it has more than a loopback interface), or the kernel does
 * not tell.
 */
uint64_t mem_sockets_bytes(void);
