// SPDX-License-Identifier: Apache-2.0
//
// The loader, with plugins that are odd in one way each (tests/plugins/odd), and files that are no plugins.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <carrick/client.h>
#include <carrick/policy.h>
#include <carrick/transport.h>

#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/loader.h"
#include "core/plugin_file.h"

static char plugins[600]; // BUILD/test-plugins, where make puts the odd ones
static char scratch[64];
static struct loader *loader;
static struct carrick_error error;

static void begin(void)
{
    char self[512] = "";
    cr_assert(gt(sz, (size_t)readlink("/proc/self/exe", self, sizeof(self) - 1), 0));
    // BUILD/tests/unit/loader
    snprintf(plugins, sizeof(plugins), "%s/test-plugins", dirname(dirname(dirname(self))));
    strcpy(scratch, "/tmp/loader-test-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(scratch), NULL));
    const char *dirs[] = {scratch, plugins};
    loader = loader_create(dirs, 2);
    cr_assert(ne(ptr, loader, NULL));
    memset(&error, 0, sizeof(error));
    error.struct_size = sizeof(error);
}

static void end(void)
{
    loader_destroy(loader);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
    cr_assert(eq(int, system(command), 0));
}

TestSuite(loader, .init = begin, .fini = end);

static void expect_same(const char *text, const char *expected)
{
    cr_assert(zero(int, strcmp(text, expected)), "\"%s\" instead of \"%s\"", text, expected);
}

static void expect_text(const char *part)
{
    cr_assert(ne(ptr, strstr(error.text, part), NULL), "\"%s\" does not say \"%s\"", error.text,
              part);
}

// The plugin is refused with that status; the text names the file and holds part.
static void expect_refused(uint32_t kind, const char *name, int status, const char *part)
{
    struct module *module = (struct module *)&module;
    cr_assert(eq(int, loader_get(loader, kind, name, &module, &error), status), "%s", error.text);
    cr_assert(eq(ptr, module, NULL));
    cr_assert(eq(int, error.status, status));
    char file[64];
    snprintf(file, sizeof(file), "%s.so: ", name);
    expect_text(file);
    expect_text(part);
}

static void count_module(const struct module *module, void *arg)
{
    (void)module;
    ++*(unsigned *)arg;
}

static unsigned modules_loaded(void)
{
    unsigned count = 0;
    loader_each(loader, count_module, &count);
    return count;
}

Test(loader, good_plugin_is_loaded_shared_and_unloaded)
{
    struct module *first;
    struct module *second;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &first, &error), 0), "%s",
              error.text);
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &second, &error), 0));
    cr_assert(eq(ptr, first, second));
    cr_assert(eq(u32, modules_loaded(), 1));
    const struct carrick_policy_ops *ops = module_ops(first);
    struct carrick_policy_input input = {.struct_size = sizeof(input), .link_count = 1};
    cr_assert(eq(i32, ops->choose(NULL, &input), 0));
    expect_same(module_plugin(first)->name, "odd_good");
    char path[700];
    snprintf(path, sizeof(path), "%s/odd_good.so", plugins);
    expect_same(module_path(first), path);
    module_put(first);
    cr_assert(eq(u32, modules_loaded(), 1));
    cr_assert(eq(i32, ops->choose(NULL, &input), 0));
    module_put(second);
    cr_assert(eq(u32, modules_loaded(), 0));
}

Test(loader, larger_structs_than_ours_are_cut)
{
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "odd_large", &module, &error), 0),
              "%s", error.text);
    cr_assert(gt(u32, module_plugin(module)->ops_size, sizeof(struct carrick_policy_ops)));
    cr_assert(gt(u32, module_plugin(module)->struct_size, sizeof(struct carrick_plugin)));
    const struct carrick_policy_ops *ops = module_ops(module);
    struct carrick_policy_input input = {.struct_size = sizeof(input)};
    cr_assert(eq(i32, ops->choose(NULL, &input), CARRICK_POLICY_NONE));
    module_put(module);
}

