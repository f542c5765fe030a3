// SPDX-License-Identifier: Apache-2.0
//
// The rig of the transport conformance suite: two instances of one transport in one process, which stand for two
// nodes, and the part of a manager that a transport needs: clock, timers, workers, and a loop that polls as a
// manager does, which is only when the transport says that there is something to poll.
//
// The rig also watches the rules of include/carrick/transport.h that concern every test: events only while
// the handle lives, completions in the order of posting, nothing after CLOSED, and so on.
#ifndef RIG_H
#define RIG_H

#include <carrick/transport.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define RIG_PAGE 4096u
#define RIG_MIB (1024u * 1024u)
#define RIG_MS 1000000ull
#define RIG_DATA_MAX 4096u
#define RIG_ENDS_MAX 512u
#define RIG_REGIONS_MAX 256u
#define RIG_DOMAINS_MAX 128u
#define RIG_WAIT_MS 20000u // longest wait, of the rig's clock
#define RIG_CASE_S 300.0   // longest case, of the real clock

// What a case runs over. Holds no pointers: it crosses to another process.
struct rig_kind {
    char name[32];
    bool is_virtual; // time is the rig's own
    bool is_vendor;  // CONFORMANCE_PLUGIN
    bool is_sim;
    bool like_iwarp; // sim: proof is local, the connector speaks first, nothing is counted
    bool wrapped;    // by the fault transport, with all faults off
    // Over RDMA: the variable that names the address of a device. Such devices may be emulated, and slow.
    char address_from[32];
};

#define RIG_KINDS_MAX 16u

// All kinds of this run, in memory that Criterion can hand to another process.
struct criterion_test_params rig_kinds(void);
// Those that are not wrapped.
struct criterion_test_params rig_plain_kinds(void);
// The same without Criterion: how many there are. kinds has room for RIG_KINDS_MAX.
size_t rig_kinds_list(struct rig_kind *kinds, bool plain);
// Loads the kind's plugin for good.
void rig_preload(const struct rig_kind *kind);

// A case, for a runner other than Criterion (rig_forked.c).
struct rig_case {
    const char *group, *name;
    bool plain; // over kinds that are not wrapped
    void (*run)(const struct rig_kind *kind);
};
bool rig_forked(void);
// Says what a case leaves out.
__attribute__((format(printf, 1, 2))) void rig_note(const char *format, ...);

struct rig;
struct rig_timers;

struct rig_node {
    struct carrick_host host; // first: the host's calls find the node by it
    struct rig *rig;
    unsigned index;
    char local[512]; // section of the link
    struct carrick_transport_ops ops;
    struct carrick_transport *transport;
    struct carrick_device *device;
    struct carrick_device_caps caps;
    int fd;
    bool poll_needed;
    bool listening;
    bool paused; // its manager stands still: nobody polls
};

struct rig_message {
    void *data;
    uint32_t bytes;
};

// One endpoint, for as long as the rig lives.
struct rig_end {
    struct rig_node *node;
    unsigned index;
    struct carrick_endpoint *handle;
    bool requested; // by the partner, not answered yet
    bool answered;  // accepted, or made by connect
    bool connected, disconnected, closed;
    bool closing;   // endpoint_close was called
    bool silent;    // and what had completed before was told
    bool failed;    // a completion was not OK
    int32_t status; // of DISCONNECTED
    uint64_t applied;
    uint8_t data[RIG_DATA_MAX]; // private data of the partner: request, reply or reason
    uint32_t data_bytes;
    uint32_t posted;    // operations
    uint32_t completed; // with OK
    uint32_t completions;
    uint32_t rooms; // SEND_ROOM
    struct rig_message *messages;
    uint32_t messages_count, messages_room;
    // Called at the very moment of the event.
    void (*on_receive)(struct rig_end *end, const void *data, uint32_t bytes);
    void (*on_completion)(struct rig_end *end, uint32_t number, int32_t status);
    void *arg;
};

