// SPDX-License-Identifier: Apache-2.0
//
// How long this machine stood still while something else was measured: one thread on each core, of real-time priority
// where that is allowed, sleeps for 2 ms again and again and sees how late it wakes. What it cannot escape (a core that
// a hypervisor gives to others) no program here can. SIGTERM ends it; it then prints one line:
//
//   REALTIME LONGEST_MS COUNT      whether all threads were real-time, the longest stall, stalls of LIMIT_MS and more
//
//   stall_witness LIMIT_MS
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CORES_MAX 64
#define SLEEP_NS 2000000

struct witness {
    pthread_t thread;
    const atomic_bool *stop;
    uint64_t limit_ns;
    int core;
    bool realtime;
    uint64_t longest_ns;
    uint32_t count;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *watch(void *arg)
{
    struct witness *witness = arg;
    struct sched_param priority = {.sched_priority = 1};
    struct timespec pause = {.tv_nsec = SLEEP_NS};
    cpu_set_t cores;

    CPU_ZERO(&cores);
    CPU_SET(witness->core, &cores);
    pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
    witness->realtime = pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) == 0;
    for (uint64_t before = now_ns(), after; !atomic_load(witness->stop); before = after) {
        nanosleep(&pause, NULL);
        after = now_ns();
        uint64_t late_ns = after - before > SLEEP_NS ? after - before - SLEEP_NS : 0;
        if (late_ns > witness->longest_ns)
            witness->longest_ns = late_ns;
        witness->count += late_ns >= witness->limit_ns;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct witness witnesses[CORES_MAX];
    atomic_bool stop = false;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t limit_ms = argc == 2 ? strtoull(argv[1], NULL, 10) : 0, longest_ns = 0;
    uint32_t count = 0;
    bool realtime = true;
    sigset_t ends;
    int signal_number, started = 0;

    if (limit_ms == 0) {
        fprintf(stderr, "usage: stall_witness LIMIT_MS\n");
        return 2;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    for (; started < cores && started < CORES_MAX; started++) {
        witnesses[started] =
            (struct witness){.stop = &stop, .limit_ns = limit_ms * 1000000, .core = started};
        if (pthread_create(&witnesses[started].thread, NULL, watch, &witnesses[started]) != 0)
            break;
    }
    sigwait(&ends, &signal_number);
    atomic_store(&stop, true);
    for (int i = 0; i < started; i++) {
        pthread_join(witnesses[i].thread, NULL);
        realtime = realtime && witnesses[i].realtime;
        count += witnesses[i].count;
        if (witnesses[i].longest_ns > longest_ns)
            longest_ns = witnesses[i].longest_ns;
    }
    printf("%s %llu %u\n", realtime ? "yes" : "no", (unsigned long long)(longest_ns / 1000000),
           count);
    return 0;
}
