// SPDX-License-Identifier: Apache-2.0

#include "core/json_position.h"

#include "core/json_scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    struct json_scan scan;
    struct json_positions *positions;
    uint32_t current; // what is being read, for messages
    bool no_memory;
};

static bool walk_value(struct walk *walk, uint32_t node, unsigned depth);

void json_positions_free(struct json_positions *positions)
{
    if (positions == NULL)
        return;
    free(positions->nodes);
    free(positions->keys);
    free(positions);
}

static bool out_of_memory(struct walk *walk)
{
    walk->no_memory = true;
    return json_scan_fail(&walk->scan, walk->scan.here, "out of memory");
}

// Makes a node and hangs it behind its elder sibling.
static bool node_add(struct walk *walk, uint32_t parent, uint32_t elder, uint32_t *node)
{
    struct json_positions *positions = walk->positions;
    struct json_node *made;

    if (positions->count == JSON_POSITION_NODES_MAX)
        return json_scan_fail(&walk->scan, walk->scan.here,
                              "the file holds more than %d values: it cannot be meant for this",
                              JSON_POSITION_NODES_MAX);
    if (positions->count == positions->capacity) {
        uint32_t capacity = positions->capacity == 0 ? 64 : positions->capacity * 2;
        struct json_node *nodes = realloc(positions->nodes, capacity * sizeof(*nodes));

        if (nodes == NULL)
            return out_of_memory(walk);
        positions->nodes = nodes;
        positions->capacity = capacity;
    }
    *node = positions->count++;
    made = &positions->nodes[*node];
    *made = (struct json_node){
        .parent = parent,
        .child = JSON_NODE_NONE,
        .next = JSON_NODE_NONE,
        .key = JSON_KEY_NONE,
    };
    if (elder != JSON_NODE_NONE) {
        made->index = positions->nodes[elder].index + 1;
        positions->nodes[elder].next = *node;
    } else if (parent != JSON_NODE_NONE) {
        positions->nodes[parent].child = *node;
    }
    return true;
}

static bool keys_reserve(struct walk *walk)
{
    struct json_positions *positions = walk->positions;
    const char *c = walk->scan.here + 1;
    size_t need, capacity;
    char *keys;

    while (c < walk->scan.end && *c != '"')
        c += *c == '\\' && c + 1 < walk->scan.end ? 2 : 1;
    need = positions->keys_used + (size_t)(c - walk->scan.here) + 1;
    if (need <= positions->keys_capacity)
        return true;
    capacity = need * 2;
    keys = realloc(positions->keys, capacity);
    if (keys == NULL)
        return out_of_memory(walk);
    positions->keys = keys;
    positions->keys_capacity = capacity;
    return true;
}

static bool walk_key(struct walk *walk, uint32_t node)
{
    struct json_scan *scan = &walk->scan;
    struct json_positions *positions = walk->positions;
    struct json_place_at at = json_scan_place(scan, scan->here);
    size_t length;
    char found[80];

    positions->nodes[node].key_line = at.line;
    positions->nodes[node].key_column = at.column;
    if (!keys_reserve(walk) ||
        !json_scan_string(scan, positions->keys + positions->keys_used, &length))
        return false;
    positions->nodes[node].key = (uint32_t)positions->keys_used;
    positions->keys_used += length + 1;
    json_scan_space(scan);
    if (scan->here == scan->end || *scan->here != ':') {
        json_scan_found(scan, found, sizeof(found));
        return json_scan_fail(scan, scan->here, "found %s, expected ':' after the key \"%.60s\"",
                              found, positions->keys + positions->nodes[node].key);
    }
    scan->here++;
    json_scan_space(scan);
    return true;
}

// An object or an array; here is behind its opening bracket.
static bool walk_members(struct walk *walk, uint32_t node, unsigned depth, char close)
{
    struct json_scan *scan = &walk->scan;
    const char *kind = close == '}' ? "object" : "array";
    uint32_t elder = JSON_NODE_NONE, child;
    const char *comma = NULL;
    char found[80];

    for (;; comma = scan->here++) {
        json_scan_space(scan);
        if (scan->here < scan->end && *scan->here == close) {
            if (comma != NULL)
                return json_scan_fail(scan, comma, "nothing follows this comma: remove it");
            break;
        }
        if (close == '}' && (scan->here == scan->end || *scan->here != '"')) {
            json_scan_found(scan, found, sizeof(found));
            return json_scan_fail(scan, scan->here, "found %s, expected a key in double quotes%s",
                                  found, comma == NULL ? " or '}'" : "");
        }
        if (!node_add(walk, node, elder, &child))
            return false;
        if (close == '}' && !walk_key(walk, child))
            return false;
        if (!walk_value(walk, child, depth))
            return false;
        elder = child;
        walk->current = node;
        json_scan_space(scan);
        if (scan->here == scan->end || (*scan->here != ',' && *scan->here != close)) {
            json_scan_found(scan, found, sizeof(found));
            return json_scan_fail(scan, scan->here, "found %s, expected ',' or '%c' in this %s",
                                  found, close, kind);
        }
        if (*scan->here == close)
            break;
    }
    scan->here++;
    return true;
}

