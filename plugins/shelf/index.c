// SPDX-License-Identifier: Apache-2.0
#include "index.h"

// ---- bands

void shelf_index_init(struct shelf_index *index, uint64_t bytes)
{
    while (bytes > 0 && (bytes - 1) >> index->band_shift >= SHELF_BANDS)
        index->band_shift++;
}

static uint32_t band_of(const struct shelf_index *index, uint64_t offset)
{
    uint64_t band = offset >> index->band_shift;

    return band < SHELF_BANDS ? (uint32_t)band : SHELF_BANDS - 1;
}

// The last segment in the bands before this one, or NULL.
static struct shelf_segment *last_before(const struct shelf_index *index, uint32_t band)
{
    uint32_t word = band / 64;
    uint64_t bits = index->filled[word] & ((UINT64_C(1) << band % 64) - 1);

    while (bits == 0) {
        if (word == 0)
            return NULL;
        bits = index->filled[--word];
    }
    struct shelf_segment *node = index->bands[word * 64 + 63 - (uint32_t)__builtin_clzll(bits)];
    while (node->right != NULL)
        node = node->right;
    return node;
}

// ---- the tree of a band

static uint32_t next_priority(struct shelf_index *index)
{
    uint32_t x = index->random ? index->random : 0x9e3779b9u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    index->random = x;
    return x;
}

// Goes down to where its priority puts it, and takes what is below apart into what begins before it and what does not.
static void node_insert(struct shelf_segment **at, struct shelf_segment *node)
{
    struct shelf_segment **left = &node->left, **right = &node->right;

    while (*at != NULL && (*at)->priority >= node->priority)
        at = node->start < (*at)->start ? &(*at)->left : &(*at)->right;
    struct shelf_segment *below = *at;
    *at = node;
    while (below != NULL) {
        if (below->start < node->start) {
            *left = below;
            left = &below->right;
            below = below->right;
        } else {
            *right = below;
            right = &below->left;
            below = below->left;
        }
    }
    *left = *right = NULL;
}

// The other way round: what was on both sides of it becomes one again in its place.
static void node_remove(struct shelf_segment **at, const struct shelf_segment *node)
{
    struct shelf_segment *left = node->left, *right = node->right;

    while (*at != node)
        at = node->start < (*at)->start ? &(*at)->left : &(*at)->right;
    while (left != NULL && right != NULL) {
        if (left->priority > right->priority) {
            *at = left;
            at = &left->right;
            left = left->right;
        } else {
            *at = right;
            at = &right->left;
            right = right->left;
        }
    }
    *at = left != NULL ? left : right;
}

static void band_add(struct shelf_index *index, struct shelf_segment *node)
{
    uint32_t band = band_of(index, node->start);

    node_insert(&index->bands[band], node);
    index->filled[band / 64] |= UINT64_C(1) << band % 64;
}

static void band_remove(struct shelf_index *index, const struct shelf_segment *node)
{
    uint32_t band = band_of(index, node->start);

    node_remove(&index->bands[band], node);
    if (index->bands[band] == NULL)
        index->filled[band / 64] &= ~(UINT64_C(1) << band % 64);
}

// ---- segments

static struct shelf_segment *node_new(struct shelf_index *index, uint64_t start, uint64_t end,
                                      const struct shelf_record *record)
{
    struct shelf_segment *node = shelf_pool_get(&index->pool, sizeof *node);

    if (node != NULL)
        *node = (struct shelf_segment){
            .start = start, .end = end, .record = record, .priority = next_priority(index)};
    return node;
}

// `next` is the first that begins behind it, or NULL.
static void node_add(struct shelf_index *index, struct shelf_segment *node,
                     struct shelf_segment *next)
{
    struct shelf_segment *previous = next != NULL ? next->previous : index->last;

    band_add(index, node);
    node->next = next;
    node->previous = previous;
    *(next != NULL ? &next->previous : &index->last) = node;
    *(previous != NULL ? &previous->next : &index->first) = node;
    index->segments++;
    index->bytes += node->end - node->start;
}

struct shelf_segment *shelf_index_find(const struct shelf_index *index, uint64_t offset)
{
    uint32_t band = band_of(index, offset);
    struct shelf_segment *before = NULL; // the last that begins at the offset or before it

    for (struct shelf_segment *node = index->bands[band]; node != NULL;) {
        if (node->start <= offset) {
            before = node;
            node = node->right;
        } else {
            node = node->left;
        }
    }
    if (before == NULL)
        before = last_before(index, band);
    if (before == NULL)
        return index->first;
    return before->end > offset ? before : before->next;
}

// What lies before `start` is another's now. Its order among the others stays: none lies between.
static void segment_shorten(struct shelf_index *index, struct shelf_segment *segment,
                            uint64_t start)
{
    bool moves = band_of(index, segment->start) != band_of(index, start);

    if (moves)
        band_remove(index, segment);
    index->bytes -= start - segment->start;
    segment->start = start;
    if (moves)
        band_add(index, segment);
}

void shelf_index_remove(struct shelf_index *index, struct shelf_segment *segment)
{
    band_remove(index, segment);
    *(segment->next != NULL ? &segment->next->previous : &index->last) = segment->previous;
    *(segment->previous != NULL ? &segment->previous->next : &index->first) = segment->next;
    index->segments--;
    index->bytes -= segment->end - segment->start;
    shelf_pool_put(&index->pool, segment);
}

// Takes [start, end) out, of which `segment` is the first that is in the way. `spare` becomes the right part of one that is
// cut in two; NULL: none is. Returns the first that begins behind the range, or NULL.
static struct shelf_segment *carve(struct shelf_index *index, struct shelf_segment *segment,
                                   uint64_t start, uint64_t end, struct shelf_segment *spare)
{
    while (segment != NULL && segment->start < end) {
        struct shelf_segment *next = segment->next;

        if (segment->start < start && segment->end > end) {
            spare->start = end;
            spare->end = segment->end;
            spare->record = segment->record;
            spare->sweep = segment->sweep;
            index->bytes -= segment->end - start;
            segment->end = start;
            node_add(index, spare, next);
            return spare;
        } else if (segment->start < start) {
            index->bytes -= segment->end - start;
            segment->end = start;
        } else if (segment->end > end) {
            segment_shorten(index, segment, end);
            return segment;
        } else {
            shelf_index_remove(index, segment);
        }
        segment = next;
    }
    return segment;
}

// As carve, with what it needs. false: no memory, and nothing was changed.
static bool carve_whole(struct shelf_index *index, struct shelf_segment *first, uint64_t start,
                        uint64_t end, struct shelf_segment **next)
{
    struct shelf_segment *spare = NULL;

    if (first != NULL && first->start < start && first->end > end) {
        spare = node_new(index, 0, 0, NULL);
        if (spare == NULL)
            return false;
    }
    *next = carve(index, first, start, end, spare);
    return true;
}

bool shelf_index_carve(struct shelf_index *index, uint64_t start, uint64_t end)
{
    struct shelf_segment *next;

    return carve_whole(index, shelf_index_find(index, start), start, end, &next);
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
    if (!carve_whole(index, at, record->offset, end, &at)) {
        shelf_pool_put(&index->pool, node);
        return false;
    }
    node_add(index, node, at);
    return true;
}

void shelf_index_clear(struct shelf_index *index)
{
    while (index->first != NULL)
        shelf_index_remove(index, index->first);
    shelf_pool_end(&index->pool);
}
