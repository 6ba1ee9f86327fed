#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
#
# Init of the guest (initrd.py puts it there): mounts, hugepages, then commands from the second serial line, one a line. After
# each the line ==STATUS== is written. `nic_bind` and `nic_release` are what docs/operations.md tells people to do.
export PATH=/bin:/usr/bin:/usr/sbin
/bin/busybox --install -s /bin
chmod 755 / # EAL loads no drivers from below a folder that anyone may write
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/hugepages /run/mailrace
mount -t tmpfs tmpfs /dev/shm
mount -t hugetlbfs hugetlbfs /dev/hugepages
ip link set lo up

# The PCI address of the only NIC.
nic() {
	for d in $(grep -l 0x020000 /sys/bus/pci/devices/*/class); do
		basename "${d%/class}"
	done
}

nic_driver() {
	basename "$(readlink "/sys/bus/pci/devices/$1/driver")"
}

nic_bind() {
	echo vfio-pci >"/sys/bus/pci/devices/$1/driver_override"
	[ -e "/sys/bus/pci/devices/$1/driver" ] && echo "$1" >"/sys/bus/pci/devices/$1/driver/unbind"
	echo "$1" >/sys/bus/pci/drivers_probe
	[ "$(nic_driver "$1")" = vfio-pci ]
}

nic_release() {
	echo >"/sys/bus/pci/devices/$1/driver_override"
	echo "$1" >/sys/bus/pci/drivers/vfio-pci/unbind
	echo "$1" >/sys/bus/pci/drivers_probe
	[ "$(nic_driver "$1")" != vfio-pci ]
}

# Loads a module and those that it needs, as initrd.py wrote them down.
module() {
	for m in $(cat "/modules/$1.list"); do
		grep -q "^$m " /proc/modules && continue
		options=
		# the emulated IOMMU has no interrupt remapping
		[ "$m" = vfio_iommu_type1 ] && options=allow_unsafe_interrupts=1
		insmod "/modules/$m.ko" $options || return 1
	done
}

exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
echo "==0=="
while read -r line; do
	eval "$line"
	echo "==$?=="
done
poweroff -f
