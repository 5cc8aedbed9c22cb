# SPDX-License-Identifier: MIT
# The example for an initramfs, as it stands: the disk is there when it has run; where the configuration is wrong, or names
# what the machine does not have, it ends all the same and says what is wrong.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
unset PCID_RUNTIME_DIR
rm -rf /etc/pcid.d /run/pcid /run/pcid.log
mkdir -p /etc/pcid.d
cp /tests/pcid.conf /etc/pcid.d/
example()
{
	sh /tests/init.d/initramfs.sh >/tmp/said 2>&1 || true
	cat /tmp/said /run/pcid.log
}
end()
{
	pid=$(cat /run/pcid.pid)
	kill $pid
	await test ! -e /proc/$pid
}

echo 'vfio { take = {"0000:00:02.0"} }' >/etc/pcid.d/take.conf
example
there_or_told nvme0n1 /run/pcid.log
pcidctl disk read nvme0n1 --output /dev/null --bytes 1M
end
is_as_before 0000:00:02.0 nvme

echo 'vfio { take = {"0000:7f:02.0"} }' >/etc/pcid.d/take.conf
example
grep '0000:7f:02.0: named in .*, but this machine has no such function' /run/pcid.log || fail "nothing was said about it"
end

echo 'vfio { take = {"0000:00:02.0"' >/etc/pcid.d/take.conf
example
grep 'take.conf' /run/pcid.log || fail "nothing was said about the bad file"
end
is_as_before 0000:00:02.0 nvme
rm -r /etc/pcid.d
