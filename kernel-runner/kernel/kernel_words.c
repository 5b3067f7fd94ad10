/* The end of a process in words. */
#include "kernel-runner/kernel/kernel_words.h"

#include "kernel-runner/kernel/kernel.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"
#include "lib/base/utf8.h"

#include <stdio.h>
#include <string.h>

char *kernel_words_clean(const char *words)
{
    char *text = mem_dup_str(words);
    for (char *p = text, *end = p + strlen(p); p < end;) {
        size_t n = utf8_char_len(p, (size_t)(end - p));
        if (n == 0)
            *p = '?';
        p += MAX(n, 1U);
    }
    return text;
}

char *kernel_words_of(const char *words, bool served, const struct loop_exit *exit)
{
    if (words[0] || served || !exit->known)
        return kernel_words_clean(words);
    if (exit->signal)
        return mem_printf("(it said nothing and was killed by signal %d)", exit->signal);
    return mem_printf("(it said nothing and ended with status %d)", exit->exit_code);
}

void kernel_death_describe(const struct kernel_death *d, char out[KERNEL_DEATH_SIZE])
{
    const char *abbreviation = d->signal ? sigabbrev_np(d->signal) : NULL;
    if (d->oom)
        snprintf(out, KERNEL_DEATH_SIZE,
                 "the kernel was killed: the sandbox's memory limit was passed");
    else if (d->signal)
        snprintf(out, KERNEL_DEATH_SIZE, "the kernel process was ended by signal %d (SIG%s)",
                 d->signal, abbreviation ? abbreviation : "?");
    else
        snprintf(out, KERNEL_DEATH_SIZE, "the kernel process exited with code %d", d->exit_code);
}
