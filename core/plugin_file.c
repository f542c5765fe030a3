// SPDX-License-Identifier: Apache-2.0
#include "core/plugin_file.h"

#include <carrick/error.h>

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY "carrick_plugin_entry"

// Length of the descriptor in version 1.0.
#define DESCRIPTOR_SIZE_FIRST                                                                      \
    (offsetof(struct carrick_plugin, ops) + sizeof(((struct carrick_plugin *)0)->ops))

const char *plugin_path_end(const char *path)
{
    enum { SHOWN = 100 };
    size_t length = strlen(path);
    return length > SHOWN ? path + length - SHOWN : path;
}

static int refuse_errno(struct carrick_error *error, const char *path, const char *what)
{
    int cause = errno;
    int status = cause == ENOENT ? CARRICK_ERR_NOT_FOUND : CARRICK_ERR_SYSTEM;
    return carrick_error_set(error, status, cause, "", "%s: %s: %s", plugin_path_end(path), what,
                             strerror(cause));
}

// ---- the file, before the dynamic linker sees it
// The linker maps what the program headers say, without asking how long the file is: one that was cut off, by a full
// disk or a broken copy, would end the daemon by SIGBUS.

static int check_segments(const char *path, int fd, uint64_t file_bytes, const ElfW(Ehdr) * header,
                          struct carrick_error *error)
{
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phnum == 0)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: is not a shared object of this machine: no program headers",
                                 plugin_path_end(path));
    for (unsigned i = 0; i < header->e_phnum; i++) {
        ElfW(Phdr) segment;
        uint64_t at = header->e_phoff + (uint64_t)i * sizeof(segment);
        bool whole = at + sizeof(segment) <= file_bytes && at >= header->e_phoff &&
                     pread(fd, &segment, sizeof(segment), (off_t)at) == (ssize_t)sizeof(segment);
        uint64_t end = whole ? segment.p_offset + segment.p_filesz : at + sizeof(segment);
        if (whole && (segment.p_type == PT_NULL || (end >= segment.p_offset && end <= file_bytes)))
            continue;
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: is cut off: it has %llu bytes and says that it has %llu; "
                                 "install it anew",
                                 plugin_path_end(path), (unsigned long long)file_bytes,
                                 (unsigned long long)end);
    }
    return CARRICK_OK;
}

static int check_elf(const char *path, int fd, struct carrick_error *error)
{
    struct stat st;
    if (fstat(fd, &st))
        return refuse_errno(error, path, "cannot be examined");
    if (!S_ISREG(st.st_mode))
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "", "%s: is not a regular file",
                                 plugin_path_end(path));
    ElfW(Ehdr) header;
    ssize_t got = pread(fd, &header, sizeof(header), 0);
    if (got < 0)
        return refuse_errno(error, path, "cannot be read");
    if ((size_t)got < sizeof(header) || memcmp(header.e_ident, ELFMAG, SELFMAG))
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: is not a shared object (no ELF file)", plugin_path_end(path));
    if (header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: is a shared object of another machine (word size)",
                                 plugin_path_end(path));
    if (header.e_type != ET_DYN)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: is an ELF file but no shared object; link it with -shared",
                                 plugin_path_end(path));
    return check_segments(path, fd, (uint64_t)st.st_size, &header, error);
}

// ---- opening

// dlsym also looks into the libraries that the file links with: an entry found there is another plugin's.
static int find_plugin(const char *path, struct plugin_file *file, struct carrick_error *error)
{
    void *symbol = dlsym(file->handle, ENTRY);
    if (!symbol)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: is not a Carrick plugin: it has no symbol " ENTRY
                                 " (see CARRICK_PLUGIN_REGISTER)",
                                 plugin_path_end(path));
    struct link_map *own = NULL;
    struct link_map *owner = NULL;
    Dl_info info;
    if (dlinfo(file->handle, RTLD_DI_LINKMAP, &own) ||
        !dladdr1(symbol, &info, (void **)&owner, RTLD_DL_LINKMAP) || !own || own != owner)
        return carrick_error_set(
            error, CARRICK_ERR_INVALID, 0, "",
            "%s: is not a Carrick plugin: the symbol " ENTRY " belongs to %s, with which it links",
            plugin_path_end(path),
            owner && owner->l_name && owner->l_name[0] ? plugin_path_end(owner->l_name)
                                                       : "another file");
    const struct carrick_plugin *(*entry)(void);
    memcpy(&entry, &symbol, sizeof(entry));
    file->plugin = entry();
    return CARRICK_OK;
}

int plugin_file_open(const char *path, struct plugin_file *file, struct carrick_error *error)
{
    *file = (struct plugin_file){0};
    // A FIFO must not hold us up.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse_errno(error, path, "cannot be opened");
    int status = check_elf(path, fd, error);
    close(fd);
    if (status)
        return status;
    file->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!file->handle) {
        // The linker's text begins with the path where it concerns the file itself.
        const char *cause = dlerror();
        size_t length = strlen(path);
        if (!strncmp(cause, path, length) && cause[length] == ':')
            cause += length + 1 + (cause[length + 1] == ' ');
        return carrick_error_set(
            error, CARRICK_ERR_INVALID, 0, "",
            "%s: cannot be loaded: %s (a plugin may use nothing of the daemon; "
            "link it with -Wl,-z,defs)",
            plugin_path_end(path), cause);
    }
    status = find_plugin(path, file, error);
    if (status)
        plugin_file_close(file);
    return status;
}

