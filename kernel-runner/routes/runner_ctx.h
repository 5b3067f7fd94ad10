#pragma once
struct file_root;

/* The files of the runner that a handler's ctx stands for. */
struct file_root *runner_files(void *ctx);
