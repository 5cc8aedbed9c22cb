// SPDX-License-Identifier: GPL-2.0-or-later
/* Which driver for which device: the most specific stanza wins. */
#include <stddef.h>

#include "config.h"

/* Add `weight` if the field is asked for and fits. False: it is asked for and does not. */
static bool weigh(int wanted, unsigned is, int weight, int *score)
{
	if (wanted < 0)
		return true;
	*score += weight;
	return (unsigned)wanted == is;
}

int pcid_match_score(const struct pcid_stanza *stanza, const struct pcid_identity *id)
{
	int score = 0;

	if (stanza->below != id->below || !weigh(stanza->vendor, id->vendor, 16, &score) ||
	    !weigh(stanza->device, id->device, 32, &score) ||
	    !weigh(stanza->class_code, id->class_code, 4, &score) ||
	    !weigh(stanza->subclass, id->subclass, 2, &score) ||
	    !weigh(stanza->interface, id->interface, 1, &score))
		return -1;
	return score;
}

struct pcid_stanza *pcid_match(const struct pcid_config *config, const struct pcid_identity *id)
{
	struct pcid_stanza *best = NULL;
	int best_score = 0; /* a stanza that asks for nothing fits nothing */

	for (struct pcid_stanza *s = config->stanzas; s; s = s->next) {
		int score = pcid_match_score(s, id);

		if (score > best_score) {
			best = s;
			best_score = score;
		}
	}
	return best;
}
