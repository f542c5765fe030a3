// SPDX-License-Identifier: Apache-2.0
#include "index.h"

#include <stdlib.h>

static uint32_t next_priority(struct shelf_index *index)
{
    uint32_t x = index->random ? index->random : 0x9e3779b9u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    index->random = x;
    return x;
}

static void rotate_right(struct shelf_segment **at)
{
    struct shelf_segment *top = *at, *left = top->left;

    top->left = left->right;
    left->right = top;
    *at = left;
}

static void rotate_left(struct shelf_segment **at)
{
    struct shelf_segment *top = *at, *right = top->right;

    top->right = right->left;
    right->left = top;
    *at = right;
}

static void node_insert(struct shelf_segment **at, struct shelf_segment *node)
{
    if (*at == NULL) {
        *at = node;
        return;
    }
    if (node->start < (*at)->start) {
        node_insert(&(*at)->left, node);
        if ((*at)->left->priority > (*at)->priority)
            rotate_right(at);
    } else {
        node_insert(&(*at)->right, node);
        if ((*at)->right->priority > (*at)->priority)
            rotate_left(at);
    }
}

static struct shelf_segment *node_new(struct shelf_index *index, uint64_t start, uint64_t end,
                                      const struct shelf_record *record)
{
    struct shelf_segment *node = calloc(1, sizeof *node);

    if (node == NULL)
        return NULL;
    node->start = start;
    node->end = end;
    node->record = record;
    node->priority = next_priority(index);
    return node;
}

static void node_add(struct shelf_index *index, struct shelf_segment *node)
{
    node_insert(&index->root, node);
    index->segments++;
    index->bytes += node->end - node->start;
}

struct shelf_segment *shelf_index_find(const struct shelf_index *index, uint64_t offset)
{
    struct shelf_segment *best = NULL;

    // Segments do not overlap, so their ends are in the order of their starts.
    for (struct shelf_segment *node = index->root; node != NULL;) {
        if (node->end > offset) {
            best = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

void shelf_index_remove(struct shelf_index *index, struct shelf_segment *segment)
{
    struct shelf_segment **at = &index->root;

    while (*at != segment)
        at = segment->start < (*at)->start ? &(*at)->left : &(*at)->right;
    while (segment->left != NULL || segment->right != NULL) {
        if (segment->right == NULL ||
            (segment->left != NULL && segment->left->priority > segment->right->priority)) {
            rotate_right(at);
            at = &(*at)->right;
        } else {
            rotate_left(at);
            at = &(*at)->left;
        }
    }
    *at = NULL;
    index->segments--;
    index->bytes -= segment->end - segment->start;
    free(segment);
}

// Takes [start, end) out. `spare` becomes the right part of a segment that is cut in two; NULL: none is.
static void carve(struct shelf_index *index, uint64_t start, uint64_t end,
                  struct shelf_segment *spare)
{
    for (;;) {
        struct shelf_segment *segment = shelf_index_find(index, start);

        if (segment == NULL || segment->start >= end)
            return;
        if (segment->start < start && segment->end > end) {
            spare->start = end;
            spare->end = segment->end;
            spare->record = segment->record;
            spare->sweep = segment->sweep;
            index->bytes -= segment->end - start;
            segment->end = start;
            node_add(index, spare);
        } else if (segment->start < start) {
            index->bytes -= segment->end - start;
            segment->end = start;
        } else if (segment->end > end) {
            // The order among the others stays: none lies between.
            index->bytes -= end - segment->start;
            segment->start = end;
        } else {
            shelf_index_remove(index, segment);
        }
    }
}

bool shelf_index_carve(struct shelf_index *index, uint64_t start, uint64_t end)
{
    const struct shelf_segment *segment = shelf_index_find(index, start);
    struct shelf_segment *spare = NULL;

    if (segment != NULL && segment->start < start && segment->end > end) {
        spare = node_new(index, 0, 0, NULL);
        if (spare == NULL)
            return false;
    }
    carve(index, start, end, spare);
    return true;
}

bool shelf_index_insert(struct shelf_index *index, const struct shelf_record *record)
{
    uint64_t end = record->offset + record->length;

    if (record->length == 0)
        return true;
    struct shelf_segment *at = shelf_index_find(index, record->offset);
    if (at != NULL && at->start == record->offset && at->end == end) {
        at->record = record;
        at->sweep = 0; // of the older one
        return true;
    }
    struct shelf_segment *node = node_new(index, record->offset, end, record);
    if (node == NULL)
        return false;
    if (at != NULL && at->start < end && !shelf_index_carve(index, record->offset, end)) {
        free(node);
        return false;
    }
    node_add(index, node);
    return true;
}

void shelf_index_clear(struct shelf_index *index)
{
    while (index->root != NULL)
        shelf_index_remove(index, index->root);
}
