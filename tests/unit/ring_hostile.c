// SPDX-License-Identifier: Apache-2.0
// needs plugin: shelf
//
// Users and servers that break the rules of the shared memory: it costs them their connection, and nobody else
// anything.
#include "tests/unit/block_world.h"

#include <sched.h>
#include <sys/file.h>

TestSuite(ring_hostile, .timeout = 60);

struct pair {
    struct world w;
    struct raw raw;
    struct carrick_block *honest;
};

static void pair_start(struct pair *p)
{
    world_start(&p->w, 0, 16);
    raw_connect(&p->raw, &p->w);
    p->honest = world_connect(&p->w);
}

// The hostile connection is closed, and the honest one works.
static void pair_ends_closed(struct pair *p)
{
    unsigned char data[512] = {7}, back[512];
    raw_is_closed(&p->raw);
    cr_assert_eq(carrick_block_pwrite(p->honest, data, 512, 0, 0), 0);
    cr_assert_eq(carrick_block_pread(p->honest, back, 512, 0), 0);
    cr_assert_eq(memcmp(data, back, 512), 0);
    carrick_block_close(p->honest);
    raw_end(&p->raw);
    world_stop(&p->w);
}

Test(ring_hostile, a_tail_too_far_ahead)
{
    struct pair p;
    pair_start(&p);
    __atomic_store_n(ring_word(&p.raw.ring, RING_REQUEST_TAIL), 17, __ATOMIC_SEQ_CST);
    raw_ring(&p.raw);
    pair_ends_closed(&p);
}

Test(ring_hostile, a_tail_that_goes_back)
{
    struct pair p;
    pair_start(&p);
    raw_put(&p.raw, CARRICK_BLOCK_FLUSH, 0, 0, 0);
    raw_ring(&p.raw);
    cr_assert_eq(raw_answer(&p.raw), 0);
    __atomic_store_n(ring_word(&p.raw.ring, RING_REQUEST_TAIL), 0, __ATOMIC_SEQ_CST);
    raw_ring(&p.raw);
    pair_ends_closed(&p);
}

Test(ring_hostile, a_slot_that_is_not_there)
{
    struct pair p;
    pair_start(&p);
    raw_put(&p.raw, CARRICK_BLOCK_READ, 16, 0, 512);
    raw_ring(&p.raw);
    pair_ends_closed(&p);
}

Test(ring_hostile, a_slot_used_twice)
{
    struct pair p;
    pair_start(&p);
    world_do(&p.w, world_stuck_order);
    raw_put(&p.raw, CARRICK_BLOCK_READ, 3, 0, 512);
    raw_put(&p.raw, CARRICK_BLOCK_WRITE, 3, 0, 512);
    raw_ring(&p.raw);
    raw_is_closed(&p.raw);
    p.w.shelves.stuck = false;
    pair_ends_closed(&p);
}

Test(ring_hostile, more_than_a_slot_holds)
{
    struct pair p;
    pair_start(&p);
    raw_put(&p.raw, CARRICK_BLOCK_READ, 15, 0, p.raw.ring.slot_bytes + 1);
    raw_ring(&p.raw);
    pair_ends_closed(&p);
}

Test(ring_hostile, senseless_requests_are_answered_and_never_reach_the_shelf)
{
    struct pair p;
    pair_start(&p);
    static const uint32_t operations[] = {0, 6, UINT32_MAX};
    for (int i = 0; i < 3; i++) {
        raw_put(&p.raw, operations[i], 1, 0, 512);
        raw_ring(&p.raw);
        cr_assert_eq(raw_answer(&p.raw), EINVAL);
    }
    raw_put(&p.raw, CARRICK_BLOCK_READ, 1, 0, 0);
    raw_ring(&p.raw);
    cr_assert_eq(raw_answer(&p.raw), EINVAL);
    raw_put(&p.raw, CARRICK_BLOCK_TRIM, 1, 1, UINT64_MAX);
    raw_ring(&p.raw);
    cr_assert_eq(raw_answer(&p.raw), ENOSPC);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(p.w.shelves.operations[i], 0);
    close(p.raw.fd);
    p.raw.fd = raw_socket(&p.w);
    shutdown(p.raw.fd, SHUT_RDWR);
    pair_ends_closed(&p);
}

