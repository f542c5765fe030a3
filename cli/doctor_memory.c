// SPDX-License-Identifier: Apache-2.0
//
// Memory and files that the configuration asks for: locked memory for RDMA, huge pages, room for logs, the cluster key.

#include "cli/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
// What a manager registers for itself on each link: status line, tables, send buffers.
#define MANAGER_BYTES (4 * MIB)
#define HUGE_BYTES (2 * MIB)
#define CAP_IPC_LOCK_BIT 14
#define DEFAULT_LOG_PLUGIN "nvram_shadow"
#define MAKE_KEY "(umask 077; head -c 32 /dev/urandom | base64 > " // and the file's name, and )

static void with_root(const struct doctor *doctor, const char *path, char *whole, size_t size)
{
    snprintf(whole, size, "%s%s", doctor->root, path);
}

// ---- the groups' logs

struct log_file {
    const char *name, *backing;
    char *path; // expanded for this node
    uint64_t bytes;
};

static void each_log(const struct doctor *doctor, const struct config_manager *manager,
                     void (*fn)(void *arg, const struct log_file *log), void *arg)
{
    for (size_t i = 0; i < manager->clients_count; i++) {
        if (strcmp(manager->clients[i].plugin, DEFAULT_LOG_PLUGIN) != 0)
            continue;
        struct json_object *section = json_tokener_parse(manager->clients[i].config.json);
        struct json_object *groups = member_array(section, "groups");
        for (size_t j = 0; j < array_length(groups); j++) {
            struct json_object *group = json_object_array_get_idx(groups, j);
            struct log_file log = {
                .name = member_text(group, "name"),
                .backing = member_text(group, "backing"),
                .path = config_expand_node(member_text(group, "path"),
                                           doctor->config->nodes[doctor->node]),
                .bytes = (uint64_t)member_int(group, "log_bytes"),
            };
            if (log.path)
                fn(arg, &log);
            free(log.path);
        }
        json_object_put(section);
    }
}

// ---- locked memory

static void add_log(void *arg, const struct log_file *log)
{
    *(uint64_t *)arg += log->bytes;
}

// Memory counts once for each registration, and a region is registered on each link.
static uint64_t locked_bytes(const struct doctor *doctor)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < doctor->config->managers_count; i++) {
        const struct config_manager *manager = &doctor->config->managers[i];
        uint64_t each = MANAGER_BYTES, links = 0;
        for (size_t j = 0; j < manager->links_count; j++)
            links += link_is_rdma(&manager->links[j]);
        each_log(doctor, manager, add_log, &each);
        bytes += links * each;
    }
    return bytes;
}

struct locker {
    bool daemon; // it runs; else what is known is of this command's own process
    int pid;
    bool unlimited;
    uint64_t limit;
};

static bool limit_in_line(void *arg, const char *line)
{
    struct locker *locker = arg;
    char text[32];
    if (sscanf(line, "Max locked memory %31s", text) != 1)
        return false;
    locker->unlimited = !strcmp(text, "unlimited");
    locker->limit = strtoull(text, NULL, 10);
    return true;
}

static bool capability_in_line(void *arg, const char *line)
{
    unsigned long long bits;
    if (sscanf(line, "CapEff: %llx", &bits) != 1)
        return false;
    // Whoever has it is not limited.
    if (bits >> CAP_IPC_LOCK_BIT & 1)
        ((struct locker *)arg)->unlimited = true;
    return true;
}

// The newest process of that name; 0: none runs.
static int daemon_pid(const struct doctor *doctor)
{
    char path[512], name[32];
    int newest = 0;
    with_root(doctor, "/proc", path, sizeof path);
    DIR *directory = opendir(path);
    if (!directory)
        return 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        int pid = atoi(entry->d_name);
        if (pid > newest && tree_line(doctor, name, sizeof name, "/proc/%d/comm", pid) &&
            !strcmp(name, "carrickd"))
            newest = pid;
    }
    closedir(directory);
    return newest;
}

static void find_locker(const struct doctor *doctor, struct locker *locker)
{
    char path[64];
    locker->pid = daemon_pid(doctor);
    locker->daemon = locker->pid > 0;
    if (locker->daemon)
        snprintf(path, sizeof path, "/proc/%d/limits", locker->pid);
    else
        snprintf(path, sizeof path, "/proc/self/limits");
    if (!tree_each_line(doctor, path, limit_in_line, locker))
        locker->unlimited = true; // cannot be seen: nothing is said against it
    if (locker->daemon)
        snprintf(path, sizeof path, "/proc/%d/status", locker->pid);
    else
        snprintf(path, sizeof path, "/proc/self/status");
    tree_each_line(doctor, path, capability_in_line, locker);
}

