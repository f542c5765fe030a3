// SPDX-License-Identifier: Apache-2.0
//
// The configured links, from this node's side: the local address on an interface, the RDMA device that bears it and its
// GID, the interface's state and MTU, and whether two links hang on one cable. The other side is doctor_reach.c's.

#include "cli/doctor.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>

#define IB "/sys/class/infiniband"
#define GIDS_MAX 256u

// ---- which interface has an address

struct address_search {
    const char *address;
    char netdev[DOCTOR_NAME_BYTES];
};

// A line of a test's tree: INTERFACE ADDRESS.
static bool address_in_line(void *arg, const char *line)
{
    struct address_search *search = arg;
    char netdev[DOCTOR_NAME_BYTES], address[DOCTOR_NAME_BYTES];
    if (sscanf(line, "%63s %63s", netdev, address) != 2 || strcmp(address, search->address) != 0)
        return false;
    memcpy(search->netdev, netdev, sizeof search->netdev);
    return true;
}

static bool same_address(const struct sockaddr *sa, const char *address)
{
    struct in6_addr six;
    struct in_addr four;
    if (sa && sa->sa_family == AF_INET && inet_pton(AF_INET, address, &four) == 1)
        return !memcmp(&four, &((const struct sockaddr_in *)(const void *)sa)->sin_addr,
                       sizeof four);
    if (sa && sa->sa_family == AF_INET6 && inet_pton(AF_INET6, address, &six) == 1)
        return !memcmp(&six, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr,
                       sizeof six);
    return false;
}

static bool is_loopback(const char *address)
{
    return !strncmp(address, "127.", 4) || !strcmp(address, "::1");
}

static bool find_netdev(const struct doctor *doctor, const char *address, char *netdev)
{
    struct address_search search = {.address = address};
    struct ifaddrs *all = NULL;
    if (doctor->root[0]) {
        tree_each_line(doctor, "/doctor/addresses", address_in_line, &search);
    } else if (getifaddrs(&all) == 0) {
        for (struct ifaddrs *one = all; one && !search.netdev[0]; one = one->ifa_next)
            if (same_address(one->ifa_addr, address))
                snprintf(search.netdev, sizeof search.netdev, "%s", one->ifa_name);
        freeifaddrs(all);
    }
    // All of 127.0.0.0/8 is there, though only its first address is listed.
    if (!search.netdev[0] && is_loopback(address))
        snprintf(search.netdev, sizeof search.netdev, "lo");
    snprintf(netdev, DOCTOR_NAME_BYTES, "%s", search.netdev);
    return netdev[0] != 0;
}

// ---- GIDs

static bool gid_of(const char *address, char *gid, size_t size)
{
    struct in6_addr six = {0};
    struct in_addr four;
    if (inet_pton(AF_INET, address, &four) == 1) {
        six.s6_addr[10] = six.s6_addr[11] = 0xff;
        memcpy(&six.s6_addr[12], &four, sizeof four);
    } else if (inet_pton(AF_INET6, address, &six) != 1) {
        return false;
    }
    size_t used = 0;
    for (unsigned i = 0; i < 16; i += 2)
        used += (size_t)snprintf(gid + used, size - used, "%s%02x%02x", i ? ":" : "",
                                 six.s6_addr[i], six.s6_addr[i + 1]);
    return true;
}

struct gid_found {
    const struct rdma_port *port;
    bool any, version2;
    unsigned index;
};

static void find_in_port(const struct doctor *doctor, const struct rdma_port *port,
                         const char *want, const char *netdev, struct gid_found *found)
{
    char gid[64], type[32], ndev[DOCTOR_NAME_BYTES];
    for (unsigned i = 0; i < GIDS_MAX; i++) {
        if (!tree_is_there(doctor, IB "/%s/ports/%u/gids/%u", port->device, port->number, i))
            return;
        tree_line(doctor, gid, sizeof gid, IB "/%s/ports/%u/gids/%u", port->device, port->number,
                  i);
        if (strcmp(gid, want) != 0)
            continue;
        if (tree_line(doctor, ndev, sizeof ndev, IB "/%s/ports/%u/gid_attrs/ndevs/%u", port->device,
                      port->number, i) &&
            ndev[0] && strcmp(ndev, netdev) != 0)
            continue;
        tree_line(doctor, type, sizeof type, IB "/%s/ports/%u/gid_attrs/types/%u", port->device,
                  port->number, i);
        if (!found->any || (!found->version2 && strstr(type, "v2")))
            found->index = i;
        found->port = port;
        found->any = true;
        found->version2 |= strstr(type, "v2") != NULL;
    }
}

static void find_gid(const struct doctor *doctor, const char *address, const char *netdev,
                     struct gid_found *found)
{
    char want[64];
    if (!gid_of(address, want, sizeof want))
        return;
    for (unsigned i = 0; i < doctor->port_count && !found->any; i++)
        if (!doctor->ports[i].iwarp && !doctor->ports[i].infiniband)
            find_in_port(doctor, &doctor->ports[i], want, netdev, found);
}

