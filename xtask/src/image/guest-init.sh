#!/bin/busybox sh
# First program of the Linux test guest. The kernel's command line says what it does:
#   sp.run=shell      a shell on the console; leaving it powers off (the default)
#   sp.run=check      prints what it finds (see `check`), then powers off
#   sp.run=poweroff   powers off at once
#   sp.run=reboot     reboots at once
#   sp.run=commands   reads such words from the console, one a line
# and what the terminal is: sp.rows=, sp.columns=, sp.term=. With sp.drivers it loads those of virtio devices first.
# Lines that start with SP are for the tests to read.

/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root TERM=linux

# From here on the console is for lines that start with SP; `check` shows what the kernel has to say.
dmesg -n 1

uptime_now() { cut -d ' ' -f 1 /proc/uptime; }

check() {
    echo "SP cpus=$(grep -c '^processor' /proc/cpuinfo)"
    echo "SP online=$(cat /sys/devices/system/cpu/online)"
    echo "SP present=$(cat /sys/devices/system/cpu/present)"
    echo "SP model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u)"
    echo "SP clocksource=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
    echo "SP loader=$(cat /proc/sys/kernel/bootloader_type)"
    echo "SP hypervisor=$(dmesg | sed -n 's/.*Hypervisor detected: //p')"
    echo "SP date=$(date +%s)"
    echo "SP before-sleep=$(uptime_now)"
    sleep 1
    echo "SP after-sleep=$(uptime_now)"
    # Every CPU takes its turn: its timer has to wake the sleeper.
    for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
        number=${cpu##*/cpu}
        taskset -c "$number" sleep 0.1 && echo "SP woke=$number"
    done
    lscpu | sed 's/^/SP lscpu /'
    complaints
    echo "SP-CHECK-DONE"
}

# Levels 0 to 4 are emergency to warning; -r keeps the `<level>` in front.
complaints() {
    dmesg -r | grep -E '^<[0-4]>|rcu.*(stall|detected)|soft lockup|hard LOCKUP|hung task|BUG:|WARNING:|Call Trace' |
        sed 's/^/SP dmesg /'
    return 0
}

load_drivers() {
    while read -r module; do
        insmod "$module" || echo "SP cannot load $module"
    done </etc/modules
}

# Waits until `$@` succeeds; the test's patience is the limit.
until_true() { until "$@" 2>/dev/null; do usleep 20000; done; }

# The functions on the bus, each with its driver, and the virtio devices behind them.
pci() {
    for function in /sys/bus/pci/devices/*; do
        driver=$(readlink "$function/driver") || driver=none
        echo "SP pci ${function##*/} $(cat "$function/vendor"):$(cat "$function/device") ${driver##*/}"
    done
    for device in /sys/bus/virtio/devices/*; do
        function=$(readlink -f "$device/..")
        driver=$(readlink "$device/driver") || driver=none
        echo "SP virtio ${function##*/} ${driver##*/}"
    done
    echo "SP vectors=$(grep -c PCI-MSI /proc/interrupts)"
}

disk_at() { test -e "/sys/bus/pci/devices/$1"/virtio*/block/vd?; }

# A disk by the place of its function on the bus, as a file system at /mnt/ID.
mount_disk() { # ID BDF
    until_true disk_at "$2"
    disk=$(basename "/sys/bus/pci/devices/$2"/virtio*/block/*)
    until_true test -b "/dev/$disk"
    mkdir -p "/mnt/$1"
    mount -t ext4 "/dev/$disk" "/mnt/$1" && echo "SP disk=$disk"
}

# Files of random bytes, with their checksums; every second one is overwritten and every third goes away again.
fill_disk() { # ID FILES KIB
    n=0
    while [ "$n" -lt "$2" ]; do
        n=$((n + 1))
        dd if=/dev/urandom of="/mnt/$1/f$n" bs=1k count="$3" conv=fsync 2>/dev/null || return
        [ $((n % 2)) = 0 ] || continue
        dd if=/dev/urandom of="/mnt/$1/f$n" bs=512 seek=3 count=9 conv=notrunc,fsync 2>/dev/null || return
    done
    rm -f "/mnt/$1"/f3 "/mnt/$1"/f6
    sync
    (cd "/mnt/$1" && sha256sum f*) >"/tmp/$1.sums" || return
    sed 's/^/SP sum /' "/tmp/$1.sums"
}

# The same files, from the disk and not from the page cache.
reread_disk() { # ID
    sync
    echo 3 >/proc/sys/vm/drop_caches
    (cd "/mnt/$1" && sha256sum -c "/tmp/$1.sums") >/dev/null
}

# What is on it, for a guest that has not written it.
sums_of_disk() { # ID
    (cd "/mnt/$1" && sha256sum f*) | sed 's/^/SP sum /'
}

# Reads the disk round and round, past the page cache, in the background, until it goes away.
read_on() { # ID BDF
    disk=$(basename "/sys/bus/pci/devices/$2"/virtio*/block/*)
    (
        n=0
        while dd if="/dev/$disk" of=/dev/null bs=64k iflag=direct 2>/dev/null; do n=$((n + 1)); echo "$n" >"/tmp/$1.rounds"; done
        echo gone >"/tmp/$1.reader"
    ) &
    until_true test -s "/tmp/$1.rounds"
}
read_ended() { # ID
    until_true test -s "/tmp/$1.reader"
    rm -f "/tmp/$1.rounds" "/tmp/$1.reader"
}

# Waits until the disk has so many sectors.
disk_size() { # BDF SECTORS
    until_true sh -c "[ \$(cat /sys/bus/pci/devices/$1/virtio*/block/vd?/size) = $2 ]"
}