Test(loader, table_smaller_than_the_first_version)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_small", CARRICK_ERR_VERSION, "has 8 bytes");
}

Test(loader, descriptor_smaller_than_the_first_version)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_descriptor", CARRICK_ERR_VERSION, "16 bytes");
}

Test(loader, wrong_kind)
{
    expect_refused(CARRICK_KIND_CLIENT, "odd_good", CARRICK_ERR_INVALID,
                   "odd_good 0.9 is a policy, where a client is wanted");
    cr_assert(eq(u32, modules_loaded(), 0));
}

Test(loader, wrong_kind_of_one_that_is_in_use)
{
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &module, &error), 0));
    expect_refused(CARRICK_KIND_TRANSPORT, "odd_good", CARRICK_ERR_INVALID, "is a policy");
    cr_assert(eq(u32, modules_loaded(), 1));
    module_put(module);
}

Test(loader, unknown_kind)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_kind", CARRICK_ERR_VERSION, "is of kind 99");
}

Test(loader, other_major_version)
{
    char had[64];
    char range[64];
    snprintf(had, sizeof(had), "ABI %d.%d", CARRICK_ABI_MAJOR + 1, CARRICK_ABI_MINOR);
    snprintf(range, sizeof(range), "takes %d.0 to %d.%d", CARRICK_ABI_MAJOR, CARRICK_ABI_MAJOR,
             CARRICK_ABI_MINOR);
    expect_refused(CARRICK_KIND_POLICY, "odd_major", CARRICK_ERR_VERSION, had);
    expect_text(range);
    expect_refused(CARRICK_KIND_POLICY, "odd_older_major", CARRICK_ERR_VERSION, range);
}

Test(loader, newer_minor_version)
{
    char had[64];
    snprintf(had, sizeof(had), "ABI %d.%d", CARRICK_ABI_MAJOR, CARRICK_ABI_MINOR + 1);
    expect_refused(CARRICK_KIND_POLICY, "odd_minor", CARRICK_ERR_VERSION, had);
    expect_text("upgrade carrick");
}

Test(loader, no_entry_symbol)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_symbol", CARRICK_ERR_INVALID,
                   "has no symbol carrick_plugin_entry");
}

Test(loader, entry_symbol_of_a_library_that_it_links)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_borrowed", CARRICK_ERR_INVALID, "odd_good.so, with");
    cr_assert(eq(u32, modules_loaded(), 0));
}

Test(loader, name_differs_from_the_file)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_name", CARRICK_ERR_INVALID,
                   "must be named another.so");
}

Test(loader, name_that_is_none)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_badname", CARRICK_ERR_INVALID, "\"Odd Name\"");
}

Test(loader, required_operation_is_missing)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_required", CARRICK_ERR_INVALID, "\"choose\"");
}

Test(loader, unresolved_symbol)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_unresolved", CARRICK_ERR_INVALID,
                   "carrick_manager_of_the_daemon");
}

Test(loader, entry_returns_nothing)
{
    expect_refused(CARRICK_KIND_POLICY, "odd_nothing", CARRICK_ERR_INVALID, "returned nothing");
}

Test(loader, wrapper_must_match_exactly)
{
    expect_refused(CARRICK_KIND_TRANSPORT_WRAPPER, "odd_wrapper", CARRICK_ERR_VERSION,
                   "must match exactly");
    char size[32];
    snprintf(size, sizeof(size), "and %zu", sizeof(struct carrick_transport_wrapper_ops));
    expect_text(size);
}

// ---- files that are no shared objects

static void write_file(const char *name, const void *bytes, size_t length)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s.so", scratch, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert(ge(int, fd, 0));
    cr_assert(eq(sz, (size_t)write(fd, bytes, length), length));
    close(fd);
}

