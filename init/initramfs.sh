#!/bin/sh
# SPDX-License-Identifier: MIT
# An example for an initramfs with busybox: a piece of /init that brings disks up before anything is mounted. It needs pcid,
# nvmed and pcidctl with their libraries, /etc/pcid.d/pcid.conf with the functions to take in its section vfio, the modules
# below, and /proc, /sys, /dev and /run mounted.
#
# It never hangs: pcid returns when the disks are there, or says what is wrong, after 30 s at most.
modprobe vfio-pci
modprobe vfio_iommu_type1
pcid --bus vfio --pidfile /run/pcid.pid --daemonize 2>/run/pcid.log || cat /run/pcid.log
pcidctl disks
# pcid goes on after switch_root: its sockets are in /run, which moves along. To end it before: kill $(cat /run/pcid.pid)
