#pragma once

/*
 * Keeps what this process holds (tokens, keys) from others of its user: /proc/<pid>/mem, fd,
 * environ and ptrace are closed to them, and it never dumps core, nor do its children. A program
 * that is executed is as it always is. Before any thread starts.
 */
void process_hide(void);
