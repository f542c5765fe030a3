// SPDX-License-Identifier: Apache-2.0
//
// Rings of nodes that lie in what they list; an empty list, and a node in none, points to itself.
#ifndef COMMON_LIST_H
#define COMMON_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *previous;
};

static inline void list_init(struct list *l)
{
    l->next = l->previous = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *l, struct list *node)
{
    node->previous = l->previous;
    node->next = l;
    l->previous->next = node;
    l->previous = node;
}

static inline void list_remove(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    node->next = node->previous = node;
}

#define list_entry(node_, type_, member_) ((type_ *)((char *)(node_)-offsetof(type_, member_)))

#endif
