// SPDX-License-Identifier: Apache-2.0
//
// The status line, read over the transport while it is being written: by a thread that never rests, and by a
// process that is stopped after each of its stores. It is never accepted torn.
#include "rig.h"

#include "core/status_line.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define GOOD_READS 300u

// Every field follows from the sequence, so that a mixture of two lines is seen.
static struct status_line line_of(uint32_t sequence)
{
    return (struct status_line){
        .version_max = (uint16_t)(sequence * 3),
        .version_ruling = (uint16_t)(sequence * 5),
        .session_state = (uint8_t)(sequence * 7),
        .boot_stage = (uint8_t)(sequence * 11),
        .load_permille = (uint16_t)(sequence * 13),
        .refusal = (uint16_t)(sequence * 17),
        .incarnation = sequence * 0x100000001ull,
        .taken_incarnation = ~(sequence * 0x100000001ull),
        .generation = sequence + 1,
        .taken_generation = sequence + 2,
        .heartbeat = sequence,
        .shadow_sequence = sequence * 1000003ull,
    };
}

static bool line_is(const struct status_line *line, uint32_t sequence)
{
    struct status_line wanted = line_of(sequence);

    return line->version_max == wanted.version_max &&
           line->version_ruling == wanted.version_ruling &&
           line->session_state == wanted.session_state && line->boot_stage == wanted.boot_stage &&
           line->load_permille == wanted.load_permille && line->refusal == wanted.refusal &&
           line->incarnation == wanted.incarnation &&
           line->taken_incarnation == wanted.taken_incarnation &&
           line->generation == wanted.generation &&
           line->taken_generation == wanted.taken_generation &&
           line->heartbeat == wanted.heartbeat && line->shadow_sequence == wanted.shadow_sequence;
}

static void publish(void *lines, uint32_t sequence)
{
    struct status_line line = line_of(sequence);

    status_line_publish(lines, sequence, &line);
}

// One RDMA read of both slots. Returns whether one was whole.
static bool read_lines(struct rig_pair *pair, uint32_t *sequence)
{
    struct rig *rig = pair->end[0]->node->rig;
    struct status_line line;

    rig_do(pair->end[0], rig_read(pair->region[0], 0, STATUS_LINES_BYTES, pair->region[1], 0));
    if (status_line_read(pair->region[0]->memory, &line, sequence) != CARRICK_OK)
        return false;
    CHECK(rig, line_is(&line, *sequence), "a torn line was accepted as number %u", *sequence);
    return true;
}

struct writer {
    void *lines;
    uint32_t sequence; // atomic: the last that was published
    bool stop;         // atomic
};

static void *writer_run(void *arg)
{
    struct writer *writer = arg;

    for (uint32_t i = writer->sequence + 1; !__atomic_load_n(&writer->stop, __ATOMIC_RELAXED);
         i++) {
        publish(writer->lines, i);
        __atomic_store_n(&writer->sequence, i, __ATOMIC_RELEASE);
    }
    return NULL;
}

CASE(status_line, hammering_writer)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    struct writer writer = {.lines = pair.region[1]->memory};
    uint32_t good = 0, highest = 1, sequence = 0;
    pthread_t thread;

    CHECK(rig, !read_lines(&pair, &sequence), "a line was read that nobody wrote");
    writer.sequence = 1;
    publish(writer.lines, 1);
    cr_assert(pthread_create(&thread, NULL, writer_run, &writer) == 0);
    // A read that meets both slots in the making is taken again; how often that is depends on the processor.
    while (good < GOOD_READS) {
        if (!read_lines(&pair, &sequence))
            continue;
        // The read may take one slot just before it is turned over, and meet the other in the making: never more than
        // one number back, which is why readers keep the highest (core/status_line.h).
        CHECK(rig, (int32_t)(sequence - highest) >= -1, "number %u was read after %u", sequence,
              highest);
        if ((int32_t)(sequence - highest) > 0)
            highest = sequence;
        good++;
    }
    __atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(rig, read_lines(&pair, &sequence), "no slot is whole, though nobody writes");
    CHECK(rig, sequence == writer.sequence, "number %u is not the last one, %u", sequence,
          writer.sequence);
}

#define STOPPED_FIRST 7u
#define STOPPED_LAST 12u

static void stopped_writer(uint8_t *lines)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    raise(SIGSTOP);
    for (uint32_t i = STOPPED_FIRST; i <= STOPPED_LAST; i++)
        publish(lines, i);
    _exit(0);
}

// Lets the process do one instruction. Returns whether it is still there.
static bool single_step(struct rig *rig, pid_t pid)
{
    int status;

    CHECK(rig, ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
    CHECK(rig, waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status)) {
        CHECK(rig, WEXITSTATUS(status) == 0);
        return false;
    }
    CHECK(rig, WIFSTOPPED(status));
    return true;
}

// Wherever the writer is stopped, one slot is good, and it is the line before or the new one.
CASE(status_line, writer_stopped_at_every_store)
{
    struct rig_pair pair = rig_pair(rig, RIG_PAGE);
    uint8_t *lines = pair.region[1]->memory, seen[STATUS_LINES_BYTES];
    uint32_t stores = 0, last = STOPPED_FIRST - 1, sequence = 0;
    pid_t pid;

    publish(lines, STOPPED_FIRST - 2);
    publish(lines, STOPPED_FIRST - 1);
    memcpy(seen, lines, sizeof(seen));
    fflush(NULL);
    pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0)
        stopped_writer(lines);
    CHECK(rig, waitpid(pid, NULL, 0) == pid);
    while (single_step(rig, pid)) {
        if (memcmp(seen, lines, sizeof(seen)) == 0)
            continue;
        memcpy(seen, lines, sizeof(seen));
        stores++;
        CHECK(rig, read_lines(&pair, &sequence), "no slot is whole after store %u", stores);
        CHECK(rig, sequence == last || sequence == last + 1, "number %u after %u", sequence, last);
        last = sequence;
    }
    CHECK(rig, last == STOPPED_LAST);
    CHECK(rig, stores >= 4 * (STOPPED_LAST - STOPPED_FIRST + 1), "only %u stores were seen",
          stores);
}