# Random writes of many sizes, some flushed, then all of it read back and compared, past the page cache.
fio_disk() { # ID MIB
    fio --name=verify --filename="/mnt/$1/fio" --size="$2m" --rw=randwrite --bsrange=4k-64k --ioengine=libaio --iodepth=16 \
        --direct=1 --fdatasync=16 --verify=crc32c --verify_fatal=1 --do_verify=1 --thread >"/tmp/$1.fio" 2>&1 &&
        grep -q ' err= 0:' "/tmp/$1.fio" && rm "/mnt/$1/fio" && return
    sed 's/^/SP fio /' "/tmp/$1.fio"
    return 1
}

# Writes files round and round in the background, each through to the disk, until that goes away.
write_on() { # ID
    (
        n=0
        while dd if=/dev/urandom of="/mnt/$1/w$((n % 8))" bs=64k count=4 conv=fsync 2>/dev/null; do n=$((n + 1)); echo "$n" >"/tmp/$1.rounds"; done
        echo gone >"/tmp/$1.reader"
    ) &
    until_true test -s "/tmp/$1.rounds"
}

trim_disk() { fstrim "/mnt/$1"; }
umount_disk() { umount "/mnt/$1"; }

# The network card, with an address.
net_up() { # ADDRESS/BITS
    until_true ip link show eth0
    ip link set lo up && ip addr add "$1" dev eth0 && ip link set eth0 up
    until_true grep -q 1 /sys/class/net/eth0/carrier
}

net_ping() { ping -c 3 -W 30 "$1" | sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) packets received.*/SP ping=\1 \2/p'; }
net_fetch() { echo "SP sum $(wget -q -O - "$1" | sha256sum)"; }

# The same on each processor at once, several times; a line each.
net_fetch_everywhere() { # URL TIMES
    for cpu in 0 1; do
        (
            n=0
            while [ "$n" -lt "$2" ]; do
                taskset -c "$cpu" wget -q -O - "$1" | sha256sum
                n=$((n + 1))
            done
        ) >"/tmp/fetched.$cpu" &
        eval "fetcher$cpu=$!"
    done
    wait "$fetcher0" "$fetcher1"
    sed 's/^/SP sum /' /tmp/fetched.0 /tmp/fetched.1
}

# How the card is used: merged receive buffers (feature 15), queues in use, and the interrupts of each so far.
net_queues() {
    echo "SP merged=$(cut -c16 /sys/class/net/eth0/device/features)"
    echo "SP pairs=$(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
    awk '/-input\.[0-9]+$/ { n = 0; for (i = 2; i < NF; i++) if ($i ~ /^[0-9]+$/) n += $i; sub(/.*-/, "", $NF); print "SP " $NF "=" n }' /proc/interrupts
}

