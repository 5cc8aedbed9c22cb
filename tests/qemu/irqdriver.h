/* SPDX-License-Identifier: MIT */
/*
 * A driver that does with its interrupt what a test tells it to, step by step. It is the test
 * program itself, started by pcid with the arguments "driver" and the device's name.
 */
#ifndef TESTS_QEMU_IRQDRIVER_H
#define TESTS_QEMU_IRQDRIVER_H

#include "rig.h"

enum step {
	STEP_VECTORS = 'v', /* kind << 8 | number of vectors */
	STEP_MASK = 'm',    /* vector 0; over when it has taken effect */
	STEP_UNMASK = 'u',
	STEP_MASK_ALL = 'M', /* the function */
	STEP_UNMASK_ALL = 'U',
	STEP_CAUSE = 'c', /* make the device raise it; over when the device has done its part */
	/*
	 * How many interrupts have come since the last look. Conclusive without waiting for time:
	 * the look is behind ordered round trips through pcid to the device and back, and an
	 * interrupt that the device has sent before them is with the driver after them. That this
	 * is so is what the steps without a mask show, which look in the same way.
	 */
	STEP_LOOK = 'l',
	/*
	 * The same, where one must come. Registers that are mapped (VFIO) are read past pcid, and
	 * an interrupt is not ordered with them: then it is waited for.
	 */
	STEP_AWAIT = 'a',
	STEP_WRONG = 'w', /* requests that pcid must refuse: how many it did not */
	STEP_MANY = 'n',  /* STEPS_MANY times, every other one masked: how many were wrong */
};
#define STEPS_MANY 500

/* The driver's whole life; its exit status. `device`: "edu" or "nvme". */
int irq_driver(const char *device);

/* In the test: connect to the driver of that name, and have it do steps. -1: it does not answer. */
int irq_connect(struct rig *rig, const char *device);
int64_t irq_step(int fd, enum step step);

#endif
