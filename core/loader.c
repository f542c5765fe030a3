// SPDX-License-Identifier: Apache-2.0
#include "core/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/plugin_file.h"

#include <carrick/error.h>

struct module {
    struct module *next;
    struct loader *loader;
    char *path;
    struct plugin_file file; // handle NULL: linked into this program
    const struct plugin_kind *kind;
    void *table;
    unsigned references;
};

// One lock guards the list and the counts. It is held while a file is loaded, so that two managers that ask for one
// plugin at once get one module. What a module points to is constant from the first loader_get on.
struct loader {
    pthread_mutex_t lock;
    struct module *modules;
    size_t dirs_count;
    char **dirs;
};

static bool is_static(const struct module *module)
{
    return !module->file.handle;
}

static void module_free(struct module *module)
{
    plugin_file_close(&module->file);
    free(module->table);
    free(module->path);
    free(module);
}

// ---- the loader

struct loader *loader_create(const char *const *dirs, size_t count)
{
    struct loader *loader = calloc(1, sizeof(*loader));
    if (!loader)
        return NULL;
    pthread_mutex_init(&loader->lock, NULL);
    loader->dirs = calloc(count ? count : 1, sizeof(*loader->dirs));
    for (size_t i = 0; loader->dirs && i < count; i++) {
        loader->dirs[i] = strdup(dirs[i]);
        if (!loader->dirs[i])
            break;
        loader->dirs_count++;
    }
    if (!loader->dirs || loader->dirs_count < count) {
        loader_destroy(loader);
        return NULL;
    }
    return loader;
}

void loader_destroy(struct loader *loader)
{
    if (!loader)
        return;
    while (loader->modules) {
        struct module *module = loader->modules;
        loader->modules = module->next;
        module_free(module);
    }
    for (size_t i = 0; i < loader->dirs_count; i++)
        free(loader->dirs[i]);
    free(loader->dirs);
    pthread_mutex_destroy(&loader->lock);
    free(loader);
}

// Checks what file holds and adds the module, with no reference yet. Takes file and path over, also on error.
static int add_module(struct loader *loader, struct plugin_file *file, char *path,
                      const char *file_name, struct module **added, struct carrick_error *error)
{
    struct module *module = calloc(1, sizeof(*module));
    if (!module) {
        plugin_file_close(file);
        free(path);
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory for a plugin");
    }
    module->loader = loader;
    module->path = path;
    module->file = *file;
    int status =
        plugin_check(path, file_name, file->plugin, &module->kind, &module->table, NULL, 0, error);
    if (status) {
        module_free(module);
        return status;
    }
    module->next = loader->modules;
    loader->modules = module;
    *added = module;
    return CARRICK_OK;
}

static struct module *find_module(struct loader *loader, const char *name)
{
    for (struct module *module = loader->modules; module; module = module->next)
        if (!strcmp(module->file.plugin->name, name))
            return module;
    return NULL;
}

