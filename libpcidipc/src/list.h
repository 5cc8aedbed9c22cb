/* SPDX-License-Identifier: MIT */
/* A circular doubly linked list over struct pcidipc_list. An unlinked element has next == NULL. */
#ifndef LIST_H
#define LIST_H

#include <pcidipc/loop.h>
#include <stddef.h>

static inline void list_init(struct pcidipc_list *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct pcidipc_list *head)
{
	return head->next == head;
}

static inline void list_insert_before(struct pcidipc_list *at, struct pcidipc_list *item)
{
	item->next = at;
	item->prev = at->prev;
	at->prev->next = item;
	at->prev = item;
}

static inline void list_remove(struct pcidipc_list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	item->next = item->prev = NULL;
}

#endif
