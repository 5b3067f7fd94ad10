#pragma once
#include <stdbool.h>
#include <stdint.h>

/*
 * A sandbox is "sb-" + a UUID that ends in 000. Its main kernel's id is that UUID; further kernels
 * count up in the last three hex digits, so any kernel id names its sandbox.
 */
#define ID_UUID_SIZE    37 /* with the NUL */
#define ID_SANDBOX_SIZE 40
#define ID_EXEC_MAX     64 /* longest execution id, without the NUL */

/* 16 random bytes → version 4 UUID text. */
void id_uuid_format(const uint8_t bytes[16], char out[ID_UUID_SIZE]);
bool id_is_uuid(const char *s); /* lower-case 8-4-4-4-12 */
bool id_is_sandbox(const char *s);
/* Execution ids: 1–64 of [A-Za-z0-9_.-], not beginning with a dot. */
bool id_is_exec(const char *s);
/* From random bytes: a sandbox id. */
void id_sandbox_format(const uint8_t bytes[16], char out[ID_SANDBOX_SIZE]);
/* The id of its main kernel: a part of `sandbox_id`, and borrowed as that is. */
const char *id_main_kernel(const char *sandbox_id);
/* Kernel number n (0 = main, up to 4095) of a sandbox. */
void id_kernel_format(const char *sandbox_id, unsigned n, char out[ID_UUID_SIZE]);
/*
 * Jupyter session number n (0…4095) of a sandbox: its UUID with version 8 in place of 4, so that a
 * session id names its sandbox and is no kernel's.
 */
void id_session_format(const char *sandbox_id, unsigned n, char out[ID_UUID_SIZE]);
bool id_session_sandbox(const char *session_id, char out[ID_SANDBOX_SIZE]);
/* The sandbox a kernel id belongs to; false when it is not a kernel id. */
bool id_kernel_sandbox(const char *kernel_id, char out[ID_SANDBOX_SIZE]);
