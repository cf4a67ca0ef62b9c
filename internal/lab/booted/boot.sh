# Boots the machine's own files as a host of its own; package booted runs this, in a new
# mount namespace inside the network namespace that the host is to have.
#
#   sh boot.sh outer FOLDER UNITS PACKAGES BINDS    and, by itself: sh boot.sh inner ...
#
# FOLDER is empty and gets a tmpfs: all that the host writes is there, and is gone with it.
# UNITS, PACKAGES (folders with files to lay over the machine's) and BINDS (folders that it
# shares with the machine) are lists with blanks between. Each boot writes the process id
# of the host's PID 1 to descriptor 3.
set -eu
stage=$1 dir=$2 units=$3 packages=$4 binds=$5
root=$dir/root

if [ "$stage" = outer ]; then
	mount --make-rprivate /
	mount -t tmpfs none "$dir"
	mkdir "$dir/cgroup" "$dir/upper" "$dir/work" "$root"
	# A cgroup of its own: systemd as PID 1 rules the one that it finds itself in.
	mount -t cgroup2 none "$dir/cgroup"
	cgroup=$dir/cgroup/drawbridge-$(basename "$dir")
	mkdir "$cgroup"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
	# Nothing that this machine starts, mounts or is told apart by.
	rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires "$root"/etc/rc?.d "$root"/etc/fstab
	: >"$root/etc/machine-id"
	echo host >"$root/etc/hostname"
	# Nor how its network was set up; resolv.conf may lead to its /run.
	for f in systemd/network NetworkManager/system-connections netplan network; do
		rm -rf "${root:?}/etc/$f"
		mkdir -p "$root/etc/$f"
	done
	rm -f "$root/etc/resolv.conf"
	: >"$root/etc/resolv.conf"
	for p in $packages; do
		tar -C "$p" -c . | tar -C "$root" -x --keep-directory-symlink --no-same-owner
	done
	[ -z "$packages" ] || chroot "$root" ldconfig
	if [ -d "$dir.files" ]; then
		cp -a "$dir.files/." "$root/"
	fi
	# For the names by which D-Bus starts them (Alias=); without [Install] there is nothing to do,
	# and one that is not there yet keeps no other from it.
	for u in $units; do
		systemctl --root="$root" enable "$u" >/dev/null 2>&1 || true
	done
	# The host ends when whoever had it booted lets go of our standard input.
	child=
	exec 4<&0
	(
		cat <&4 >/dev/null
		kill -TERM $$
	) &
	watcher=$!
	trap 'again= && [ -z "$child" ] || kill -KILL "$child"' TERM
	again=yes
	while [ "$again" ]; do
		again='' code=0
		mkdir -p "$cgroup" # whoever tidies up may have taken an empty one away
		(
			sh -c 'echo $PPID' >"$cgroup/cgroup.procs"
			exec unshare --pid --cgroup --mount --uts --ipc --fork --kill-child sh "$0" inner "$dir" "$units" "$packages" "$binds"
		) &
		child=$!
		wait "$child" || code=$?
		# reboot(2) inside of a PID namespace ends its PID 1 with SIGHUP, halting with SIGINT
		# (pid_namespace.c, reboot_pid_ns). A machine that starts anew has its own links only.
		if [ "$code" = 129 ]; then
			again=yes
			for kind in bridge vlan bond dummy macvlan vxlan tun; do
				ip -o link show type "$kind" | while IFS=': @' read -r _ name _; do
					ip link del "$name"
				done
			done
			for link in $(ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
				ip addr flush dev "$link"
				ip link set "$link" down
			done
		fi
	done
	kill "$watcher" 2>/dev/null || true
	# Its processes end with its PID 1; the kernel needs a moment to let go.
	for _ in $(seq 50); do
		find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null
		[ -d "$cgroup" ] || break
		sleep 0.1
	done
	[ ! -d "$cgroup" ] || echo "left behind: cgroup $(basename "$cgroup")"
	exit "$code"
fi

# /proc is the outer one still, and tells the process id that is known there.
read -r pid _ </proc/self/stat
echo "$pid" >&3
exec 3>&-
mount -t proc proc "$root/proc"
# Settings of the kernel that are not the network namespace's are the machine's.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
# Read-only, as in every container: no udev then, and nobody waits for one
# (systemd's udev_available, NetworkManager's nm_device).
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 none "$root/run"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount -t tmpfs -o mode=0755 none "$root/dev"
mkdir "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
for d in null zero full random urandom tty net/tun; do
	: >"$root/dev/$d"
	mount --bind "/dev/$d" "$root/dev/$d"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 none "$root/dev/shm"
for b in $binds; do
	mkdir -p "$root$b"
	mount --bind "$b" "$root$b"
done
# basic.target and what was asked for, and nothing else of the machine's.
mkdir -p "$root/run/systemd/system"
cat >"$root/run/systemd/system/drawbridge.target" <<EOT
[Unit]
Requires=basic.target
After=basic.target
Wants=$units
EOT
for u in systemd-sysctl systemd-modules-load systemd-binfmt systemd-udevd systemd-random-seed; do
	ln -s /dev/null "$root/run/systemd/system/$u.service"
done
ln -s /dev/null "$root/run/systemd/system/proc-sys-fs-binfmt_misc.automount"
mkdir -p "$root/.machine"
cd "$root"
pivot_root . .machine
umount -l /.machine
export container=drawbridge
exec setpriv --bounding-set -sys_time,-sys_module,-sys_rawio /lib/systemd/systemd --system --unit=drawbridge.target --log-target=console --show-status=no