static void check_locked(struct doctor *doctor)
{
    struct locker locker = {0};
    uint64_t need = locked_bytes(doctor);
    char needed[32], limit[32];
    find_locker(doctor, &locker);
    text_bytes(need, needed, sizeof needed);
    text_bytes(locker.limit, limit, sizeof limit);
    if (locker.unlimited)
        doctor_find(doctor, FINDING_OK, "locked memory", NULL,
                    "the links over RDMA lock at least %s; %s may lock any amount", needed,
                    locker.daemon ? "carrickd" : "this user");
    else if (locker.limit >= need)
        doctor_find(doctor, FINDING_OK, "locked memory", NULL,
                    "the links over RDMA lock at least %s; %s may lock %s", needed,
                    locker.daemon ? "carrickd" : "this user", limit);
    else if (locker.daemon)
        doctor_find(doctor, FINDING_PROBLEM, "locked memory",
                    "mkdir -p /etc/systemd/system/carrickd.service.d && printf "
                    "'[Service]\\nLimitMEMLOCK=infinity\\n' > "
                    "/etc/systemd/system/carrickd.service.d/memlock.conf && systemctl "
                    "daemon-reload && systemctl restart carrickd",
                    "the links over RDMA lock at least %s, and carrickd (process %d) may lock "
                    "only %s",
                    needed, locker.pid, limit);
    else
        doctor_find(doctor, FINDING_WARNING, "locked memory", "ulimit -l unlimited",
                    "the links over RDMA lock at least %s, and what this user starts may lock "
                    "only %s; the unit carrickd.service has no limit",
                    needed, limit);
}

// ---- what a log lies on

struct mount_search {
    const char *path;
    size_t length; // of the longest that holds the path
    char type[32];
};

static bool mount_in_line(void *arg, const char *line)
{
    struct mount_search *search = arg;
    char where[256], type[32];
    if (sscanf(line, "%*s %255s %31s", where, type) != 2)
        return false;
    size_t length = strlen(where);
    bool holds = !strcmp(where, "/") ||
                 (!strncmp(search->path, where, length) && search->path[length] == '/');
    if (holds && length >= search->length) {
        search->length = length;
        memcpy(search->type, type, sizeof search->type);
    }
    return false; // a later mount hides an earlier one
}

static void mount_type(const struct doctor *doctor, const char *path, char *type, size_t size)
{
    struct mount_search search = {.path = path};
    tree_each_line(doctor, "/proc/mounts", mount_in_line, &search);
    snprintf(type, size, "%s", search.type);
}

// What is there already takes no more room.
static bool has_room(const struct doctor *doctor, const struct log_file *log, uint64_t *room)
{
    char whole[512], *slash;
    struct statvfs fs;
    struct stat st;
    with_root(doctor, log->path, whole, sizeof whole);
    *room = stat(whole, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    slash = strrchr(whole, '/');
    if (slash)
        *slash = 0;
    if (statvfs(whole[0] ? whole : "/", &fs) != 0)
        return false;
    *room += (uint64_t)fs.f_bavail * fs.f_frsize;
    return true;
}

static void check_room(struct doctor *doctor, const char *subject, const struct log_file *log,
                       const char *type)
{
    char mend[300], wanted[32], there[32];
    uint64_t room;
    if (!has_room(doctor, log, &room)) {
        snprintf(mend, sizeof mend, "mkdir -p \"$(dirname %.200s)\"", log->path);
        doctor_find(doctor, FINDING_PROBLEM, subject, mend, "the directory of %.200s is not there",
                    log->path);
        return;
    }
    text_bytes(log->bytes, wanted, sizeof wanted);
    text_bytes(room, there, sizeof there);
    if (!strcmp(type, "tmpfs"))
        snprintf(mend, sizeof mend,
                 "mount -o remount,size=%lluM \"$(df --output=target \"$(dirname %.180s)\" | "
                 "tail -n 1)\"",
                 (unsigned long long)((log->bytes + log->bytes / 8) / MIB + 64), log->path);
    else
        snprintf(mend, sizeof mend,
                 "df -h \"$(dirname %.180s)\" # and another \"path\", or smaller \"log_bytes\"",
                 log->path);
    if (room < log->bytes)
        doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                    "%.200s wants %s, and there is room for %s", log->path, wanted, there);
    else
        doctor_find(doctor, FINDING_OK, subject, NULL, "%.200s on %s has room for its %s",
                    log->path, type[0] ? type : "its file system", wanted);
}