# Makes a file and hands it out over HTTP.
net_serve() { # KIB
    mkdir -p /tmp/www
    dd if=/dev/urandom of=/tmp/www/data bs=1k count="$1" 2>/dev/null && httpd -p 80 -h /tmp/www &&
        echo "SP sum $(sha256sum </tmp/www/data)"
}

net_fetch_is() { # URL SUM
    got=$(wget -q -O - "$1" | sha256sum)
    [ "$got" = "$2  -" ] || { echo "came: $got"; return 1; }
}

# Does a command over and over in the background. Each time has to go well.
over_and_over() { # NAME COMMAND…
    name=$1
    shift
    (
        n=0
        while [ ! -e "/tmp/$name.stop" ]; do
            "$@" >"/tmp/$name.said" 2>&1 || { echo failed >"/tmp/$name.end"; exit; }
            n=$((n + 1))
            echo "$n" >"/tmp/$name.new" && mv "/tmp/$name.new" "/tmp/$name.count"
        done
        echo well >"/tmp/$name.end"
    ) &
    until_true test -s "/tmp/$name.count"
}
# Waits until it has come round twice, or has failed.
goes_on() { # NAME
    before=$(cat "/tmp/$1.count")
    until_true sh -c "[ -e /tmp/$1.end ] || [ \$(cat /tmp/$1.count) -ge $((before + 2)) ]"
    [ ! -e "/tmp/$1.end" ] || { sed "s/^/SP $1 /" "/tmp/$1.said"; return 1; }
}
# Ends it after its last time.
over() { # NAME
    touch "/tmp/$1.stop"
    until_true test -s "/tmp/$1.end"
    echo "SP $1=$(cat "/tmp/$1.count")"
    [ "$(cat "/tmp/$1.end")" = well ] || { sed "s/^/SP $1 /" "/tmp/$1.said"; return 1; }
}

# The program that looks whether registers, timers, clocks and system calls are what they have to be.
witness_begin() {
    witness /tmp/witness.ask /tmp/witness.stop >/tmp/witness.said 2>&1 &
    echo $! >/tmp/witness.pid
    witness_goes_on
}
witness_runs() { kill -0 "$(cat /tmp/witness.pid)" 2>/dev/null; }
witness_answers() { [ ! -e /tmp/witness.ask ] || ! witness_runs; }
witness_goes_on() {
    touch /tmp/witness.ask
    until_true witness_answers
    witness_runs || { sed 's/^/SP witness /' /tmp/witness.said; return 1; }
}
witness_end() {
    touch /tmp/witness.stop
    wait "$(cat /tmp/witness.pid)"
    status=$?
    cat /tmp/witness.said
    return $status
}

entropy() { # KIB
    until_true grep -q virtio /sys/class/misc/hw_random/rng_current
    echo "SP rng=$(cat /sys/class/misc/hw_random/rng_current)"
    echo "SP sum $(dd if=/dev/hwrng bs=1k count="$1" iflag=fullblock 2>/dev/null | sha256sum)"
    echo "SP sum $(dd if=/dev/hwrng bs=1k count="$1" iflag=fullblock 2>/dev/null | sha256sum)"
}

# Waits until MemTotal has fallen (-lt) or risen (-gt) to what is said, or is that (-eq).
memory_total() { # -lt|-gt|-eq KIB
    until_true sh -c "[ \$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) $1 $2 ]"
    grep -E '^Mem(Total|Free)' /proc/meminfo | sed 's/^/SP /'
}

# Brings every CPU up that has come, and waits until there are so many.
cpus_are_up() { # COUNT
    for online in /sys/devices/system/cpu/cpu[0-9]*/online; do
        [ "$(cat "$online")" = 1 ] || echo 1 >"$online"
    done
    [ "$(online_cpus | wc -l)" = "$1" ]
}
cpus_up() { until_true cpus_are_up "$1"; } # COUNT

# Their numbers, which are the kernel's own: in the order in which it brought them up.
online_cpus() { sed -n 's/^processor[^0-9]*//p' /proc/cpuinfo; }

cpus() {
    echo "SP cpus=$(grep -c '^processor' /proc/cpuinfo)"
    echo "SP online=$(cat /sys/devices/system/cpu/online)"
    echo "SP possible=$(cat /sys/devices/system/cpu/possible)"
    echo "SP lscpu=$(lscpu | sed -n 's/^On-line CPU(s) list: *//p')"
    echo "SP added=$(dmesg | grep -c 'has been hot-added')"
    echo "SP offlined=$(dmesg | grep -c 'is now offline')"
}

