// SPDX-License-Identifier: Apache-2.0
#include "mailbox.h"
#include "common/crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "carrick-mailbox 1\n"

static void hex_put(const uint8_t id[16], char text[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
}

static bool hex_get(const char *text, uint8_t id[16])
{
    for (int i = 0; i < 16; i++) {
        char pair[3] = {text[2 * i], text[2 * i] ? text[2 * i + 1] : '\0', '\0'}, *end;

        id[i] = (uint8_t)strtoul(pair, &end, 16);
        if (end != pair + 2)
            return false;
    }
    return text[32] == '\0';
}

size_t mailbox_record_put(const char *group, const struct carrick_arbiter_record *record,
                          char text[MAILBOX_TEXT_MAX])
{
    char generation[33], parent[33];
    int used;

    hex_put(record->generation, generation);
    hex_put(record->parent, parent);
    used = snprintf(text, MAILBOX_TEXT_MAX,
                    HEAD "group %s\nnumber %llu\ngeneration %s\nparent %s\nfork %llu\n"
                         "owner %s %016llx\n",
                    group, (unsigned long long)record->number, generation, parent,
                    (unsigned long long)record->fork_sequence, record->owner,
                    (unsigned long long)record->owner_incarnation);
    for (uint32_t i = 0; i < record->member_count && i < CARRICK_ARBITER_MEMBERS_MAX; i++)
        used +=
            snprintf(text + used, MAILBOX_TEXT_MAX - (size_t)used, "member %s %016llx\n",
                     record->members[i].node, (unsigned long long)record->members[i].incarnation);
    used += snprintf(text + used, MAILBOX_TEXT_MAX - (size_t)used, "crc32c %08x\n",
                     crc32c(text, (size_t)used));
    return (size_t)used;
}

// One line "KEY REST", the rest ended by NUL in place.
static char *line_get(char **at, const char *key)
{
    size_t length = strlen(key);
    char *line = *at, *end = strchr(line, '\n');

    if (end == NULL || strncmp(line, key, length) != 0 || line[length] != ' ')
        return NULL;
    *end = '\0';
    *at = end + 1;
    return line + length + 1;
}

static bool number_get(const char *text, int base, uint64_t *number)
{
    char *end;

    if (text == NULL || text[0] == '\0' || text[0] == '-' || text[0] == '+' || text[0] == ' ')
        return false;
    *number = strtoull(text, &end, base);
    return *end == '\0';
}

static bool node_get(char *text, char name[CARRICK_NAME_MAX + 1], uint64_t *incarnation)
{
    char *space = text ? strchr(text, ' ') : NULL;

    if (space == NULL || space - text > (ptrdiff_t)CARRICK_NAME_MAX || space == text)
        return false;
    *space = '\0';
    snprintf(name, CARRICK_NAME_MAX + 1, "%s", text);
    return number_get(space + 1, 16, incarnation);
}

static bool lines_get(char *at, const char *group, uint64_t number,
                      struct carrick_arbiter_record *record)
{
    char *text = line_get(&at, "group");

    if (text == NULL || strcmp(text, group) != 0 ||
        !number_get(line_get(&at, "number"), 10, &record->number) || record->number != number)
        return false;
    text = line_get(&at, "generation");
    if (text == NULL || !hex_get(text, record->generation))
        return false;
    text = line_get(&at, "parent");
    if (text == NULL || !hex_get(text, record->parent) ||
        !number_get(line_get(&at, "fork"), 10, &record->fork_sequence) ||
        !node_get(line_get(&at, "owner"), record->owner, &record->owner_incarnation))
        return false;
    while ((text = line_get(&at, "member")) != NULL) {
        struct carrick_arbiter_member *member = &record->members[record->member_count];

        if (record->member_count == CARRICK_ARBITER_MEMBERS_MAX ||
            !node_get(text, member->node, &member->incarnation))
            return false;
        record->member_count++;
    }
    return *at == '\0';
}

bool mailbox_record_get(const char *text, size_t length, const char *group, uint64_t number,
                        struct carrick_arbiter_record *record)
{
    char copy[MAILBOX_TEXT_MAX + 1], *last;
    const size_t tail = sizeof "crc32c 00000000\n" - 1;
    char *end;

    *record = (struct carrick_arbiter_record){.struct_size = sizeof *record};
    if (length < sizeof HEAD + tail || length > MAILBOX_TEXT_MAX || memchr(text, 0, length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    last = copy + length - tail;
    if (strncmp(last, "crc32c ", 7) != 0 || copy[length - 1] != '\n' ||
        strtoul(last + 7, &end, 16) != crc32c(copy, length - tail) || *end != '\n' ||
        strncmp(copy, HEAD, sizeof HEAD - 1) != 0)
        return false;
    *last = '\0';
    return lines_get(copy + sizeof HEAD - 1, group, number, record);
}