static void check_huge(struct doctor *doctor, const char *subject, const struct log_file *log)
{
    static const char at[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    char mend[200];
    int64_t free_pages = tree_number(doctor, "%s/free_hugepages", at),
            pages = tree_number(doctor, "%s/nr_hugepages", at),
            wanted = (int64_t)((log->bytes + HUGE_BYTES - 1) / HUGE_BYTES) + 1;
    if (tree_is_there(doctor, "%s", log->path)) {
        doctor_find(doctor, FINDING_OK, subject, NULL, "%.200s is there and has its huge pages",
                    log->path);
        return;
    }
    snprintf(mend, sizeof mend,
             "sysctl -w vm.nr_hugepages=%lld | tee /etc/sysctl.d/60-carrick.conf",
             (long long)((pages > 0 ? pages : 0) + wanted - (free_pages > 0 ? free_pages : 0)));
    if (free_pages < wanted)
        doctor_find(doctor, FINDING_PROBLEM, subject, mend,
                    "%.200s wants %lld huge pages of 2 MiB, and %lld are free", log->path,
                    (long long)wanted, (long long)(free_pages > 0 ? free_pages : 0));
    else
        doctor_find(doctor, FINDING_OK, subject, NULL,
                    "%.200s wants %lld huge pages of 2 MiB, and %lld are free", log->path,
                    (long long)wanted, (long long)free_pages);
}

static void check_log(void *arg, const struct log_file *log)
{
    struct doctor *doctor = arg;
    char subject[96], type[32], mend[300];
    snprintf(subject, sizeof subject, "log of group %.40s", log->name);
    mount_type(doctor, log->path, type, sizeof type);
    if (!strcmp(log->backing, "tmpfs") || !strcmp(log->backing, "hugetlbfs")) {
        if (strcmp(type, log->backing) != 0) {
            snprintf(mend, sizeof mend,
                     "mkdir -p \"$(dirname %.120s)\" && mount -t %s none \"$(dirname %.120s)\"",
                     log->path, log->backing, log->path);
            doctor_find(doctor, FINDING_PROBLEM, subject, mend, "%.200s lies on %s, not on %s",
                        log->path, type[0] ? type : "an unknown file system", log->backing);
            return;
        }
    }
    if (!strcmp(log->backing, "hugetlbfs"))
        check_huge(doctor, subject, log);
    else if (!strcmp(log->backing, "tmpfs") || !strcmp(log->backing, "file"))
        check_room(doctor, subject, log, type);
    else if (!strcmp(log->backing, "dax") && !tree_is_there(doctor, "%s", log->path))
        doctor_find(doctor, FINDING_PROBLEM, subject,
                    "ndctl create-namespace --mode=devdax --align=2M", "there is no device %.200s",
                    log->path);
}

void doctor_memory(struct doctor *doctor)
{
    if (!doctor->config)
        return;
    if (doctor_rdma_links(doctor))
        check_locked(doctor);
    for (size_t i = 0; i < doctor->config->managers_count; i++)
        each_log(doctor, &doctor->config->managers[i], check_log, doctor);
}

// ---- the key

static void say_no_key(struct doctor *doctor, const char *path, int why)
{
    char mend[300];
    if (why == ENOENT)
        snprintf(mend, sizeof mend, "%s%.200s)", MAKE_KEY, path);
    else if (why == EACCES)
        snprintf(mend, sizeof mend, "sudo carrick doctor # only its owner reaches the key");
    else
        snprintf(mend, sizeof mend, "namei -l %.200s", path);
    doctor_find(doctor, FINDING_PROBLEM, "cluster key", mend, "the key file %.200s: %s%s", path,
                strerror(why),
                why == ENOENT ? "; it is made on one node and copied to the other" : "");
}

void doctor_key(struct doctor *doctor)
{
    const char *path = doctor->config->key_file;
    char whole[512], mend[300];
    struct stat st;
    with_root(doctor, path, whole, sizeof whole);
    if (stat(whole, &st) != 0) {
        say_no_key(doctor, path, errno);
        return;
    }
    snprintf(mend, sizeof mend, "chmod 600 %.200s", path);
    if (st.st_mode & 077) {
        doctor_find(doctor, FINDING_PROBLEM, "cluster key", mend,
                    "the key file %.200s has mode %04o: others than its owner have access", path,
                    (unsigned)st.st_mode & 07777);
        return;
    }
    snprintf(mend, sizeof mend, "chown root: %.200s", path);
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        doctor_find(doctor, FINDING_PROBLEM, "cluster key", mend,
                    "the key file %.200s belongs to user %u, who could change it", path,
                    (unsigned)st.st_uid);
        return;
    }
    snprintf(mend, sizeof mend, "%s%.200s)", MAKE_KEY, path);
    if (st.st_size < 32 || st.st_size > 4097)
        doctor_find(doctor, FINDING_PROBLEM, "cluster key", mend,
                    "the key file %.200s has %lld bytes; a key has 32 to 4096, and is the same on "
                    "both nodes",
                    path, (long long)st.st_size);
    else
        doctor_find(doctor, FINDING_OK, "cluster key", NULL,
                    "%.200s; sha256sum tells whether it is the same on both nodes", path);
}
