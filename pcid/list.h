/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Circular lists over struct pcidipc_list. An element that is in no list has next == NULL. */
#ifndef PCID_LIST_H
#define PCID_LIST_H

#include <pcidipc/loop.h>
#include <stddef.h>

static inline void pcid_list_init(struct pcidipc_list *head)
{
	head->next = head->prev = head;
}

static inline bool pcid_list_empty(const struct pcidipc_list *head)
{
	return head->next == head;
}

static inline void pcid_list_append(struct pcidipc_list *head, struct pcidipc_list *item)
{
	item->next = head;
	item->prev = head->prev;
	head->prev->next = item;
	head->prev = item;
}

static inline void pcid_list_remove(struct pcidipc_list *item)
{
	if (!item->next)
		return;
	item->prev->next = item->next;
	item->next->prev = item->prev;
	item->next = item->prev = NULL;
}

/* Walk a list whose elements are `type`s linked by `member`. The current one must not be removed.
 */
#define pcid_list_for_each(it, head, type, member)                                               \
	for (type *it = pcidipc_container_of((head)->next, type, member); &it->member != (head); \
	     it = pcidipc_container_of(it->member.next, type, member))

/* The same where the body may remove the current one (and no other). */
#define pcid_list_for_each_safe(it, after, head, type, member)                  \
	for (type *it = pcidipc_container_of((head)->next, type, member),       \
		  *after = pcidipc_container_of(it->member.next, type, member); \
	     &it->member != (head);                                             \
	     it = after, after = pcidipc_container_of(it->member.next, type, member))

#endif
