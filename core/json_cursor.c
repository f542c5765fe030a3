// SPDX-License-Identifier: Apache-2.0

#include "core/json_position.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- pointers

static void append(char *text, size_t size, size_t *used, const char *piece, size_t length)
{
    size_t room = size - 1 - *used;

    if (length > room)
        length = room;
    memcpy(text + *used, piece, length);
    *used += length;
    text[*used] = '\0';
}

static void append_key(char *text, size_t size, size_t *used, const char *key)
{
    for (; *key != '\0'; key++) {
        if (*key == '~')
            append(text, size, used, "~0", 2);
        else if (*key == '/')
            append(text, size, used, "~1", 2);
        else
            append(text, size, used, key, 1);
    }
}

void json_positions_pointer(const struct json_positions *positions, uint32_t node, char *text,
                            size_t size)
{
    uint32_t path[CONFIG_DEPTH_MAX + 1];
    size_t depth = 0, used = 0;
    char index[16];

    text[0] = '\0';
    for (; node != JSON_NODE_ROOT; node = positions->nodes[node].parent)
        path[depth++] = node;
    while (depth > 0) {
        const struct json_node *step = &positions->nodes[path[--depth]];

        append(text, size, &used, "/", 1);
        if (step->key != JSON_KEY_NONE) {
            append_key(text, size, &used, positions->keys + step->key);
        } else {
            int length = snprintf(index, sizeof(index), "%u", step->index);

            append(text, size, &used, index, (size_t)length);
        }
    }
}

// Whether the pointer's segment up to its '/' names this node.
static bool segment_names(const struct json_positions *positions, const struct json_node *node,
                          const char *segment, size_t length)
{
    char index[16];
    const char *key;

    if (node->shadowed)
        return false;
    if (node->key == JSON_KEY_NONE) {
        snprintf(index, sizeof(index), "%u", node->index);
        return strlen(index) == length && memcmp(index, segment, length) == 0;
    }
    key = positions->keys + node->key;
    for (const char *end = segment + length; segment < end; segment++, key++) {
        char c = *segment;

        if (c == '~' && segment + 1 < end && (segment[1] == '0' || segment[1] == '1'))
            c = *++segment == '0' ? '~' : '/';
        if (*key != c)
            return false;
    }
    return *key == '\0';
}

uint32_t json_positions_find(const struct json_positions *positions, const char *pointer)
{
    uint32_t node = JSON_NODE_ROOT, child;

    while (*pointer == '/') {
        size_t length = strcspn(++pointer, "/");

        for (child = positions->nodes[node].child; child != JSON_NODE_NONE;
             child = positions->nodes[child].next) {
            if (segment_names(positions, &positions->nodes[child], pointer, length))
                break;
        }
        if (child == JSON_NODE_NONE)
            break;
        node = child;
        pointer += length;
    }
    return node;
}

// ---- cursors

struct json_cursor json_cursor_root(const struct json_positions *positions,
                                    struct json_object *root)
{
    return (struct json_cursor){.positions = positions, .value = root, .node = JSON_NODE_ROOT};
}

static bool cursor_set(const struct json_positions *positions, struct json_object *container,
                       uint32_t node, struct json_cursor *out)
{
    const struct json_node *found;

    while (node != JSON_NODE_NONE && positions->nodes[node].shadowed)
        node = positions->nodes[node].next;
    if (node == JSON_NODE_NONE)
        return false;
    found = &positions->nodes[node];
    *out = (struct json_cursor){.positions = positions, .container = container, .node = node};
    if (found->key != JSON_KEY_NONE)
        json_object_object_get_ex(container, positions->keys + found->key, &out->value);
    else
        out->value = json_object_array_get_idx(container, found->index);
    return true;
}

bool json_cursor_child(const struct json_cursor *cursor, struct json_cursor *child)
{
    return cursor_set(cursor->positions, cursor->value,
                      cursor->positions->nodes[cursor->node].child, child);
}

bool json_cursor_next(const struct json_cursor *cursor, struct json_cursor *next)
{
    return cursor_set(cursor->positions, cursor->container,
                      cursor->positions->nodes[cursor->node].next, next);
}

bool json_cursor_member(const struct json_cursor *cursor, const char *key,
                        struct json_cursor *member)
{
    struct json_cursor child;

    if (!json_object_is_type(cursor->value, json_type_object))
        return false;
    for (bool more = json_cursor_child(cursor, &child); more;
         more = json_cursor_next(&child, &child)) {
        if (strcmp(json_cursor_key(&child), key) == 0) {
            *member = child;
            return true;
        }
    }
    return false;
}

bool json_cursor_typed(const struct json_cursor *cursor, const char *key, enum json_type type,
                       struct json_cursor *member)
{
    struct json_cursor found;

    if (!json_cursor_member(cursor, key, &found) || !json_object_is_type(found.value, type))
        return false;
    *member = found;
    return true;
}

const char *json_cursor_key(const struct json_cursor *cursor)
{
    const struct json_node *node = &cursor->positions->nodes[cursor->node];

    return node->key == JSON_KEY_NONE ? NULL : cursor->positions->keys + node->key;
}

void json_cursor_report(const struct json_cursor *cursor, enum json_place place,
                        struct config_errors *errs, const char *format, ...)
{
    const struct json_node *node = &cursor->positions->nodes[cursor->node];
    bool at_key = place == JSON_PLACE_KEY;
    char pointer[CONFIG_POINTER_SIZE];
    char text[CONFIG_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_positions_pointer(cursor->positions, cursor->node, pointer, sizeof(pointer));
    config_errors_add(errs, at_key ? node->key_line : node->line,
                      at_key ? node->key_column : node->column, pointer, text);
}