// A connection may live or die of it, the daemon and the others live.
Test(ring_hostile, random_words_everywhere)
{
    struct pair p;
    pair_start(&p);
    unsigned seed = 12345;
    for (int round = 0; round < 400; round++) {
        size_t words = ring_data_at(p.raw.ring.slots) / sizeof(uint32_t);
        uint32_t *memory = (uint32_t *)(void *)p.raw.ring.memory;
        for (size_t i = 0; i < words; i++) {
            seed = seed * 1664525u + 1013904223u;
            uint32_t value = seed >> 8;
            // Small numbers get past more checks than large ones do.
            __atomic_store_n(&memory[i], round % 4 ? value % 24 : value, __ATOMIC_RELAXED);
        }
        char byte;
        if (send(p.raw.fd, "xx", 2, MSG_NOSIGNAL) < 0 ||
            recv(p.raw.fd, &byte, 1, MSG_DONTWAIT) == 0) {
            raw_end(&p.raw);
            raw_connect(&p.raw, &p.w);
        }
    }
    shutdown(p.raw.fd, SHUT_RDWR);
    pair_ends_closed(&p);
}

Test(ring_hostile, the_memory_cannot_be_resized)
{
    struct pair p;
    pair_start(&p);
    cr_assert_eq(ftruncate(p.raw.memory, 0), -1);
    cr_assert_eq(errno, EPERM);
    cr_assert_eq(ftruncate(p.raw.memory, 1 << 30), -1);
    int seals = fcntl(p.raw.memory, F_GET_SEALS);
    cr_assert_eq(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    shutdown(p.raw.fd, SHUT_RDWR);
    pair_ends_closed(&p);
}

// It asks to be woken by bytes over the socket and never reads them.
Test(ring_hostile, a_full_socket_does_not_hold_the_daemon)
{
    struct pair p;
    pair_start(&p);
    for (int i = 0; i < 3000; i++) {
        raw_put(&p.raw, CARRICK_BLOCK_FLUSH, 0, 0, 0);
        __atomic_store_n(ring_word(&p.raw.ring, RING_USER_SLEEPS), RING_SLEEPS_ON_SOCKET,
                         __ATOMIC_SEQ_CST);
        raw_ring(&p.raw);
        cr_assert_eq(raw_answer(&p.raw), 0);
    }
    shutdown(p.raw.fd, SHUT_RDWR);
    pair_ends_closed(&p);
}

// Flags of the daemon's that lie: it is called more often than it needs, that is all.
Test(ring_hostile, bells_without_need)
{
    struct pair p;
    pair_start(&p);
    for (int i = 0; i < 1000; i++) {
        __atomic_store_n(ring_word(&p.raw.ring, RING_SERVER_SLEEPS), (uint32_t)i, __ATOMIC_SEQ_CST);
        raw_ring(&p.raw);
    }
    raw_put(&p.raw, CARRICK_BLOCK_FLUSH, 0, 0, 0);
    raw_ring(&p.raw);
    cr_assert_eq(raw_answer(&p.raw), 0);
    shutdown(p.raw.fd, SHUT_RDWR);
    pair_ends_closed(&p);
}

// ---- the hello

static void skip_order(struct world *w)
{
    w->loop.skew_ns += 6000000000u;
}

static void nothing_order(struct world *w)
{
    (void)w;
}

Test(ring_hostile, who_says_nothing_is_closed_in_time)
{
    struct world w;
    world_start(&w, 0, 0);
    int silent = raw_socket(&w), half = raw_socket(&w);
    cr_assert_eq(send(half, "Cblk", 4, 0), 4);
    struct carrick_block *honest = world_connect(&w);
    world_do(&w, skip_order);
    struct raw r = {.fd = silent};
    raw_is_closed(&r);
    r.fd = half;
    raw_is_closed(&r);
    cr_assert_eq(carrick_block_flush(honest), 0);
    carrick_block_close(honest);
    close(silent);
    close(half);
    world_stop(&w);
}

Test(ring_hostile, another_magic_version_or_an_endless_name)
{
    struct world w;
    world_start(&w, 0, 0);
    for (int i = 0; i < 3; i++) {
        struct ring_hello hello = {.magic = RING_MAGIC, .version = RING_VERSION, .shelf = "disk1"};
        struct ring_welcome welcome;
        if (i == 0)
            hello.magic = 1;
        else if (i == 1)
            hello.version = 99;
        else
            memset(hello.shelf, '"', sizeof(hello.shelf) + sizeof(hello.program));
        struct raw r = {.fd = raw_socket(&w)};
        cr_assert_eq(send(r.fd, &hello, sizeof(hello), 0), (ssize_t)sizeof(hello));
        cr_assert_eq(recv(r.fd, &welcome, sizeof(welcome), MSG_WAITALL), (ssize_t)sizeof(welcome));
        cr_assert_eq(welcome.status,
                     (uint32_t)(i < 2 ? CARRICK_ERR_VERSION : CARRICK_ERR_NOT_FOUND));
        cr_assert(strnlen(welcome.text, sizeof(welcome.text)) < sizeof(welcome.text));
        raw_is_closed(&r);
        close(r.fd);
    }
    world_stop(&w);
}

static char described[1024];

static void describe_order(struct world *w)
{
    front_describe(w->front, described, sizeof(described));
}

Test(ring_hostile, names_of_callers_do_not_break_the_description)
{
    struct world w;
    struct raw r = {0};
    world_start(&w, 0, 0);
    raw_connect(&r, &w);
    world_do(&w, describe_order);
    cr_assert_not_null(strstr(described, "\"shelf\":\"disk1\""), "%s", described);
    cr_assert_not_null(strstr(described, "\"program\":\"raw????\""), "%s", described);
    cr_assert_eq(described[strlen(described) - 1], '}');
    raw_end(&r);
    world_do(&w, nothing_order);
    world_stop(&w);
}

// ---- the socket's path

Test(ring_hostile, a_socket_of_the_dead_is_replaced_and_one_of_the_living_is_not)
{
    struct world w, second;
    world_path(&w);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, w.path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    struct carrick_error error = {.struct_size = sizeof(error)};
    struct front *front = NULL, *other = NULL;
    struct front_config config = {.path = w.path};
    loop_init(&w.loop);
    loop_init(&second.loop);
    cr_assert_eq(front_start(&w.loop.host, &config, &shelves_ops, NULL, &front, &error), 0, "%s",
                 error.text);
    struct stat st;
    cr_assert_eq(stat(w.path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(front_start(&second.loop.host, &config, &shelves_ops, NULL, &other, &error),
                 CARRICK_ERR_EXISTS);
    cr_assert_eq(stat(w.path, &st), 0, "the second took the first one's socket away");
    front_stop(front);
    cr_assert_eq(stat(w.path, &st), -1);
    // The lock alone keeps others out: who has it may be about to bind.
    char lock[128];
    snprintf(lock, sizeof(lock), "%s.lock", w.path);
    fd = open(lock, O_RDWR);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    cr_assert_eq(front_start(&w.loop.host, &config, &shelves_ops, NULL, &front, &error),
                 CARRICK_ERR_EXISTS);
    close(fd);
    cr_assert_eq(mkdir(w.path, 0700), 0);
    cr_assert_eq(front_start(&w.loop.host, &config, &shelves_ops, NULL, &front, &error),
                 CARRICK_ERR_EXISTS);
    cr_assert_eq(rmdir(w.path), 0);
    config.group = "no-such-group-here";
    cr_assert_eq(front_start(&w.loop.host, &config, &shelves_ops, NULL, &front, &error),
                 CARRICK_ERR_CONFIG);
    loop_sweep(&w.loop);
    world_remove(&w);
}

// ---- a server without manners

struct liar {
    struct world w;
    int listener;
    void (*lie)(int fd, struct ring *ring);
    pthread_t thread;
    bool unsealed;
};

static void *liar_run(void *arg)
{
    struct liar *l = arg;
    struct ring ring = {.slots = 4, .slot_bytes = 4096};
    size_t bytes = ring_bytes(4, 4096);
    int fd = accept(l->listener, NULL, NULL);
    int memory = memfd_create("liar", MFD_ALLOW_SEALING);
    struct ring_welcome welcome = {.magic = RING_MAGIC,
                                   .version = RING_VERSION,
                                   .bytes = 1 << 20,
                                   .slots = 4,
                                   .slot_bytes = 4096};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&welcome, sizeof(welcome)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &memory, sizeof(int));
    if (ftruncate(memory, (off_t)bytes) ||
        (!l->unsealed && fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)))
        abort();
    ring.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (sendmsg(fd, &message, MSG_NOSIGNAL) > 0 && l->lie) {
        while (ring_waiting(&ring, RING_REQUEST_TAIL, 0) == 0)
            sched_yield();
        l->lie(fd, &ring);
    }
    char byte;
    while (recv(fd, &byte, 1, 0) > 0)
        ;
    munmap(ring.memory, bytes);
    close(memory);
    close(fd);
    return NULL;
}

static void liar_start(struct liar *l, void (*lie)(int, struct ring *))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    world_path(&l->w);
    strcpy(address.sun_path, l->w.path);
    l->lie = lie;
    l->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(l->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(l->listener, 4), 0);
    cr_assert_eq(pthread_create(&l->thread, NULL, liar_run, l), 0);
}

