// SPDX-License-Identifier: Apache-2.0
//
// Metrics of the process itself, by the names that are usual for these.
#include "daemon/metrics_http.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/control.h"

static uint64_t resident_bytes(void)
{
    unsigned long total = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%lu %lu", &total, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void)
{
    uint64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count > 3 ? count - 3 : 0; // ".", "..", and the directory itself
}

static uint64_t cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static void add(struct metrics_sink *sink, const char *name, enum metrics_type type,
                const char *help, uint64_t value)
{
    metrics_family(sink, name, type, help);
    metrics_sample(sink, NULL, 0, value);
}

static void add_log(struct metrics_sink *sink, struct log *log)
{
    struct log_counts counts;
    log_counts(log, &counts);
    metrics_family(sink, "carrick_log_lines", METRICS_COUNTER, "Lines logged, by level.");
    for (int level = CARRICK_LOG_ERROR; level <= CARRICK_LOG_DEBUG; level++) {
        const struct metrics_label label = {"level", log_level_name(level)};
        metrics_sample(sink, &label, 1, counts.written[level]);
    }
    add(sink, "carrick_log_dropped", METRICS_COUNTER,
        "Lines that could not be written as fast as they came.", counts.dropped);
}

void metrics_own(struct metrics_sink *sink, const char *node, struct log *log,
                 const struct control *control)
{
    const struct metrics_label build[] = {{"version", CARRICK_VERSION}, {"node", node}};
    metrics_family(sink, "carrick_build_info", METRICS_GAUGE, "What runs here; always 1.");
    metrics_sample(sink, build, 2, 1);
    add_log(sink, log);
    struct control_counts counts;
    control_counts(control, &counts);
    add(sink, "carrick_control_connections", METRICS_GAUGE,
        "Open connections of the control socket.", counts.connections);
    add(sink, "carrick_control_requests", METRICS_COUNTER, "Requests of the control socket.",
        counts.requests);
    add(sink, "carrick_control_refused_connections", METRICS_COUNTER,
        "Connections that were refused because too many were open.", counts.refused_connections);
    add(sink, "carrick_control_dropped_events", METRICS_COUNTER,
        "Events that a follower did not take as fast as they came.", counts.dropped_events);
    metrics_family(sink, "process_cpu_seconds", METRICS_COUNTER, "Processor time used.");
    metrics_sample_ns(sink, NULL, 0, cpu_ns());
    add(sink, "process_resident_memory_bytes", METRICS_GAUGE, "Memory in use.", resident_bytes());
    add(sink, "process_open_fds", METRICS_GAUGE, "Open descriptors.", open_descriptors());
}
