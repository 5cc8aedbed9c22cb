# SPDX-License-Identifier: MIT
# pcid under runit and under s6, by the run file in init/s6: up, its disk there; killed, up again; reload; down, and the
# functions are the kernel's.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
await has_disk 0000:00:03.0
unset PCID_RUNTIME_DIR
rm -rf /etc/pcid.d /run/pcid /run/service
mkdir -p /etc/pcid.d /run/service
cp /tests/pcid.conf /etc/pcid.d/10-pcid.conf
trap 'cat /tmp/supervised.log; kill $supervisor 2>/dev/null || true' EXIT
disk()
{
	pcidctl disk info nvme0n1
}
second_disk()
{
	pcidctl disk info nvme1n1
}
killed_and_back()
{
	old=$(pidof pcid)
	kill -9 $old
	again()
	{
		new=$(pidof pcid) && [ "$new" != "$old" ] && disk
	}
	await again
}

for kind in runit s6; do
	echo 'vfio { take = {"0000:00:02.0"} }' >/etc/pcid.d/20-take.conf
	cp -R /tests/init.d/s6/pcid /run/service/$kind
	chmod 755 /run/service/$kind/run
	if [ $kind = runit ]; then
		runsv /run/service/$kind >/tmp/supervised.log 2>&1 &
		supervisor=$!
		await disk
	else
		s6-supervise /run/service/$kind >/tmp/supervised.log 2>&1 &
		supervisor=$!
		await s6-svstat /run/service/$kind
		s6-svwait -U -t 30000 /run/service/$kind || fail "s6 was not told that pcid is ready"
		there_or_told nvme0n1 /tmp/supervised.log
	fi
	killed_and_back
	echo 'vfio { take = {"0000:00:03.0"} }' >/etc/pcid.d/30-more.conf
	case $kind in
	runit) sv hup /run/service/$kind ;;
	s6) s6-svc -h /run/service/$kind ;;
	esac
	await second_disk
	case $kind in
	runit) sv -w 30 stop /run/service/$kind ;;
	s6) s6-svc -wD -T 30000 -d /run/service/$kind ;;
	esac
	is_as_before 0000:00:02.0 nvme
	is_as_before 0000:00:03.0 nvme
	case $kind in
	runit) sv exit /run/service/$kind ;;
	s6) s6-svc -x /run/service/$kind ;;
	esac
	wait $supervisor || true
	cat /tmp/supervised.log
	! pidof pcid || fail "pcid runs without its supervisor"
	rm /etc/pcid.d/30-more.conf
done
rm -r /etc/pcid.d
