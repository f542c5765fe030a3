// SPDX-License-Identifier: Apache-2.0
//
// A runner that forks for each case, where the environment names CONFORMANCE_FORKED. Criterion starts the program anew
// for each, which takes longer than most cases do where processes are emulated. It runs the cases over the kinds that are
// wanted, and not the few tests that need no transport.
#include "rig.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Of the section into which CASE_WITH puts a pointer to each case.
extern const struct rig_case *const __start_rig_cases[], *const __stop_rig_cases[];

bool rig_forked(void)
{
    return getenv("CONFORMANCE_FORKED") != NULL;
}

void rig_note(const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (rig_forked())
        printf("%s\n", text);
    else
        cr_log_info("%s", text);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// Whether it passed.
static bool case_run(const struct rig_case *one, const struct rig_kind *kind)
{
    uint64_t begin_ms = now_ms();
    int status = 0;
    bool passed;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        alarm((unsigned)RIG_CASE_S);
        one->run(kind);
        fflush(NULL);
        _exit(0);
    }
    passed = child > 0 && waitpid(child, &status, 0) == child && status == 0;
    printf("[%s] %s::%s over %s: (%" PRIu64 " ms)", passed ? "PASS" : "FAIL", one->group, one->name,
           kind->name, now_ms() - begin_ms);
    if (WIFSIGNALED(status))
        printf(" ended by signal %d", WTERMSIG(status));
    printf("\n");
    return passed;
}

static int forked_main(void)
{
    struct rig_kind kinds[RIG_KINDS_MAX];
    unsigned tested = 0, passing = 0;

    // What a plugin needs is loaded once, not in each child.
    for (size_t i = 0, count = rig_kinds_list(kinds, false); i < count; i++)
        rig_preload(&kinds[i]);
    for (const struct rig_case *const *one = __start_rig_cases; one < __stop_rig_cases; one++) {
        size_t count = rig_kinds_list(kinds, (*one)->plain);

        for (size_t i = 0; i < count; i++, tested++)
            passing += case_run(*one, &kinds[i]);
    }
    printf("[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: 0\n", tested,
           passing, tested - passing);
    return tested == passing ? 0 : 1;
}

// Criterion's main is in its library, and its workers go through it: this runs before it.
__attribute__((constructor)) static void forked_begin(void)
{
    if (rig_forked())
        exit(forked_main());
}
