// SPDX-License-Identifier: Apache-2.0
//
// RDMA on this node, whatever links there are: kernel modules, device files, devices and their ports.

#include "cli/doctor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IB "/sys/class/infiniband"

bool link_is_rdma(const struct config_link *link)
{
    return !strcmp(link->transport, "verbs") || !strcmp(link->transport, "iwarp");
}

unsigned doctor_rdma_links(const struct doctor *doctor)
{
    unsigned count = 0;
    for (size_t i = 0; doctor->config && i < doctor->config->managers_count; i++)
        for (size_t j = 0; j < doctor->config->managers[i].links_count; j++)
            count += link_is_rdma(&doctor->config->managers[i].links[j]);
    return count;
}

// Of what only RDMA wants: it stands in the way of links over RDMA, and of nothing else.
static enum finding_level serious(const struct doctor *doctor)
{
    return doctor_rdma_links(doctor) ? FINDING_PROBLEM : FINDING_WARNING;
}

// ---- modules

struct module_search {
    char file[DOCTOR_NAME_BYTES + 8];
};

static bool names_module(void *arg, const char *line)
{
    const struct module_search *search = arg;
    const char *colon = strpbrk(line, ":\n"), *slash = line;
    for (const char *at = line; at != colon && *at; at++)
        if (*at == '/')
            slash = at + 1;
    return !strncmp(slash, search->file, strlen(search->file));
}

// A name may be written with either sign in the file's name.
static bool kernel_has(const struct doctor *doctor, const char *module)
{
    static const char *const lists[] = {"modules.dep", "modules.builtin"};
    char release[128], path[256];
    if (!tree_line(doctor, release, sizeof release, "/proc/sys/kernel/osrelease"))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        struct module_search search;
        snprintf(search.file, sizeof search.file, "%s.ko", module);
        for (char *at = search.file; i % 2 && *at; at++)
            *at = *at == '_' ? '-' : *at;
        snprintf(path, sizeof path, "/lib/modules/%s/%s", release, lists[i / 2]);
        if (tree_each_line(doctor, path, names_module, &search))
            return true;
    }
    return false;
}

static bool id_in_line(void *arg, const char *line)
{
    return sscanf(line, "ID=%*1[\"]%31[a-z]", (char *)arg) == 1 ||
           sscanf(line, "ID=%31[a-z]", (char *)arg) == 1;
}

// What installs the modules that a distribution keeps apart from its smallest kernel.
static void further_modules(const struct doctor *doctor, char *command, size_t size)
{
    char id[32] = "";
    tree_each_line(doctor, "/etc/os-release", id_in_line, id);
    if (!strcmp(id, "debian"))
        snprintf(command, size,
                 "apt-get install linux-image-$(dpkg --print-architecture) # and boot it");
    else if (!strcmp(id, "ubuntu"))
        snprintf(command, size, "apt-get install linux-modules-extra-$(uname -r)");
    else if (!strcmp(id, "fedora") || !strcmp(id, "rhel") || !strcmp(id, "rocky") ||
             !strcmp(id, "almalinux") || !strcmp(id, "centos"))
        snprintf(command, size, "dnf install kernel-modules-extra-$(uname -r)");
    else
        snprintf(command, size,
                 "grep INFINIBAND /boot/config-$(uname -r) # what it was built with");
}

static void check_module(struct doctor *doctor, const char *module, const char *evidence,
                         const char *why, enum finding_level level)
{
    char subject[80], mend[200];
    snprintf(subject, sizeof subject, "module %s", module);
    if (tree_is_there(doctor, "/sys/module/%s", module) ||
        (evidence && tree_is_there(doctor, "%s", evidence))) {
        doctor_find(doctor, FINDING_OK, subject, NULL, "is there");
        return;
    }
    snprintf(mend, sizeof mend, "modprobe %s && echo %s >> /etc/modules-load.d/carrick.conf",
             module, module);
    if (kernel_has(doctor, module)) {
        doctor_find(doctor, level, subject, mend, "is not loaded: %s", why);
        return;
    }
    further_modules(doctor, mend, sizeof mend);
    doctor_find(doctor, level, subject, mend,
                "this kernel does not have it: %s; install the package with the kernel's "
                "further modules, or a kernel that has it%s",
                why, !strcmp(module, "siw") ? " (Debian's has no siw, see docs/rdma.md)" : "");
}

