/* SPDX-License-Identifier: MIT */
/*
 * Circular doubly linked lists. The head is a struct pcidipc_list too; elements have one as a
 * member, which belongs to the list while it is in one. An element that is in no list has
 * next == NULL: zero it before use. O(1), no allocation, no lock.
 */
#ifndef PCIDIPC_LIST_H
#define PCIDIPC_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct pcidipc_list {
	struct pcidipc_list *next, *prev;
};

/* The structure of type `type` whose member `member` the pointer points to. */
#define pcidipc_container_of(pointer, type, member) \
	((type *)((char *)(pointer) - __builtin_offsetof(type, member)))

/* Make it the head of an empty list. */
static inline void pcidipc_list_init(struct pcidipc_list *head)
{
	head->next = head->prev = head;
}

/* `head` must have been initialized. */
static inline bool pcidipc_list_empty(const struct pcidipc_list *head)
{
	return head->next == head;
}

/* `at` is an element of the list, or its head: then the new one becomes the last. */
static inline void pcidipc_list_insert_before(struct pcidipc_list *at, struct pcidipc_list *item)
{
	item->next = at;
	item->prev = at->prev;
	at->prev->next = item;
	at->prev = item;
}

/* `item` becomes the last one; it must be in no list. */
static inline void pcidipc_list_append(struct pcidipc_list *head, struct pcidipc_list *item)
{
	pcidipc_list_insert_before(head, item);
}

/* Fine when it is in no list. */
static inline void pcidipc_list_remove(struct pcidipc_list *item)
{
	if (!item->next)
		return;
	item->prev->next = item->next;
	item->next->prev = item->prev;
	item->next = item->prev = NULL;
}

/* Where `it`, which may be what the head would be a member of, keeps its place in the list. */
#define pcidipc_list_place(it, type, member) \
	((struct pcidipc_list *)(void *)((char *)(it) + __builtin_offsetof(type, member)))

/* Walk a list whose elements are `type`s linked by `member`. The current one must not be removed.
 */
#define pcidipc_list_for_each(it, head, type, member)                     \
	for (type *it = pcidipc_container_of((head)->next, type, member); \
	     pcidipc_list_place(it, type, member) != (head);              \
	     it = pcidipc_container_of(it->member.next, type, member))

/* The same where the body may remove the current one (and no other). */
#define pcidipc_list_for_each_safe(it, after, head, type, member)                 \
	for (type *it = pcidipc_container_of((head)->next, type, member), *after; \
	     pcidipc_list_place(it, type, member) != (head) &&                    \
	     (after = pcidipc_container_of(it->member.next, type, member), true); \
	     it = after)

#endif