int loader_add_static(struct loader *loader, const struct carrick_plugin *(*entry)(void),
                      struct carrick_error *error)
{
    struct plugin_file file = {NULL, entry()};
    int status = plugin_check_layout("(built in)", file.plugin, error);
    if (status)
        return status;
    char *path = strdup("(built in)");
    if (!path)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory for a plugin");
    pthread_mutex_lock(&loader->lock);
    struct module *module;
    if (file.plugin->name && find_module(loader, file.plugin->name)) {
        free(path);
        status = carrick_error_set(error, CARRICK_ERR_EXISTS, 0, "",
                                   "there is a plugin \"%s\" already", file.plugin->name);
    } else {
        status = add_module(loader, &file, path, NULL, &module, error);
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

// ---- finding a file

static int refuse_unfound(const struct loader *loader, const char *kind, const char *name,
                          struct carrick_error *error)
{
    char where[160] = "";
    for (size_t i = 0; i < loader->dirs_count; i++) {
        size_t used = strlen(where);
        const char *dir = plugin_path_end(loader->dirs[i]);
        if (used + strlen(dir) + 3 > sizeof(where))
            break;
        snprintf(where + used, sizeof(where) - used, "%s%s", used ? ", " : "", dir);
    }
    return carrick_error_set(
        error, CARRICK_ERR_NOT_FOUND, 0, "",
        "there is no plugin \"%s\": no %s.so in %s; install it, or name another %s", name, name,
        where[0] ? where : "any directory", kind);
}

// The first directory that has the file decides: were a refused one passed over, a file in a later directory would
// run in its place unnoticed.
static char *find_path(const struct loader *loader, const char *name)
{
    for (size_t i = 0; i < loader->dirs_count; i++) {
        char *path;
        if (asprintf(&path, "%s%s/%s.so", strchr(loader->dirs[i], '/') ? "" : "./", loader->dirs[i],
                     name) < 0)
            return NULL;
        if (!access(path, F_OK) || (errno != ENOENT && errno != ENOTDIR))
            return path;
        free(path);
    }
    return NULL;
}

static int load(struct loader *loader, const char *kind, const char *name, struct module **module,
                struct carrick_error *error)
{
    if (strchr(name, '/') || !name[0])
        return carrick_error_set(
            error, CARRICK_ERR_INVALID, 0, "",
            "\"%.40s\" cannot be a plugin's name; a name is 1 to %d of a-z, 0-9 "
            "and _",
            name, CARRICK_NAME_MAX);
    char *path = find_path(loader, name);
    if (!path)
        return refuse_unfound(loader, kind, name, error);
    struct plugin_file file;
    int status = plugin_file_open(path, &file, error);
    if (status) {
        free(path);
        return status;
    }
    return add_module(loader, &file, path, name, module, error);
}

// ---- modules

static void drop_if_unused(struct loader *loader, struct module *module)
{
    if (module->references || is_static(module))
        return;
    struct module **link = &loader->modules;
    while (*link != module)
        link = &(*link)->next;
    *link = module->next;
    module_free(module);
}

int loader_get(struct loader *loader, uint32_t kind, const char *name, struct module **module,
               struct carrick_error *error)
{
    *module = NULL;
    pthread_mutex_lock(&loader->lock);
    struct module *found = find_module(loader, name);
    int status = found ? CARRICK_OK : load(loader, kind_name(kind), name, &found, error);
    if (!status && found->kind->kind != kind) {
        status = carrick_error_set(error, CARRICK_ERR_INVALID, 0, "",
                                   "%s: %s %.32s is a %s, where a %s is wanted",
                                   plugin_path_end(found->path), name, found->file.plugin->version,
                                   found->kind->name, kind_name(kind));
        drop_if_unused(loader, found);
    } else if (!status) {
        found->references++;
        *module = found;
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

void module_put(struct module *module)
{
    if (!module)
        return;
    struct loader *loader = module->loader;
    pthread_mutex_lock(&loader->lock);
    module->references--;
    drop_if_unused(loader, module);
    pthread_mutex_unlock(&loader->lock);
}

const void *module_ops(const struct module *module)
{
    return module->table;
}

const struct carrick_plugin *module_plugin(const struct module *module)
{
    return module->file.plugin;
}

const char *module_path(const struct module *module)
{
    return module->path;
}

void loader_each(struct loader *loader, void (*fn)(const struct module *module, void *arg),
                 void *arg)
{
    pthread_mutex_lock(&loader->lock);
    for (struct module *module = loader->modules; module; module = module->next)
        fn(module, arg);
    pthread_mutex_unlock(&loader->lock);
}

const char *kind_name(uint32_t kind)
{
    const struct plugin_kind *found = plugin_kind_find(kind);
    return found ? found->name : "unknown kind";
}

// ---- inspection

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

// NAME of /dir/NAME.so: what the plugin in it must be called.
static char *name_of_file(const char *path)
{
    const char *base = strrchr(path, '/');
    char *name = strdup(base ? base + 1 : path);
    size_t length = name ? strlen(name) : 0;
    if (length > 3 && !strcmp(name + length - 3, ".so"))
        name[length - 3] = 0;
    return name;
}

static int inspect_plugin(const char *path, const struct carrick_plugin *plugin,
                          struct module_report *report, struct carrick_error *error)
{
    copy(report->name, sizeof(report->name), plugin->name);
    copy(report->version, sizeof(report->version), plugin->version);
    copy(report->licence, sizeof(report->licence), plugin->licence);
    copy(report->description, sizeof(report->description), plugin->description);
    report->kind = plugin->kind;
    report->ops_size = plugin->ops_size;
    const struct plugin_kind *kind = plugin_kind_find(report->kind);
    report->ops_size_core = kind ? kind->size : 0;
    char *name = name_of_file(path);
    void *table = NULL;
    int status = !name ? carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory")
                       : plugin_check(path, name, plugin, &kind, &table, report->missing_optional,
                                      sizeof(report->missing_optional), error);
    free(name);
    free(table);
    return status;
}

static int inspect(const char *path, struct module_report *report, struct carrick_error *error)
{
    struct plugin_file file;
    int status = plugin_file_open(path, &file, error);
    if (status)
        return status;
    report->abi_major = file.plugin ? file.plugin->abi_major : 0;
    report->abi_minor = file.plugin ? file.plugin->abi_minor : 0;
    status = plugin_check_layout(path, file.plugin, error);
    if (!status)
        status = inspect_plugin(path, file.plugin, report, error);
    plugin_file_close(&file);
    return status;
}

int module_inspect(const char *path, struct module_report *report, struct carrick_error *error)
{
    *report = (struct module_report){0};
    char *with_slash = NULL;
    // Without a slash the dynamic linker would search its own directories.
    if (asprintf(&with_slash, "%s%s", strchr(path, '/') ? "" : "./", path) < 0)
        return carrick_error_set(error, CARRICK_ERR_NO_MEMORY, 0, "", "no memory");
    int status = inspect(with_slash, report, error);
    free(with_slash);
    return status;
}