// here is at the value's first character
static bool walk_value(struct walk *walk, uint32_t node, unsigned depth)
{
    struct json_scan *scan = &walk->scan;
    struct json_place_at at = json_scan_place(scan, scan->here);
    struct json_node *made = &walk->positions->nodes[node];
    char c = scan->here < scan->end ? *scan->here : '\0';

    walk->current = node;
    made->line = at.line;
    made->column = at.column;
    if (made->key == JSON_KEY_NONE) {
        made->key_line = at.line;
        made->key_column = at.column;
    }
    if (c == '{' || c == '[') {
        if (depth == CONFIG_DEPTH_MAX)
            return json_scan_fail(scan, scan->here, "nested deeper than %d levels",
                                  CONFIG_DEPTH_MAX);
        scan->here++;
        return walk_members(walk, node, depth + 1, c == '{' ? '}' : ']');
    }
    if (c == '"')
        return json_scan_string(scan, NULL, NULL);
    if (c == '-' || (c >= '0' && c <= '9'))
        return json_scan_number(scan);
    return json_scan_literal(scan);
}

static bool walk_document(struct walk *walk)
{
    struct json_scan *scan = &walk->scan;
    uint32_t root;
    char found[80];

    json_scan_space(scan);
    if (scan->here == scan->end)
        return json_scan_fail(scan, scan->text, "the file is empty, expected a JSON object");
    if (!node_add(walk, JSON_NODE_NONE, JSON_NODE_NONE, &root) || !walk_value(walk, root, 0))
        return false;
    json_scan_space(scan);
    if (scan->here < scan->end) {
        json_scan_found(scan, found, sizeof(found));
        return json_scan_fail(scan, scan->here, "found %s, expected the end of the file", found);
    }
    return true;
}

// ---- equal keys

struct key_place {
    const char *key;
    uint32_t node;
};

static int key_compare(const void *a, const void *b)
{
    const struct key_place *left = a, *right = b;
    int order = strcmp(left->key, right->key);

    if (order != 0)
        return order;
    return left->node < right->node ? -1 : left->node > right->node;
}

static int equal_keys_of(struct json_positions *positions, uint32_t parent, uint32_t count,
                         struct config_errors *errs)
{
    struct key_place *places = calloc(count, sizeof(*places));
    uint32_t child = positions->nodes[parent].child;
    struct json_node *first;
    int result = 0;

    if (places == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++, child = positions->nodes[child].next)
        places[i] = (struct key_place){positions->keys + positions->nodes[child].key, child};
    qsort(places, count, sizeof(*places), key_compare);
    for (uint32_t i = 1; i < count; i++) {
        struct json_cursor second = {.positions = positions, .node = places[i].node};

        if (strcmp(places[i - 1].key, places[i].key) != 0)
            continue;
        first = &positions->nodes[places[i - 1].node];
        first->shadowed = true;
        json_cursor_report(&second, JSON_PLACE_KEY, errs,
                           "the key \"%.60s\" is given twice in one object, before at line %u "
                           "column %u: remove one",
                           places[i].key, first->key_line, first->key_column);
        result = -EINVAL;
    }
    free(places);
    return result;
}

static int equal_keys(struct json_positions *positions, struct config_errors *errs)
{
    int result = 0;

    for (uint32_t node = 0; node < positions->count; node++) {
        uint32_t child = positions->nodes[node].child;
        uint32_t count = 0;
        int one;

        if (child == JSON_NODE_NONE || positions->nodes[child].key == JSON_KEY_NONE)
            continue;
        for (; child != JSON_NODE_NONE; child = positions->nodes[child].next)
            count++;
        one = equal_keys_of(positions, node, count, errs);
        if (one == -ENOMEM)
            return one;
        if (one != 0)
            result = one;
    }
    return result;
}

// ---- the whole

static void report_failure(struct walk *walk, struct config_errors *errs)
{
    struct json_place_at at = json_scan_place(&walk->scan, walk->scan.failed_at);
    char pointer[CONFIG_POINTER_SIZE] = "";

    if (walk->positions->count > 0)
        json_positions_pointer(walk->positions, walk->current, pointer, sizeof(pointer));
    config_errors_add(errs, at.line, at.column, pointer, walk->scan.failure);
}

int json_positions_scan(const char *text, size_t length, struct json_positions **out,
                        struct config_errors *errs)
{
    struct walk walk = {.no_memory = false};
    int result = 0;

    *out = NULL;
    json_scan_init(&walk.scan, text, length);
    walk.positions = calloc(1, sizeof(*walk.positions));
    if (walk.positions == NULL) {
        config_errors_add(errs, 0, 0, "", "out of memory");
        return -ENOMEM;
    }
    if (!walk_document(&walk)) {
        report_failure(&walk, errs);
        result = walk.no_memory ? -ENOMEM : -EINVAL;
        json_positions_free(walk.positions);
        return result;
    }
    result = equal_keys(walk.positions, errs);
    if (result == -ENOMEM) {
        config_errors_add(errs, 0, 0, "", "out of memory");
        json_positions_free(walk.positions);
        return result;
    }
    *out = walk.positions;
    return result;
}