# The NUMA nodes as the kernel has them, and the memory that each began with.
nodes() {
    for node in /sys/devices/system/node/node[0-9]*; do
        echo "SP node${node##*/node} cpus=$(cat "$node/cpulist")"
        echo "SP node${node##*/node} distances=$(cat "$node/distance")"
        echo "SP node${node##*/node} KiB=$(sed -n 's/.*MemTotal: *\([0-9]*\).*/\1/p' "$node/meminfo")"
    done
    dmesg | sed -n 's/.*Initmem setup node \([0-9]*\) /SP node\1 began with /p'
}

# Each CPU that is there: its APIC id, and its node.
cpu_nodes() {
    sed -n 's/^processor[^0-9]*//p;s/^apicid[^0-9]*//p' /proc/cpuinfo | while read -r cpu && read -r id; do
        node=$(echo /sys/devices/system/cpu/cpu"$cpu"/node*)
        echo "SP apic $id node ${node##*/node}"
    done
}

# A program on each CPU, that runs there and nowhere else, and counts; those whose CPU has gone end.
pin() {
    for pid in /tmp/pin.*.pid; do
        cpu=${pid#/tmp/pin.} && cpu=${cpu%.pid}
        [ ! -e "$pid" ] || [ -e "/sys/devices/system/cpu/cpu$cpu" ] || { kill "$(cat "$pid")" && rm "$pid"; }
    done
    for cpu in $(online_cpus); do
        [ ! -e "/tmp/pin.$cpu.pid" ] || continue
        echo 0 >"/tmp/pin.$cpu"
        taskset -c "$cpu" sh -c "n=0; while :; do n=\$((n + 1)); echo \$n >/tmp/pin.$cpu.new; mv /tmp/pin.$cpu.new /tmp/pin.$cpu; done" &
        echo $! >"/tmp/pin.$cpu.pid"
    done
}

# Waits until each of them has counted on, on its CPU.
pinned_go_on() {
    for cpu in $(online_cpus); do
        before=$(cat "/tmp/pin.$cpu")
        until_true sh -c "[ \$(cat /tmp/pin.$cpu) -gt $before ]"
        [ "$(cut -d ' ' -f 39 "/proc/$(cat "/tmp/pin.$cpu.pid")/stat")" = "$cpu" ] || return
    done
}

# A file of its own content.
memory_file() { # NUMBER
    echo "$1"
    cat /tmp/seed
}

# Files in memory, all different, of 8 MiB each.
fill_memory() { # FILES
    mkdir -p /tmp/memory && mount -t tmpfs -o size=100% memory /tmp/memory || return
    dd if=/dev/urandom of=/tmp/seed bs=1k count=8192 2>/dev/null || return
    n=0
    while [ "$n" -lt "$1" ]; do
        n=$((n + 1))
        memory_file "$n" >"/tmp/memory/$n" || return
        memory_file "$n" | md5sum | sed "s,-,/tmp/memory/$n," >>/tmp/memory.sums
    done
}

# Compares them with what they were made of. By sums: to compare bytes takes this guest several times as long.
check_memory() { # FILES
    [ "$(wc -l </tmp/memory.sums)" = "$1" ] && md5sum -c /tmp/memory.sums >/dev/null
}

free_memory() { umount /tmp/memory && rm /tmp/seed /tmp/memory.sums; }

# Waits until a function has left the bus.
gone() { # BDF
    until_true test ! -e "/sys/bus/pci/devices/$1"
}

# Says back what is typed on hvc0, and how large the terminal is.
answer_on_hvc0() {
    until_true test -c /dev/hvc0
    stty -echo </dev/hvc0
    (while read -r line; do echo "hvc0 got $line, size $(stty size)"; done) </dev/hvc0 >/dev/hvc0 &
}

# Gives back what it is sent on this port.
vsock_echo() { # PORT
    socat -t 60 "VSOCK-LISTEN:$1,fork" EXEC:cat &
}

# Sends bytes to the host.
vsock_send() { # PORT KIB
    dd if=/dev/urandom of=/tmp/vsock bs=1k count="$2" 2>/dev/null
    socat -u FILE:/tmp/vsock "VSOCK-CONNECT:2:$1" && echo "SP sum $(sha256sum </tmp/vsock)"
}

# Says when the power button was pressed, as acpid sees it, and powers off at the second time.
listen_for_button() {
    for device in /sys/class/input/event*; do
        [ "$(cat "$device/device/name")" = "Power Button" ] && event=/dev/input/${device##*/}
    done
    [ -n "$event" ] || return
    # Open before anybody presses: what comes earlier is lost.
    exec 3<"$event"
    echo "SP buttons=$(dmesg | grep -c 'Power Button \[PWRB\]')"
    (
        n=0
        # Pressed, end of report, released, end of report: 24 bytes each. The key's number is at byte 18.
        while dd bs=24 count=4 <&3 >/tmp/button 2>/dev/null; do
            n=$((n + 1))
            echo "SP-BUTTON $n key $(od -An -tu2 -j18 -N2 /tmp/button | tr -d ' ')"
            [ "$n" = 2 ] && poweroff -f
        done
    ) &
}

# Its kernel crashes.
crash() { echo c >/proc/sysrq-trigger; }

# Arms the watchdog and kicks it every second.
watchdog_kicked() { # SECONDS
    until_true test -c /dev/watchdog
    echo "SP identity=$(cat /sys/class/watchdog/watchdog0/identity)"
    echo "SP bootstatus=$(cat /sys/class/watchdog/watchdog0/bootstatus)"
    watchdog -T "$1" -t 1 /dev/watchdog
    until_true grep -q -w active /sys/class/watchdog/watchdog0/state
    echo "SP timeout=$(cat /sys/class/watchdog/watchdog0/timeout)"
}
# Kicks it no longer, without closing it.
watchdog_silent() { killall -STOP watchdog; }

# Powers off from the outside in: nothing here needs a clean shutdown.
run() {
    case "$1" in
        check) check ;;
        ticks) # N tenths of a second, each counted; what was lost in a pause shows as a gap.
            n=0
            while [ "$n" -lt "${2:-10}" ]; do sleep 0.1; n=$((n + 1)); echo "SP tick=$n"; done
            echo "SP-TICKS-DONE" ;;
        pci | mount_disk | fill_disk | reread_disk | sums_of_disk | fio_disk | write_on | read_on | read_ended | disk_size | trim_disk | umount_disk | \
            net_up | net_ping | net_fetch | net_fetch_is | over_and_over | goes_on | over | witness | witness_begin | witness_goes_on | witness_end | net_fetch_everywhere | net_queues | net_serve | entropy | memory_total | fill_memory | check_memory | free_memory | gone | answer_on_hvc0 | vsock_echo | vsock_send | \
            cpus | cpus_up | nodes | cpu_nodes | pin | pinned_go_on | listen_for_button | watchdog_kicked | watchdog_silent | crash | complaints)
            "$@"
            echo "SP-DONE $?" ;;
        date) echo "SP date=$(date +%s) uptime=$(uptime_now)"; echo "SP-DATE-DONE" ;;
        poweroff) poweroff -f ;;
        reboot) reboot -f ;;
        shell)
            stty sane ${rows:+rows "$rows"} ${columns:+columns "$columns"}
            echo "Debian's stock cloud kernel, $(uname -r), $(nproc) CPU(s). Leave the shell to power off."
            setsid -c sh -l
            poweroff -f ;;
        *) echo "SP-UNKNOWN $*" ;;
    esac
}

what=shell
for word in $(cat /proc/cmdline); do
    case "$word" in
        sp.run=*) what=${word#sp.run=} ;;
        sp.rows=*) rows=${word#sp.rows=} ;;
        sp.columns=*) columns=${word#sp.columns=} ;;
        sp.term=*) TERM=${word#sp.term=} ;;
        sp.drivers) load_drivers ;;
    esac
done

# Before the greeting: what is sent in answer to it would come back between the guest's own lines.
[ "$what" = commands ] && stty -echo
echo "SP-READY"
case "$what" in
    check) run check; poweroff -f ;;
    commands)
        # shellcheck disable=SC2086 # a command is words
        while read -r line; do run $line; done
        echo "SP-END-OF-INPUT"
        poweroff -f ;;
    *) run "$what" ;;
esac
# Whatever it was, the first program must not end.
poweroff -f