static bool uses_device(const struct doctor *doctor, const char *prefix)
{
    struct name_list devices;
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"device\":\"%s", prefix);
    tree_list(doctor, IB, &devices);
    for (unsigned i = 0; i < devices.count; i++)
        if (!strncmp(devices.names[i], prefix, strlen(prefix)))
            return true;
    for (size_t i = 0; doctor->config && i < doctor->config->managers_count; i++) {
        const struct config_manager *manager = &doctor->config->managers[i];
        for (size_t j = 0; j < manager->links_count; j++)
            if (link_is_rdma(&manager->links[j]) &&
                strstr(manager->links[j].nodes[doctor->node].json, quoted))
                return true;
    }
    return false;
}

static void check_file(struct doctor *doctor, const char *path)
{
    char whole[256], mend[160];
    snprintf(whole, sizeof whole, "%s%s", doctor->root, path);
    snprintf(mend, sizeof mend, "chmod 666 %s", path);
    if (access(whole, R_OK | W_OK) != 0)
        doctor_find(doctor, FINDING_WARNING, path, mend,
                    "this user may not use it; carrickd as root may");
}

void doctor_modules(struct doctor *doctor)
{
    enum finding_level level = serious(doctor);
    // Without links over RDMA, a node that has no device needs nothing of this.
    if (doctor->config && !doctor_rdma_links(doctor) && !tree_is_there(doctor, IB))
        return;
    check_module(doctor, "ib_uverbs", "/dev/infiniband/uverbs0",
                 "programs cannot use RDMA devices without it", level);
    check_module(doctor, "rdma_ucm", "/dev/infiniband/rdma_cm",
                 "programs cannot make RDMA connections without it", level);
    if (uses_device(doctor, "rxe"))
        check_module(doctor, "rdma_rxe", NULL, "soft RoCE", level);
    if (uses_device(doctor, "siw"))
        check_module(doctor, "siw", NULL, "soft iWARP", level);
    if (tree_is_there(doctor, "/dev/infiniband/rdma_cm"))
        check_file(doctor, "/dev/infiniband/rdma_cm");
    else if (tree_is_there(doctor, "/sys/module/rdma_ucm"))
        doctor_find(doctor, level, "/dev/infiniband/rdma_cm", "udevadm trigger",
                    "the device file is missing though its module is loaded");
}

// ---- devices