static void liar_end(struct liar *l)
{
    pthread_join(l->thread, NULL);
    close(l->listener);
    world_remove(&l->w);
}

static void wake_all(struct ring *ring, uint32_t tail)
{
    __atomic_store_n(ring_word(ring, RING_ANSWER_TAIL), tail, __ATOMIC_SEQ_CST);
    __atomic_store_n(ring_word(ring, RING_USER_SLEEPS), RING_AWAKE, __ATOMIC_SEQ_CST);
}

static void lie_tail(int fd, struct ring *ring)
{
    (void)fd;
    wake_all(ring, 5);
}

static void lie_slot(int fd, struct ring *ring)
{
    struct ring_answer answer = {.slot = 4};
    uint32_t tail = 0;
    (void)fd;
    ring_put_answer(ring, &tail, &answer);
    wake_all(ring, 1);
}

// The slot is free: an answer that nobody waits for.
static void lie_free_slot(int fd, struct ring *ring)
{
    struct ring_answer answer = {.slot = 2, .tag = 0};
    uint32_t tail = 0;
    (void)fd;
    ring_put_answer(ring, &tail, &answer);
    wake_all(ring, 1);
}

static void lie_tag(int fd, struct ring *ring)
{
    struct ring_answer answer = {.slot = 0, .tag = 77};
    uint32_t tail = 0;
    (void)fd;
    ring_put_answer(ring, &tail, &answer);
    wake_all(ring, 1);
}

