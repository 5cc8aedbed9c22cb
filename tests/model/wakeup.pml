/* SPDX-License-Identifier: MIT */
/*
 * The wake-up protocol of docs/ring-abi.md, one direction of it: one side publishes an index N times, the other sleeps
 * when it has seen all there is. The four indices of a ring and both directions follow the same rule, so one is enough.
 *
 * Memory is weaker than any processor that the suite runs on: each side has a store buffer with one slot for each word
 * it writes, the slots reach memory in any order and at any time (partial store order), and a side reads its own
 * slots first. A fence waits for the own slots to be empty.
 *
 * A lost wake-up is a state from which nothing goes on: the sleeper in wake?, the waker at its end. spin reports it
 * as an invalid end state. -DNO_WAKER_FENCE, -DNO_SLEEPER_FENCE, -DNO_LAST_LOOK and -DPLAIN_CLEAR take one part of the
 * protocol out each; every one of them must be reported, or the model shows nothing.
 */
#define N 4	   /* publications: enough for two sleeps that overlap with one wake */
#define EMPTY 0	   /* a slot of a store buffer; otherwise the value + 1 */
#define CAPACITY 1 /* packets that the channel holds: a full one must count as woken */

byte idx, need;		   /* the shared words */
byte waker_idx, waker_need; /* the waker's store buffer */
byte sleeper_need;	   /* the sleeper's */
chan wake = [CAPACITY] of { bit };

active proctype memory()
{
end:
	do
	:: d_step { waker_idx != EMPTY -> idx = waker_idx - 1; waker_idx = EMPTY }
	:: d_step { waker_need != EMPTY -> need = waker_need - 1; waker_need = EMPTY }
	:: d_step { sleeper_need != EMPTY -> need = sleeper_need - 1; sleeper_need = EMPTY }
	od
}

/* A packet that is received carries everything that its sender stored before. A refused one carries nothing. */
inline send_wake()
{
	if
	:: nfull(wake) -> (waker_idx == EMPTY && waker_need == EMPTY); wake!1
	:: full(wake)
	fi
}

inline clear_need()
{
#ifdef PLAIN_CLEAR
	waker_need = 0 + 1
#else
	/* pcidipc_take_need_wakeup: an atomic exchange, which no store buffer holds back */
	atomic { (waker_idx == EMPTY && waker_need == EMPTY) -> need = 0 }
#endif
}

active proctype waker()
{
	byte n = 1;

	do
	:: n <= N ->
		waker_idx = n + 1;
#ifndef NO_WAKER_FENCE
		(waker_idx == EMPTY && waker_need == EMPTY);
#endif
		if
		:: (waker_need != EMPTY -> waker_need - 1 : need) == 1 -> clear_need(); send_wake()
		:: else
		fi;
		n++
	:: else -> break
	od
}

active proctype sleeper()
{
	byte seen = 0;

	do
	:: seen == N -> break
	:: seen < N && idx != seen -> seen = idx
	:: seen < N && idx == seen ->
		sleeper_need = 1 + 1;
#ifndef NO_SLEEPER_FENCE
		(sleeper_need == EMPTY);
#endif
#ifdef NO_LAST_LOOK
		wake?_;
#else
		if
		:: idx != seen
		:: idx == seen -> wake?_
		fi;
#endif
		sleeper_need = 0 + 1
	od
}