struct rig_domain {
    struct rig_node *node;
    struct carrick_domain *handle;
};

struct rig_region {
    struct rig_node *node;
    struct rig_domain *domain;
    unsigned index;
    struct carrick_registration *handle;
    uint8_t *memory; // with a guard page on both sides
    uint64_t bytes;
    struct carrick_remote_key key;
    bool registered, deregistering, deregistered;
    int32_t status;
};

struct rig {
    struct rig_kind kind;
    struct rig_node node[2];
    uint64_t now_ns; // virtual time
    uint64_t deadline_ns;
    uint64_t random_state;
    uint32_t stride; // of the arrays of events and of work
    uint64_t idle_rounds;
    bool gaps_allowed; // completions may be lost: a fault that the test wants
    struct rig_timers *timers;
    struct rig_end *ends[RIG_ENDS_MAX];
    unsigned ends_count;
    struct rig_region *regions[RIG_REGIONS_MAX];
    unsigned regions_count;
    struct rig_domain *domains[RIG_DOMAINS_MAX];
    unsigned domains_count;
    void *plugin; // of dlopen
    void *fabric; // of the sim transport
};

#define CHECK(rig, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            rig_failed(rig, __FILE__, __LINE__, #condition, " " __VA_ARGS__);                      \
    } while (0)

