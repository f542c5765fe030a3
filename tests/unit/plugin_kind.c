// SPDX-License-Identifier: Apache-2.0
//
// The kinds of plugins and their tables, which grow from version to version.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <carrick/plugin.h>

#include <string.h>

#include "core/loader.h"
#include "core/plugin_kind.h"

static void expect_same(const char *text, const char *expected)
{
    cr_assert(zero(int, strcmp(text, expected)), "\"%s\" instead of \"%s\"", text, expected);
}

Test(plugin_kind, every_kind_describes_its_table)
{
    static const uint32_t all[] = {CARRICK_KIND_TRANSPORT, CARRICK_KIND_CLIENT, CARRICK_KIND_POLICY,
                                   CARRICK_KIND_ARBITER, CARRICK_KIND_TRANSPORT_WRAPPER};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct plugin_kind *kind = plugin_kind_find(all[i]);
        cr_assert(ne(ptr, (void *)kind, NULL));
        cr_assert(le(u32, kind->size_first, kind->size));
        for (size_t j = 0; j < kind->count; j++) {
            cr_assert(eq(u32, kind->operations[j].offset, j * sizeof(void *)), "%s: %s", kind->name,
                      kind->operations[j].name);
            // Were one appended as required, no plugin of an earlier minor version would load.
            cr_assert(kind->operations[j].stub || kind->operations[j].offset < kind->size_first);
        }
    }
    cr_assert(eq(ptr, (void *)plugin_kind_find(0), NULL));
    expect_same(kind_name(CARRICK_KIND_CLIENT), "client");
    expect_same(kind_name(77), "unknown kind");
}

// ---- the mechanism, with a kind as it will be some versions on: two operations in 1.0, one appended in each of three
// minor versions

static int stub_calls;

static void stub(void)
{
    stub_calls++;
}

static void real(void)
{
}

static const struct plugin_operation grown_operations[] = {
    {"first", 0, NULL},   {"second", 8, stub}, {"third", 16, stub},
    {"fourth", 24, stub}, {"fifth", 32, stub},
};
static const struct plugin_kind grown = {77, "grown", 40, 16, false, grown_operations, 5};

Test(plugin_kind, plugin_of_an_older_minor_version_gets_stubs_for_the_rest)
{
    plugin_function theirs[3] = {real, real, real};
    plugin_function table[5];
    const char *required;
    char optional[64];
    // Of three operations' room the last byte is missing: that operation is not whole.
    cr_assert(eq(int, plugin_kind_fill(&grown, theirs, 23, table, &required, optional, 64), 0));
    cr_assert(table[0] == real && table[1] == real);
    cr_assert(table[2] == stub && table[3] == stub && table[4] == stub);
    expect_same(optional, "third, fourth, fifth");
    cr_assert(eq(int, plugin_kind_fill(&grown, theirs, 24, table, &required, optional, 64), 0));
    cr_assert(table[2] == real && table[3] == stub);
    for (size_t i = 0; i < 5; i++)
        table[i]();
    cr_assert(eq(int, stub_calls, 2));
}

Test(plugin_kind, first_missing_required_operation_is_named)
{
    plugin_function theirs[5] = {NULL, real, real, real, real};
    plugin_function table[5];
    const char *required;
    cr_assert(eq(int, plugin_kind_fill(&grown, theirs, 40, table, &required, NULL, 0),
                 CARRICK_ERR_CONFIG));
    expect_same(required, "first");
}

Test(plugin_kind, names_that_do_not_fit_are_left_out_whole)
{
    plugin_function theirs[1] = {real};
    plugin_function table[5];
    const char *required;
    char optional[17];
    cr_assert(eq(int, plugin_kind_fill(&grown, theirs, 8, table, &required, optional, 17), 0));
    expect_same(optional, "second, third");
}
