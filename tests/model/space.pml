/* SPDX-License-Identifier: MIT */
/*
 * Which heads may be published without a look at the other side's NEED_WAKEUP (docs/ring-abi.md, "Space"): a whole ring,
 * both directions. The consumer pushes M requests and takes their completions, the producer takes each and completes it,
 * with a CQE or without one; each sleeps when it can do nothing, the consumer also for want of an SQ slot, the producer for
 * want of a CQ slot. Memory has store buffers as in wakeup.pml, whose exchange is taken for granted.
 *
 * A lost wake-up is a state in which both sleep, or one does and the other has ended. Each of these takes a part of the rule
 * out, and must be reported: -DNEVER_SQ (sq_head alone is never looked for), -DTOO_SELDOM (only after more than the whole
 * SQ), -DONLY_FULL (only when the SQ was full as the producer had seen it: it may have seen too little),
 * -DNEVER_CQ (cq_head alone is never looked for).
 */
#ifndef E
#define E 2 /* entries of the SQ */
#endif
#ifndef C
#define C 2 /* of the CQ */
#endif
#ifndef M
#define M 6
#endif
#define EMPTY 0 /* a slot of a store buffer; otherwise the value + 1 */
#define QUIET 2 /* E / 2, but not less than 2 */

byte sq_tail, sq_head, cq_tail, cq_head, c_need, p_need; /* memory */
byte b_sq_tail, b_cq_head, b_c_need;			  /* the consumer's store buffer */
byte b_sq_head, b_cq_tail, b_p_need;			  /* the producer's */
chan to_consumer = [1] of { bit };
chan to_producer = [1] of { bit };

#define C_FENCE (b_sq_tail == EMPTY && b_cq_head == EMPTY && b_c_need == EMPTY)
#define P_FENCE (b_sq_head == EMPTY && b_cq_tail == EMPTY && b_p_need == EMPTY)

active proctype memory()
{
end:
	do
	:: d_step { b_sq_tail != EMPTY -> sq_tail = b_sq_tail - 1; b_sq_tail = EMPTY }
	:: d_step { b_cq_head != EMPTY -> cq_head = b_cq_head - 1; b_cq_head = EMPTY }
	:: d_step { b_c_need != EMPTY -> c_need = b_c_need - 1; b_c_need = EMPTY }
	:: d_step { b_sq_head != EMPTY -> sq_head = b_sq_head - 1; b_sq_head = EMPTY }
	:: d_step { b_cq_tail != EMPTY -> cq_tail = b_cq_tail - 1; b_cq_tail = EMPTY }
	:: d_step { b_p_need != EMPTY -> p_need = b_p_need - 1; b_p_need = EMPTY }
	od
}

/* Fence, test, exchange, send: the exchange and the send wait for the own stores as a fence does. */
inline wake(fence, need, channel)
{
	(fence);
	if
	:: need == 0
	:: else ->
		atomic { need = 0; if :: nfull(channel) -> channel!1 :: full(channel) fi }
	fi
}

#define CAN_PUSH (pushed < M && pushed - sq_head < E)
#define ALL_DONE (pushed == M && sq_head == M) /* what completions are left are nobody's concern */

active proctype consumer()
{
	byte pushed = 0, taken = 0, told = 0; /* SQEs, CQEs, cq_head as published */

	do
	:: CAN_PUSH ->
		pushed++;
		b_sq_tail = pushed + 1;
		if
		:: told != taken -> told = taken; b_cq_head = told + 1
		:: else
		fi;
		wake(C_FENCE, p_need, to_producer)
	:: taken != cq_tail -> taken++
	:: told != taken ->
		told = taken;
		b_cq_head = told + 1;
		if
#ifdef NEVER_CQ
		:: true
#else
		:: sq_head == pushed
		:: else -> wake(C_FENCE, p_need, to_producer)
#endif
		fi
	:: !CAN_PUSH && taken == cq_tail && told == taken ->
		if
		:: ALL_DONE -> break
		:: else
		fi;
		b_c_need = 1 + 1;
		(C_FENCE);
		if
		:: taken != cq_tail || CAN_PUSH || ALL_DONE
		:: else -> to_consumer?_
		fi;
		b_c_need = 0 + 1
	od
}

/* The consumer ends when its last request has been taken, and may sleep until then: that head wakes. */
active proctype producer()
{
	byte head = 0, told = 0, woke = 0, posted = 0, published = 0, seen = 0;

	do
	:: head == M && told == M && posted == published -> break
	:: head < M && (head != sq_tail) && posted - cq_head < C ->
		seen = sq_tail;
		head++;
		if
		:: head < M -> skip /* no CQE */
		:: posted++
		fi
	:: told != head || posted != published ->
		b_sq_head = head + 1;
		if
		:: posted != published -> b_cq_tail = posted + 1; published = posted; woke = head; told = head;
			wake(P_FENCE, c_need, to_consumer)
		:: else ->
			if
#ifdef NEVER_SQ
			:: head < M -> told = head
			:: else -> told = head; wake(P_FENCE, c_need, to_consumer)
#elif defined(TOO_SELDOM)
			:: head < M && head - woke <= E -> told = head
			:: else -> told = head; woke = head; wake(P_FENCE, c_need, to_consumer)
#elif defined(ONLY_FULL)
			:: head < M && seen - told < E -> told = head
			:: else -> told = head; wake(P_FENCE, c_need, to_consumer)
#else
			:: head < M && head - woke < QUIET -> told = head
			:: else -> told = head; woke = head; wake(P_FENCE, c_need, to_consumer)
#endif
			fi
		fi
	:: (head == sq_tail || posted - cq_head >= C) && head < M && told == head && posted == published ->
		b_p_need = 1 + 1;
		(P_FENCE);
		if
		:: head != sq_tail && posted - cq_head < C
		:: else -> to_producer?_
		fi;
		b_p_need = 0 + 1
	od
}
