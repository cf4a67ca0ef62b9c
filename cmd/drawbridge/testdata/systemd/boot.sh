#!/bin/sh
# Runs inside new mount, PID, cgroup and network namespaces: starts systemd as PID 1 with
# one unit, exercise.sh of this folder, and nothing else of the machine's.
# $1: a folder for the output, with the program in it; $2: how long the change waits.
set -e
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/netns
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || {
	mount -t tmpfs none /sys/fs/cgroup
	mount -t cgroup2 none /sys/fs/cgroup
}
mount -t proc proc /proc
cat > /run/systemd/system/exercise.service <<EOT
[Unit]
DefaultDependencies=no
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
WorkingDirectory=$1
StandardOutput=file:$1/output
StandardError=file:$1/output
ExecStart=/bin/sh $(dirname "$0")/exercise.sh $1 $2
EOT
export container=test
exec /lib/systemd/systemd --system --unit=exercise.service --log-target=console --crash-shell=0 > "$1/console" 2>&1