// Runs both nodes until the condition holds; fails when it does not in time.
#define WAIT(rig, condition)                                                                       \
    do {                                                                                           \
        rig_wait_begin(rig);                                                                       \
        while (!(condition))                                                                       \
            rig_wait_step(rig, __FILE__, __LINE__, #condition);                                    \
    } while (0)

// A test that runs over each kind. The rig is open at its begin, and is closed, with what is left in it, at its end.
enum { rig_kinds_are_plain = false, rig_plain_kinds_are_plain = true };
#define CASE_WITH(kinds, fault_config, group, case_name)                                           \
    static void group##_##case_name##_body(struct rig *rig);                                       \
    static void group##_##case_name##_run(const struct rig_kind *kind)                             \
    {                                                                                              \
        struct rig *rig_of_case = rig_open(kind, fault_config);                                    \
        group##_##case_name##_body(rig_of_case);                                                   \
        rig_close(rig_of_case);                                                                    \
    }                                                                                              \
    static const struct rig_case group##_##case_name##_case = {                                    \
        #group, #case_name, kinds##_are_plain, group##_##case_name##_run};                         \
    __attribute__((                                                                                \
        used,                                                                                      \
        section("rig_cases"))) static const struct rig_case *const group##_##case_name##_entry =   \
        &group##_##case_name##_case;                                                               \
    ParameterizedTestParameters(group, case_name)                                                  \
    {                                                                                              \
        return kinds();                                                                            \
    }                                                                                              \
    ParameterizedTest(struct rig_kind *kind, group, case_name, .timeout = RIG_CASE_S)              \
    {                                                                                              \
        group##_##case_name##_run(kind);                                                           \
    }                                                                                              \
    static void group##_##case_name##_body(struct rig *rig)
#define CASE_OVER(kinds, group, case_name) CASE_WITH(kinds, NULL, group, case_name)
#define CASE(group, case_name) CASE_OVER(rig_kinds, group, case_name)

// rig.c
// fault_config: of both nodes' wrapper; NULL: none, or faults off for a kind that is wrapped.
struct rig *rig_open(const struct rig_kind *kind, const char *fault_config);
void rig_close(struct rig *rig);
__attribute__((noreturn, format(printf, 5, 6))) void rig_failed(struct rig *rig, const char *file,
                                                                int line, const char *condition,
                                                                const char *format, ...);
void rig_wait_begin(struct rig *rig);
void rig_wait_step(struct rig *rig, const char *file, int line, const char *condition);
// One round of both nodes: polls what wants polling, and else sleeps until something happens or until_ns.
void rig_step(struct rig *rig, uint64_t until_ns);
// So many rounds that do something, without sleeping: for tests that stop at any point. Virtual time does go on.
void rig_rounds(struct rig *rig, unsigned rounds);
// Until nothing more comes of what is under way.
void rig_drain(struct rig *rig);
unsigned rig_random(struct rig *rig, unsigned below);
// How many times longer everything may take than on a machine of its own: a device may be emulated.
unsigned rig_patience(const struct rig *rig);
// Of many rounds, each at another moment, every n-th is tried where each takes seconds; n is odd.
unsigned rig_rounds_step(const struct rig *rig);

// rig_event.c
void rig_event(struct rig_node *node, const struct carrick_event *event);

// rig_host.c
void rig_host_init(struct rig_node *node);
struct rig_timers *rig_timers_new(void);
void rig_timers_free(struct rig_timers *timers);
uint64_t rig_now(const struct rig *rig);
// Runs what is due, and workers' ends. Returns whether anything was run.
bool rig_timers_run(struct rig *rig);
// Whether a worker is at work.
bool rig_works(const struct rig *rig);
// Sleeps until a descriptor of a node or of a watch is ready, a timer is due, or until_ns.
void rig_sleep(struct rig *rig, uint64_t until_ns);

// rig_kinds.c
void rig_load(struct rig *rig, const char *fault_config);
void rig_unload(struct rig *rig);

// rig_ends.c
struct rig_domain *rig_domain(struct rig *rig, unsigned node);
struct rig_region *rig_region_begin(struct rig_domain *domain, uint64_t bytes, uint32_t access);
struct rig_region *rig_region(struct rig_domain *domain, uint64_t bytes, uint32_t access);
void rig_deregister(struct rig_region *region); // and waits for it
void rig_fill(struct rig_region *region, uint64_t offset, uint64_t bytes, unsigned seed);
bool rig_filled(const struct rig_region *region, uint64_t offset, uint64_t bytes, unsigned seed);
bool rig_all(const struct rig_region *region, uint64_t offset, uint64_t bytes, uint8_t value);

void rig_listen(struct rig *rig, unsigned node);
struct rig_end *rig_end_new(struct rig_node *node);
void rig_connect_options(struct rig_end *end, struct rig_domain *domain,
                         struct carrick_connect_options *options);
struct rig_end *rig_connect_begin(struct rig *rig, unsigned node, struct rig_domain *domain,
                                  const void *data, uint32_t bytes, uint32_t timeout_ms);
// The oldest request that waits at the node, or NULL.
struct rig_end *rig_request(struct rig *rig, unsigned node);
void rig_accept(struct rig_end *end, struct rig_domain *domain, const void *data, uint32_t bytes);
void rig_end_close(struct rig_end *end, bool orderly);
void rig_end_close_wait(struct rig_end *end, bool orderly);

// Two ends that are connected, each in a domain with one region that the partner may read and write. [0] connected.
struct rig_pair {
    struct rig_end *end[2];
    struct rig_domain *domain[2];
    struct rig_region *region[2];
};
struct rig_pair rig_pair(struct rig *rig, uint64_t bytes);
// The same, with domains (NULL allowed) and regions of the caller's.
void rig_join(struct rig *rig, struct rig_pair *pair);
void rig_pair_close(struct rig_pair *pair);

struct carrick_work rig_write(const struct rig_region *from, uint64_t at, uint64_t bytes,
                              const struct rig_region *to, uint64_t there);
struct carrick_work rig_read(const struct rig_region *to, uint64_t at, uint64_t bytes,
                             const struct rig_region *from, uint64_t there);
struct carrick_work rig_send(const struct rig_region *from, uint64_t at, uint64_t bytes);
struct carrick_work rig_flush(void);
// Posts one or more; the cookies are the rig's.
int rig_try_post(struct rig_end *end, const struct carrick_work *work, uint32_t count);
void rig_post(struct rig_end *end, struct carrick_work work); // which must be taken
// Posts one, and waits for its completion with OK.
void rig_do(struct rig_end *end, struct carrick_work work);

#endif