static const struct rdma_port *port_of_netdev(const struct doctor *doctor, const char *netdev)
{
    struct name_list list;
    char path[256];
    for (unsigned i = 0; i < doctor->port_count; i++)
        if (!strcmp(doctor->ports[i].netdev, netdev))
            return &doctor->ports[i];
    // IPoIB: the interface names the card, and its own port.
    snprintf(path, sizeof path, "/sys/class/net/%s/device/infiniband", netdev);
    tree_list(doctor, path, &list);
    int64_t number = tree_number(doctor, "/sys/class/net/%s/dev_port", netdev);
    for (unsigned i = 0; list.count && i < doctor->port_count; i++)
        if (!strcmp(doctor->ports[i].device, list.names[0]) &&
            (number < 0 || doctor->ports[i].number == (unsigned)number + 1))
            return &doctor->ports[i];
    return NULL;
}

// ---- a link over RDMA

static void no_device(struct doctor *doctor, const char *subject, const char *netdev, bool iwarp)
{
    char mend[200];
    if (!strcmp(netdev, "lo")) {
        doctor_find(doctor, FINDING_PROBLEM, subject,
                    "\"transport\": \"tcp\" # in the link, on both nodes",
                    "the link's address is of this machine alone: RDMA wants the address of a "
                    "card's interface; a pair on one machine is tied over tcp");
        return;
    }
    snprintf(mend, sizeof mend, "modprobe %s && rdma link add %s0 type %s netdev %s",
             iwarp ? "siw" : "rdma_rxe", iwarp ? "siw" : "rxe", iwarp ? "siw" : "rxe", netdev);
    doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                "no RDMA device is on %s, which has the link's address: is it the card's "
                "interface? Without a card, the soft one does for a trial",
                netdev);
}

static bool check_device_name(struct doctor *doctor, const char *subject,
                              const struct link_end *end, const struct rdma_port *port)
{
    char mend[200];
    if (!end->device[0] || !strcmp(end->device, port->device))
        return true;
    snprintf(mend, sizeof mend, "\"device\": \"%s\" # or none, in this node's section of the link",
             port->device);
    doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                "the configuration says device %.60s, the address %.60s is on %s", end->device,
                end->address, port->device);
    return false;
}

static bool check_roce(struct doctor *doctor, const char *subject, const struct link_end *end,
                       const char *netdev, const struct gid_found *found)
{
    const struct rdma_port *port = found->port;
    char mend[300];
    if (!found->any) {
        snprintf(mend, sizeof mend, "ip link set %s down && ip link set %s up", netdev, netdev);
        doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                    "the device %s has no GID for %.60s: its list of GIDs follows the addresses "
                    "of %s; see `rdma link show` and whether the address came before the device",
                    port->device, end->address, netdev);
        return false;
    }
    if (!found->version2) {
        snprintf(mend, sizeof mend,
                 "mkdir -p /sys/kernel/config/rdma_cm/%s && echo 'RoCE v2' > "
                 "/sys/kernel/config/rdma_cm/%s/ports/%u/default_roce_mode",
                 port->device, port->device, port->number);
        doctor_find(doctor, FINDING_WARNING, subject, mend,
                    "the GID for %.60s is of RoCE v1 only: it passes no router, and both nodes "
                    "must use the same version",
                    end->address);
        return true;
    }
    doctor_find(doctor, FINDING_OK, subject, NULL, "%.60s is GID %u of %s port %u, RoCE v2",
                end->address, found->index, port->device, port->number);
    return true;
}

// Whether this node's side could connect.
static bool check_rdma(struct doctor *doctor, const struct link_path *path)
{
    const struct link_end *end = &path->local;
    const char *transport = path->link->transport, *netdev = path->netdev, *subject = path->subject;
    bool iwarp = !strcmp(transport, "iwarp");
    struct gid_found found = {0};
    char mend[160];
    if (!iwarp)
        find_gid(doctor, end->address, netdev, &found);
    if (!found.any)
        found.port = port_of_netdev(doctor, netdev);
    if (!found.port) {
        no_device(doctor, subject, netdev, iwarp);
        return false;
    }
    if (found.port->iwarp != iwarp) {
        snprintf(mend, sizeof mend, "\"transport\": \"%s\" # in the link, on both nodes",
                 found.port->iwarp ? "iwarp" : "verbs");
        doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                    "the transport is %s, but %s is %s device", transport, found.port->device,
                    found.port->iwarp ? "an iWARP" : "an InfiniBand or RoCE");
        return false;
    }
    bool named = check_device_name(doctor, subject, end, found.port);
    if (!iwarp && !found.port->infiniband)
        return check_roce(doctor, subject, end, netdev, &found) && named;
    doctor_find(doctor, FINDING_OK, subject, NULL, "%.60s is on %s port %u", end->address,
                found.port->device, found.port->number);
    return named;
}

// ---- any link