Test(loader, text_file)
{
    static const char text[] =
        "#!/bin/sh\n# This is long enough to hold an ELF header, but is none.\n";
    write_file("text", text, sizeof(text));
    expect_refused(CARRICK_KIND_POLICY, "text", CARRICK_ERR_INVALID, "is not a shared object");
    write_file("empty", "", 0);
    expect_refused(CARRICK_KIND_POLICY, "empty", CARRICK_ERR_INVALID, "is not a shared object");
}

// Cut at each of many lengths: refused every time, never a crash.
Test(loader, cut_off_file)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/odd_good.so", plugins);
    int fd = open(path, O_RDONLY);
    struct stat st;
    cr_assert(eq(int, fstat(fd, &st), 0));
    size_t length = (size_t)st.st_size;
    char *bytes = malloc(length);
    cr_assert(eq(sz, (size_t)read(fd, bytes, length), length));
    close(fd);
    for (size_t cut = 4; cut < 8192 && cut < length; cut += cut < 1024 ? 61 : 509) {
        write_file("odd_good", bytes, cut);
        struct module *module;
        int status = loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &module, &error);
        cr_assert(eq(int, status, CARRICK_ERR_INVALID), "cut at %zu: %s", cut, error.text);
    }
    expect_text("is cut off");
    write_file("odd_good", bytes, length);
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &module, &error), 0),
              "%s", error.text);
    module_put(module);
    free(bytes);
}

Test(loader, directory_and_fifo)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/dir.so", scratch);
    cr_assert(eq(int, mkdir(path, 0755), 0));
    expect_refused(CARRICK_KIND_POLICY, "dir", CARRICK_ERR_INVALID, "is not a regular file");
    snprintf(path, sizeof(path), "%s/fifo.so", scratch);
    cr_assert(eq(int, mkfifo(path, 0644), 0));
    expect_refused(CARRICK_KIND_POLICY, "fifo", CARRICK_ERR_INVALID, "is not a regular file");
}

Test(loader, missing_plugin_says_where_it_was_looked_for)
{
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_TRANSPORT, "carrier_pigeon", &module, &error),
                 CARRICK_ERR_NOT_FOUND));
    expect_text("no carrier_pigeon.so in");
    expect_text(scratch);
}

Test(loader, name_is_no_way_out_of_the_directory)
{
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "../odd_good", &module, &error),
                 CARRICK_ERR_INVALID));
    cr_assert(eq(ptr, module, NULL));
}

// A refused file in the first directory must not be passed over for one in the second.
Test(loader, first_directory_decides)
{
    write_file("odd_good", "broken", 6);
    expect_refused(CARRICK_KIND_POLICY, "odd_good", CARRICK_ERR_INVALID, scratch);
}

// ---- plugins that are linked in

static int create(const struct carrick_host *host, const char *config,
                  struct carrick_policy **policy, struct carrick_error *err)
{
    (void)host;
    (void)config;
    (void)policy;
    (void)err;
    return CARRICK_OK;
}

static void destroy(struct carrick_policy *policy)
{
    (void)policy;
}

static int32_t choose(struct carrick_policy *policy, const struct carrick_policy_input *input)
{
    (void)policy;
    (void)input;
    return 7;
}

static const struct carrick_policy_ops built_in_ops = {create, destroy, choose};
CARRICK_PLUGIN_REGISTER(CARRICK_KIND_POLICY, "odd_good", "2.0", "Apache-2.0", "built in",
                        built_in_ops);

Test(loader, built_in_goes_before_a_file)
{
    cr_assert(eq(int, loader_add_static(loader, carrick_plugin_entry, &error), 0));
    cr_assert(eq(int, loader_add_static(loader, carrick_plugin_entry, &error), CARRICK_ERR_EXISTS));
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &module, &error), 0));
    const struct carrick_policy_ops *ops = module_ops(module);
    struct carrick_policy_input input = {.struct_size = sizeof(input)};
    cr_assert(eq(i32, ops->choose(NULL, &input), 7));
    expect_same(module_path(module), "(built in)");
    module_put(module);
    cr_assert(eq(u32, modules_loaded(), 1));
}

// ---- stubs