void plugin_file_close(struct plugin_file *file)
{
    if (file->handle)
        dlclose(file->handle);
    *file = (struct plugin_file){0};
}

// ---- the descriptor

int plugin_check_layout(const char *where, const struct carrick_plugin *plugin,
                        struct carrick_error *error)
{
    if (!plugin)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: its " ENTRY " returned nothing", plugin_path_end(where));
    if (plugin->abi_major != CARRICK_ABI_MAJOR)
        return carrick_error_set(
            error, CARRICK_ERR_VERSION, 0, "",
            "%s: was built for plugin ABI %u.%u; this program takes %d.0 to %d.%d: "
            "install the build for that",
            plugin_path_end(where), plugin->abi_major, plugin->abi_minor, CARRICK_ABI_MAJOR,
            CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR);
    if (plugin->struct_size < DESCRIPTOR_SIZE_FIRST)
        return carrick_error_set(
            error, CARRICK_ERR_VERSION, 0, "",
            "%s: its descriptor has %u bytes, version %d.0's has %zu; build it "
            "with the headers of carrick",
            plugin_path_end(where), plugin->struct_size, CARRICK_ABI_MAJOR, DESCRIPTOR_SIZE_FIRST);
    return CARRICK_OK;
}

static bool name_is_valid(const char *name)
{
    size_t length = 0;
    for (; name[length]; length++) {
        char c = name[length];
        if (length == CARRICK_NAME_MAX ||
            !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return length > 0;
}

static int check_names(const char *where, const char *file_name,
                       const struct carrick_plugin *plugin, struct carrick_error *error)
{
    if (!plugin->name || !plugin->version || !plugin->licence || !plugin->description)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: name, version, licence or description is missing in its "
                                 "descriptor",
                                 plugin_path_end(where));
    if (!name_is_valid(plugin->name))
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: calls itself \"%.40s\"; a name is 1 to %d of a-z, 0-9 and _",
                                 plugin_path_end(where), plugin->name, CARRICK_NAME_MAX);
    if (file_name && strcmp(plugin->name, file_name))
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: calls itself \"%s\"; the file must be named %s.so",
                                 plugin_path_end(where), plugin->name, plugin->name);
    return CARRICK_OK;
}

static int check_versions(const char *where, const struct carrick_plugin *plugin,
                          const struct plugin_kind *kind, struct carrick_error *error)
{
    if (plugin->abi_minor > CARRICK_ABI_MINOR)
        return carrick_error_set(
            error, CARRICK_ERR_VERSION, 0, "",
            "%s: %s %.32s was built for plugin ABI %u.%u and may need what this "
            "program lacks, which takes %d.0 to %d.%d: upgrade carrick, or "
            "install an older build",
            plugin_path_end(where), plugin->name, plugin->version, plugin->abi_major,
            plugin->abi_minor, CARRICK_ABI_MAJOR, CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR);
    if (kind->exact && (plugin->abi_minor != CARRICK_ABI_MINOR || plugin->ops_size != kind->size))
        return carrick_error_set(
            error, CARRICK_ERR_VERSION, 0, "",
            "%s: a %s must match exactly: it was built for plugin ABI %u.%u with "
            "a table of %u bytes, this program has %d.%d and %u",
            plugin_path_end(where), kind->name, plugin->abi_major, plugin->abi_minor,
            plugin->ops_size, CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR, kind->size);
    if (plugin->ops_size < kind->size_first)
        return carrick_error_set(
            error, CARRICK_ERR_VERSION, 0, "",
            "%s: its table for a %s has %u bytes, version %d.0's has %u; build "
            "it with the headers of carrick",
            plugin_path_end(where), kind->name, plugin->ops_size, CARRICK_ABI_MAJOR,
            kind->size_first);
    return CARRICK_OK;
}

int plugin_check(const char *where, const char *file_name, const struct carrick_plugin *plugin,
                 const struct plugin_kind **kind, void **table, char *optional,
                 size_t optional_size, struct carrick_error *error)
{
    *table = NULL;
    int status = plugin_check_layout(where, plugin, error);
    if (!status)
        status = check_names(where, file_name, plugin, error);
    if (status)
        return status;
    *kind = plugin_kind_find(plugin->kind);
    if (!*kind)
        return carrick_error_set(
            error, CARRICK_ERR_VERSION, 0, "",
            "%s: is of kind %u, which this program (plugin ABI %d.%d) does not "
            "know",
            plugin_path_end(where), plugin->kind, CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR);
    status = check_versions(where, plugin, *kind, error);
    if (status)
        return status;
    if (!plugin->ops)
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: has no table of operations", plugin_path_end(where));
    *table = malloc((*kind)->size);
    if (!*table)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "%s: no memory for its table",
                                 plugin_path_end(where));
    const char *required;
    status = plugin_kind_fill(*kind, plugin->ops, plugin->ops_size, *table, &required, optional,
                              optional_size);
    if (status) {
        free(*table);
        *table = NULL;
        return carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                 "%s: the operation \"%s\", which every %s must have, is missing",
                                 plugin_path_end(where), required, (*kind)->name);
    }
    return CARRICK_OK;
}