static bool mac_matches(const struct doctor *doctor, const char *gid, const char *netdev)
{
    char mac[64], want[20], got[20];
    unsigned b[6];
    if (!tree_line(doctor, mac, sizeof mac, "/sys/class/net/%s/address", netdev) ||
        sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
        return false;
    snprintf(want, sizeof want, "%02x%02x:%02x%02x:%02x%02x:", b[0], b[1], b[2], b[3], b[4], b[5]);
    snprintf(got, sizeof got, "%.15s", gid);
    return !strcmp(want, got);
}

// Drivers tell it in different ways: the soft ones by an attribute or only by the hardware address in the GID.
static void port_netdev(const struct doctor *doctor, struct rdma_port *port)
{
    struct name_list list;
    char path[256], gid[64];
    if (tree_line(doctor, port->netdev, sizeof port->netdev, IB "/%s/ports/%u/gid_attrs/ndevs/0",
                  port->device, port->number) &&
        port->netdev[0])
        return;
    if (tree_line(doctor, port->netdev, sizeof port->netdev, IB "/%s/parent", port->device) &&
        tree_is_there(doctor, "/sys/class/net/%s", port->netdev))
        return;
    port->netdev[0] = 0;
    snprintf(path, sizeof path, IB "/%s/device/net", port->device);
    tree_list(doctor, path, &list);
    for (unsigned i = 0; i < list.count; i++) {
        int64_t number = tree_number(doctor, "/sys/class/net/%s/dev_port", list.names[i]);
        if (list.count == 1 || number + 1 == port->number)
            snprintf(port->netdev, sizeof port->netdev, "%s", list.names[i]);
    }
    if (port->netdev[0] ||
        !tree_line(doctor, gid, sizeof gid, IB "/%s/ports/%u/gids/0", port->device, port->number))
        return;
    tree_list(doctor, "/sys/class/net", &list);
    for (unsigned i = 0; i < list.count && !port->netdev[0]; i++)
        if (mac_matches(doctor, gid, list.names[i]))
            snprintf(port->netdev, sizeof port->netdev, "%s", list.names[i]);
}

// A port that no subnet manager has set up, one that was switched off, and one without a partner look alike in `state`.
static void check_infiniband_state(struct doctor *doctor, const struct rdma_port *port,
                                   const char *subject, const char *state)
{
    char physical[64], mend[160];
    if (strstr(state, "INIT")) {
        doctor_find(doctor, serious(doctor), subject, "systemctl start opensm",
                    "is %s: no subnet manager has set it up; one switch or node of "
                    "the fabric must run one",
                    state);
        return;
    }
    tree_line(doctor, physical, sizeof physical, IB "/%s/ports/%u/phys_state", port->device,
              port->number);
    if (strstr(physical, "Disabled")) {
        snprintf(mend, sizeof mend, "ibportstate -C %s -P %u -D 0 %u enable", port->device,
                 port->number, port->number);
        doctor_find(doctor, serious(doctor), subject, mend, "is %s: it was switched off", state);
        return;
    }
    snprintf(mend, sizeof mend, "ibstat %s %u # \"LinkUp\" once the cable is in at both ends",
             port->device, port->number);
    doctor_find(doctor, serious(doctor), subject, mend,
                "is %s%s%s: is the cable in, and the other end on?", state,
                physical[0] ? ", physically " : "", physical);
}

static void check_port_state(struct doctor *doctor, const struct rdma_port *port,
                             const char *subject, const char *state)
{
    char mend[160];
    if (port->infiniband) {
        check_infiniband_state(doctor, port, subject, state);
        return;
    }
    if (port->netdev[0])
        snprintf(mend, sizeof mend, "ip link set %s up", port->netdev);
    else
        snprintf(mend, sizeof mend, "rdma link show %s/%u", port->device, port->number);
    doctor_find(doctor, serious(doctor), subject, mend,
                "is %s: its network interface %s has no carrier or is not up", state,
                port->netdev[0] ? port->netdev : "(none is known)");
}

static void check_port(struct doctor *doctor, const char *device, const char *type, unsigned number)
{
    char subject[96], state[64], layer[32], rate[64], gid[64];
    if (doctor->port_count == DOCTOR_PORTS_MAX)
        return;
    struct rdma_port *port = &doctor->ports[doctor->port_count++];
    *port = (struct rdma_port){.number = number, .iwarp = strstr(type, "RNIC") != NULL};
    snprintf(port->device, sizeof port->device, "%s", device);
    tree_line(doctor, state, sizeof state, IB "/%s/ports/%u/state", device, number);
    tree_line(doctor, layer, sizeof layer, IB "/%s/ports/%u/link_layer", device, number);
    tree_line(doctor, rate, sizeof rate, IB "/%s/ports/%u/rate", device, number);
    port->infiniband = !strcmp(layer, "InfiniBand");
    port->active = strstr(state, "ACTIVE") != NULL;
    port_netdev(doctor, port);
    snprintf(subject, sizeof subject, "device %.60s port %u", device, number);
    if (!port->active) {
        check_port_state(doctor, port, subject, state[0] ? state : "in no known state");
        return;
    }
    tree_line(doctor, gid, sizeof gid, IB "/%s/ports/%u/gids/0", device, number);
    doctor_find(doctor, FINDING_OK, subject, NULL, "%s, active, %s%s%s%s%s",
                port->iwarp        ? "iWARP"
                : port->infiniband ? "InfiniBand"
                                   : "RoCE",
                rate[0] ? rate : "rate not told", port->netdev[0] ? ", on " : "", port->netdev,
                gid[0] ? ", first GID " : "", gid);
}

static void no_devices(struct doctor *doctor)
{
    static const char soft[] = "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev INTERFACE";
    unsigned links = doctor_rdma_links(doctor);
    if (doctor->config && !links)
        return;
    if (links)
        doctor_find(doctor, FINDING_PROBLEM, "devices", soft,
                    "there is no RDMA device, and %u link%s one: load the card's driver; without "
                    "a card, soft RoCE (or siw for iWARP) does for a trial",
                    links, links == 1 ? " wants" : "s want");
    else
        doctor_find(doctor, FINDING_WARNING, "devices", soft,
                    "there is no RDMA device: links over tcp only, unless over soft RoCE for a "
                    "trial");
}

void doctor_devices(struct doctor *doctor)
{
    struct name_list devices, ports;
    char type[64], path[256];
    tree_list(doctor, IB, &devices);
    if (devices.count == 0) {
        no_devices(doctor);
        return;
    }
    for (unsigned i = 0; i < devices.count; i++) {
        tree_line(doctor, type, sizeof type, IB "/%s/node_type", devices.names[i]);
        snprintf(path, sizeof path, IB "/%s/ports", devices.names[i]);
        tree_list(doctor, path, &ports);
        for (unsigned j = 0; j < ports.count; j++) {
            unsigned number = 0;
            if (sscanf(ports.names[j], "%3u", &number) == 1)
                check_port(doctor, devices.names[i], type, number);
        }
    }
    struct name_list files;
    tree_list(doctor, "/dev/infiniband", &files);
    for (unsigned i = 0; i < files.count; i++)
        if (!strncmp(files.names[i], "uverbs", 6)) {
            snprintf(path, sizeof path, "/dev/infiniband/%s", files.names[i]);
            check_file(doctor, path);
        }
}
