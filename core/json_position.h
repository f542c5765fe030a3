// SPDX-License-Identifier: Apache-2.0
//
// Where the values of a JSON text stand. json-c makes the values but forgets their places, and takes
// more than JSON is (single quotes, equal keys, integers that it clamps). The scan here is strict
// and comes first; json-c then never sees a text that the scan refused.

#ifndef CARRICK_CORE_JSON_POSITION_H
#define CARRICK_CORE_JSON_POSITION_H

#include "core/config.h"

#include <json-c/json.h>

#define JSON_POSITION_NODES_MAX 65536
#define JSON_NODE_ROOT 0
#define JSON_NODE_NONE UINT32_MAX
#define JSON_KEY_NONE UINT32_MAX

struct json_node {
    uint32_t parent;
    uint32_t child; // first
    uint32_t next;  // sibling, in the order of the text
    uint32_t key;   // offset in keys; JSON_KEY_NONE for an array's element
    uint32_t index; // among its siblings
    bool shadowed;  // an equal key follows: json-c holds that one's value
    uint32_t line, column;
    uint32_t key_line, key_column; // for an element those of the value
};

struct json_positions {
    uint32_t count, capacity;
    struct json_node *nodes;
    char *keys; // decoded, each with its final NUL
    size_t keys_used, keys_capacity;
};

// Scans a whole text. A syntax error ends the scan with *out NULL. Equal keys are reported, too, and
// make the scan answer -EINVAL, but leave a usable *out so that the search for errors can go on.
int json_positions_scan(const char *text, size_t length, struct json_positions **out,
                        struct config_errors *errs);
void json_positions_free(struct json_positions *positions);

// Writes the JSON pointer of a node, cut to what fits.
void json_positions_pointer(const struct json_positions *positions, uint32_t node, char *text,
                            size_t size);

// The node at a JSON pointer, or the nearest one above it.
uint32_t json_positions_find(const struct json_positions *positions, const char *pointer);

// ---- a value together with its place

struct json_cursor {
    const struct json_positions *positions;
    struct json_object *container; // that holds the value; NULL for the root
    struct json_object *value;     // NULL is JSON's null
    uint32_t node;
};

struct json_cursor json_cursor_root(const struct json_positions *positions,
                                    struct json_object *root);
// Each returns false, and sets nothing, when there is no such value.
bool json_cursor_child(const struct json_cursor *cursor, struct json_cursor *child);
bool json_cursor_next(const struct json_cursor *cursor, struct json_cursor *next);
bool json_cursor_member(const struct json_cursor *cursor, const char *key,
                        struct json_cursor *member);
// The same, and the value must be of that type.
bool json_cursor_typed(const struct json_cursor *cursor, const char *key, enum json_type type,
                       struct json_cursor *member);
// NULL for an element of an array and for the root.
const char *json_cursor_key(const struct json_cursor *cursor);

enum json_place { JSON_PLACE_VALUE, JSON_PLACE_KEY };

void json_cursor_report(const struct json_cursor *cursor, enum json_place place,
                        struct config_errors *errs, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