Test(ring_hostile, a_lying_server_ends_its_connection)
{
    void (*const lies[])(int, struct ring *) = {lie_tail, lie_slot, lie_free_slot, lie_tag};
    for (int i = 0; i < 4; i++) {
        struct liar l = {.unsealed = false};
        liar_start(&l, lies[i]);
        struct carrick_block *b = NULL;
        struct carrick_error error = {.struct_size = sizeof(error)};
        cr_assert_eq(carrick_block_connect_async(l.w.path, "disk1", 0, &b, &error), 0, "%s",
                     error.text);
        struct carrick_block_request r = {.struct_size = sizeof(r),
                                          .operation = CARRICK_BLOCK_FLUSH};
        struct carrick_block_result result;
        cr_assert_eq(carrick_block_submit(b, &r), 0);
        int got;
        while ((got = carrick_block_reap(b, &result, 1)) == 0)
            sched_yield();
        cr_assert_eq(got, -ESHUTDOWN, "lie %d gave %d", i, got);
        carrick_block_close(b);
        liar_end(&l);
    }
}

Test(ring_hostile, memory_that_could_shrink_is_refused)
{
    struct liar l = {.unsealed = true};
    liar_start(&l, NULL);
    struct carrick_block *b = NULL;
    struct carrick_error error = {.struct_size = sizeof(error)};
    cr_assert_eq(carrick_block_connect(l.w.path, "disk1", 0, &b, &error), CARRICK_ERR_PROTOCOL);
    liar_end(&l);
}
