// SPDX-License-Identifier: Apache-2.0
//
// `carrick doctor`: its sources' common ground. It reads what the kernel tells in files, through tree.c, so that tests
// can hand it a tree of their own.
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/cli.h"
#include "core/config.h"

#include <netdb.h>

#define DOCTOR_NAME_BYTES 64
#define DOCTOR_LIST_MAX 64
#define DOCTOR_PORTS_MAX 64
#define INSTALL_RDMA                                                                               \
    "apt-get install librdmacm1 ibverbs-providers || dnf install librdmacm libibverbs"

enum finding_level {
    FINDING_OK,
    FINDING_WARNING, // it will work, but not as well as it could, or it cannot be seen from here
    FINDING_PROBLEM, // it stands in the way
};

struct finding {
    enum finding_level level;
    char subject[96];
    char text[400];
    char mend[400]; // a command; "": there is none, or none is needed
};

// A port of an RDMA device.
struct rdma_port {
    char device[DOCTOR_NAME_BYTES];
    unsigned number;
    bool iwarp, infiniband; // neither: RoCE
    bool active;
    char netdev[DOCTOR_NAME_BYTES]; // "": none is known
};

struct doctor {
    const char *root;            // before every path; "" but in tests
    const struct config *config; // NULL: none was given and none is installed
    int node;                    // index among config->nodes
    unsigned timeout_ms;         // for the partner's answer
    struct finding *findings;
    size_t count, room;
    struct rdma_port ports[DOCTOR_PORTS_MAX];
    unsigned port_count;
};

void doctor_find(struct doctor *doctor, enum finding_level level, const char *subject,
                 const char *mend, const char *format, ...) __attribute__((format(printf, 5, 6)));

// ---- doctor_tree.c: files below root

struct name_list {
    unsigned count;
    char names[DOCTOR_LIST_MAX][DOCTOR_NAME_BYTES];
};

bool tree_is_there(const struct doctor *doctor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The first line without what is blank at its end. False: it cannot be read, and text is "".
bool tree_line(const struct doctor *doctor, char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// -1: it cannot be read.
int64_t tree_number(const struct doctor *doctor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Calls fn with each line until it answers true; whether it did.
bool tree_each_line(const struct doctor *doctor, const char *path,
                    bool (*fn)(void *arg, const char *line), void *arg);
// Sorted; of a directory that is not there it is empty.
void tree_list(const struct doctor *doctor, const char *path, struct name_list *list);

// ---- doctor_rdma.c: modules, device files, devices and their ports

bool link_is_rdma(const struct config_link *link);
unsigned doctor_rdma_links(const struct doctor *doctor);
void doctor_modules(struct doctor *doctor);
void doctor_devices(struct doctor *doctor);

// ---- doctor_link.c: each link: address, device, GID, MTU
void doctor_links(struct doctor *doctor);

struct link_end {
    char address[64];
    char device[DOCTOR_NAME_BYTES]; // "": not said
    unsigned port;
};

// One link, as seen from here.
struct link_path {
    const struct config_link *link;
    const char *subject;
    struct link_end local, remote;
    char netdev[DOCTOR_NAME_BYTES]; // that has the local address; "": none is known
    int64_t mtu;                    // of it; -1: not known
    bool rdma_here;                 // this node's side can be tried over RDMA
};

// RoCE carries packets of 256, 512, 1024, 2048 or 4096 bytes, with up to 96 bytes of headers round them.
unsigned roce_mtu(int64_t mtu);

// ---- doctor_plugin.c: whether the link's transport is there; false: it is said that not, and why
bool doctor_plugin(struct doctor *doctor, const struct config_link *link, const char *subject);

// ---- doctor_reach.c: whether the partner's end of a link answers
void doctor_reach(struct doctor *doctor, const struct link_path *path);

// ---- doctor_trial.c: a connection over RDMA, tried
enum trial_end {
    TRIAL_LISTENS,    // a carrickd does
    TRIAL_STRANGER,   // somebody listens and does not refuse as carrickd does
    TRIAL_NOBODY,     // nobody listens, the partner's kernel says
    TRIAL_NO_ADDRESS, // the partner's address leads nowhere, or this node's own has no device
    TRIAL_NO_ROUTE,   // InfiniBand's subnet manager knows no way
    TRIAL_SILENT,     // no answer to the request
    TRIAL_NOT_TRIED,  // this node could not
    TRIAL_HELD_UP,    // what was found before has to be mended first
    TRIAL_NO_MEMORY,  // this user may lock too little
    TRIAL_NO_LIBRARY,
    TRIAL_NOT_BUILT, // this command was built without it
    TRIAL_ENDS,
};

struct trial {
    enum trial_end end;
    int error; // an errno, where there is one
};

struct trial doctor_trial(const struct addrinfo *from, const struct addrinfo *to,
                          unsigned timeout_ms);

// ---- doctor_mtu.c: whether packets as long as this node sends them reach the partner, and come back whole
void doctor_mtu(struct doctor *doctor, const struct link_path *path, const struct addrinfo *from,
                const struct addrinfo *to);

// ---- doctor_memory.c: locked memory, huge pages, room for logs, the key
void doctor_memory(struct doctor *doctor);
void doctor_key(struct doctor *doctor);

#endif