static bool end_of(const struct config_link *link, int node, struct link_end *end)
{
    struct json_object *object = json_tokener_parse(link->nodes[node].json);
    snprintf(end->address, sizeof end->address, "%s", member_text(object, "address"));
    snprintf(end->device, sizeof end->device, "%s", member_text(object, "device"));
    end->port = (unsigned)member_int(object, "port");
    json_object_put(object);
    return end->address[0] != 0;
}

unsigned roce_mtu(int64_t mtu)
{
    unsigned carried = 4096;
    while (carried > 256 && carried + 96 > mtu)
        carried /= 2;
    return carried;
}

static void check_netdev(struct doctor *doctor, const char *subject, const char *netdev,
                         int64_t mtu, bool roce)
{
    char state[32], mend[160];
    tree_line(doctor, state, sizeof state, "/sys/class/net/%s/operstate", netdev);
    bool up = !strcmp(state, "up") || !strcmp(state, "unknown") || !state[0];
    snprintf(mend, sizeof mend, "ip link set %s up", netdev);
    if (!up) {
        doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                    "the interface %s is %s: is its cable in, and the other end on?", netdev,
                    state);
        return;
    }
    snprintf(mend, sizeof mend, "ip link set %s mtu 4200", netdev);
    if (mtu > 0 && roce && roce_mtu(mtu) < 1024)
        doctor_find(doctor, FINDING_WARNING, subject, mend,
                    "the interface %s has MTU %lld, so RoCE carries only %u bytes per packet; the "
                    "same on both nodes and on the switches between",
                    netdev, (long long)mtu, roce_mtu(mtu));
    else if (mtu > 0 && roce)
        doctor_find(doctor, FINDING_OK, subject, NULL,
                    "the interface %s is up, MTU %lld: %u bytes per packet%s", netdev,
                    (long long)mtu, roce_mtu(mtu),
                    roce_mtu(mtu) < 4096
                        ? " (4096 with an MTU of 4200, where all between the nodes "
                          "takes that)"
                        : "");
    else if (mtu > 0)
        doctor_find(doctor, FINDING_OK, subject, NULL, "the interface %s is up, MTU %lld", netdev,
                    (long long)mtu);
    else
        doctor_find(doctor, FINDING_OK, subject, NULL,
                    "the interface %s is there; /sys does not tell its state and MTU", netdev);
}

static bool check_link(struct doctor *doctor, const struct config_link *link, char *netdev)
{
    struct link_path path = {.link = link, .mtu = -1};
    char subject[96], mend[200];
    bool remote_known = end_of(link, 1 - doctor->node, &path.remote);
    netdev[0] = 0;
    if (!end_of(link, doctor->node, &path.local))
        return false; // a transport without addresses
    snprintf(subject, sizeof subject, "link %s", link->name);
    path.subject = subject;
    if (!doctor_plugin(doctor, link, subject))
        return false;
    const char *address = path.local.address;
    bool digits = strspn(address, "0123456789abcdefABCDEF:.") == strlen(address);
    if (digits && !find_netdev(doctor, address, netdev)) {
        snprintf(mend, sizeof mend, "ip address add %s/%s dev INTERFACE", address,
                 strchr(address, ':') ? "64" : "24");
        doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                    "no interface of this node has the link's address %s", address);
        return false;
    }
    if (netdev[0]) {
        memcpy(path.netdev, netdev, sizeof path.netdev);
        path.mtu = tree_number(doctor, "/sys/class/net/%s/mtu", netdev);
        check_netdev(doctor, subject, netdev, path.mtu, !strcmp(link->transport, "verbs"));
        if (link_is_rdma(link))
            path.rdma_here = check_rdma(doctor, &path);
    }
    if (!strcmp(netdev, "lo"))
        path.mtu = -1; // longer than any packet; there is nothing between
    if (remote_known)
        doctor_reach(doctor, &path);
    return netdev[0] != 0;
}

static void check_shared(struct doctor *doctor, const struct config_manager *manager,
                         char (*netdevs)[DOCTOR_NAME_BYTES], size_t count)
{
    if (count < 2) {
        if (manager->links_count == 1)
            doctor_find(doctor, FINDING_WARNING, "links",
                        "a second entry in \"links\", with addresses of another interface",
                        "manager %s has one link: one cable takes the pair apart", manager->name);
        return;
    }
    for (size_t i = 1; i < count; i++)
        if (strcmp(netdevs[0], netdevs[i]) != 0)
            return;
    if (strcmp(netdevs[0], "lo") != 0)
        doctor_find(doctor, FINDING_WARNING, "links",
                    "\"address\" in each link: one of an interface of its own (ip -br address)",
                    "all %zu links of manager %s are on the interface %s: one cable takes the pair "
                    "apart",
                    count, manager->name, netdevs[0]);
}

void doctor_links(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config->managers_count; i++) {
        const struct config_manager *manager = &doctor->config->managers[i];
        char netdevs[16][DOCTOR_NAME_BYTES];
        size_t count = 0;
        for (size_t j = 0; j < manager->links_count && j < 16; j++)
            count += check_link(doctor, &manager->links[j], netdevs[count]);
        check_shared(doctor, manager, netdevs, count);
    }
}