Test(loader, missing_optional_operations_answer_not_supported)
{
    struct module *module;
    cr_assert(eq(int, loader_get(loader, CARRICK_KIND_CLIENT, "bare_client", &module, &error), 0),
              "%s", error.text);
    const struct carrick_client_ops *ops = module_ops(module);
    struct carrick_region_want want = {.struct_size = sizeof(want)};
    struct carrick_region_backing backing = {.struct_size = sizeof(backing), .fd = -1};
    char text[8] = "xxxxxxx";
    cr_assert(eq(int, ops->config_check("{}", &error), CARRICK_ERR_NOT_SUPPORTED));
    cr_assert(eq(int, ops->config_change(NULL, "{}", &error), CARRICK_ERR_NOT_SUPPORTED));
    cr_assert(eq(int, ops->provide(NULL, 0, &want, &backing), CARRICK_ERR_NOT_SUPPORTED));
    cr_assert(eq(int, ops->command(NULL, "word", NULL, 1), CARRICK_ERR_NOT_SUPPORTED));
    ops->vi_changed(NULL, NULL, CARRICK_VI_OPEN);
    ops->describe_state(NULL, text, 2);
    expect_same(text, "");
    ops->describe_state(NULL, text, 3);
    expect_same(text, "{}");
    module_put(module);
}

// ---- inspection

static struct module_report report;

static int inspect(const char *name)
{
    char path[700];
    snprintf(path, sizeof(path), "%s/%s.so", plugins, name);
    return module_inspect(path, &report, &error);
}

Test(loader, inspection_tells_what_a_plugin_is)
{
    cr_assert(eq(int, inspect("bare_client"), 0), "%s", error.text);
    expect_same(report.name, "bare_client");
    expect_same(report.version, "1.0");
    expect_same(report.licence, "Apache-2.0");
    cr_assert(eq(u32, report.kind, CARRICK_KIND_CLIENT));
    cr_assert(eq(u32, report.ops_size, report.ops_size_core));
    expect_same(
        report.missing_optional,
        "config_check, config_change, provide, vi_changed, describe_state, command, stopping");
    cr_assert(eq(u32, modules_loaded(), 0));
}

Test(loader, inspection_tells_of_a_refused_plugin_what_it_can)
{
    cr_assert(eq(int, inspect("odd_minor"), CARRICK_ERR_VERSION));
    expect_same(report.name, "odd_minor");
    cr_assert(eq(u32, report.abi_minor, CARRICK_ABI_MINOR + 1));
    cr_assert(eq(int, inspect("odd_major"), CARRICK_ERR_VERSION));
    cr_assert(eq(u32, report.abi_major, CARRICK_ABI_MAJOR + 1));
    expect_same(report.name, "");
    cr_assert(eq(int, inspect("no_such_file"), CARRICK_ERR_NOT_FOUND));
}

// ---- threads

// Sets *arg to what went wrong.
static void *get_and_put(void *arg)
{
    const char **wrong = arg;
    for (int i = 0; i < 200; i++) {
        struct carrick_error own = {.struct_size = sizeof(own)};
        struct module *module;
        if (loader_get(loader, CARRICK_KIND_POLICY, "odd_good", &module, &own)) {
            *wrong = "not loaded";
            return NULL;
        }
        const struct carrick_policy_ops *ops = module_ops(module);
        struct carrick_policy_input input = {.struct_size = sizeof(input), .link_count = 1};
        if (ops->choose(NULL, &input) != 0)
            *wrong = "wrong answer";
        module_put(module);
    }
    return NULL;
}

Test(loader, managers_share_plugins_from_their_threads)
{
    pthread_t threads[4];
    const char *wrong[4] = {NULL};
    for (size_t i = 0; i < 4; i++)
        cr_assert(eq(int, pthread_create(&threads[i], NULL, get_and_put, &wrong[i]), 0));
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_assert(eq(ptr, (void *)wrong[i], NULL), "%s", wrong[i]);
    }
    cr_assert(eq(u32, modules_loaded(), 0));
}
