#!/bin/busybox sh
# First program of the nested host: loads KVM, runs /sp/command, hands over its exit status and /out, powers off.
# Virtual serial ports carry what comes out: sp.out and sp.err the command's output, sp.status its exit status.
# With sp.tty on the kernel's command line the command gets the second serial port as its terminal instead.

/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/pts /dev/shm
/bin/busybox mount -t devpts pts /dev/pts
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox mount -t tmpfs -o mode=0755 tmpfs /run
/bin/busybox --install -s
export PATH=/usr/local/bin:/sbin:/usr/sbin:/bin:/usr/bin HOME=/root TERM="${TERM:-linux}" XDG_RUNTIME_DIR=/run
export SHELL=/bin/sh STILLPOINT_GUEST=/guest
ip link set lo up 2>/dev/null

while read -r module; do
    insmod "$module" || echo "cannot load $module"
done </etc/modules

# The ports announce themselves a moment after their driver was loaded: wait for each one's name.
port() {
    while :; do
        for dir in /sys/class/virtio-ports/*; do
            [ -e "$dir/name" ] && [ "$(cat "$dir/name")" = "$1" ] && echo "/dev/${dir##*/}" && return
        done
        usleep 10000
    done
}
status_port=$(port sp.status)

cd /files || exit 1
echo "running the command"
if grep -q -w sp.tty /proc/cmdline; then
    for word in $(cat /proc/cmdline); do
        case "$word" in
            sp.rows=*) rows=${word#sp.rows=} ;;
            sp.columns=*) columns=${word#sp.columns=} ;;
            sp.term=*) TERM=${word#sp.term=} ;;
        esac
    done
    stty sane 115200 ${rows:+rows "$rows"} ${columns:+columns "$columns"} </dev/ttyS1
    setsid -c sh /sp/command </dev/ttyS1 >/dev/ttyS1 2>&1
    status=$?
else
    sh /sp/command </dev/null >"$(port sp.out)" 2>"$(port sp.err)"
    status=$?
fi
echo "the command ended with status $status"
tar -cf /dev/vda -C /out . || echo "cannot bring /out back"
sync
echo "$status" >"$status_port"
poweroff -f
