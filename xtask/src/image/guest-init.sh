#!/bin/busybox sh
# First program of the Linux test guest. The kernel's command line says what it does:
#   sp.run=shell      a shell on the console; leaving it powers off (the default)
#   sp.run=check      prints what it finds (see `check`), then powers off
#   sp.run=poweroff   powers off at once
#   sp.run=reboot     reboots at once
#   sp.run=commands   reads such words from the console, one a line
# and what the terminal is: sp.rows=, sp.columns=, sp.term=.
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
    # Levels 0 to 4 are emergency to warning; -r keeps the `<level>` in front.
    dmesg -r | grep -E '^<[0-4]>|rcu.*(stall|detected)|soft lockup|hard LOCKUP|hung task|BUG:|WARNING:|Call Trace' |
        sed 's/^/SP dmesg /'
    echo "SP-CHECK-DONE"
}

# Powers off from the outside in: nothing here needs a clean shutdown.
run() {
    case "$1" in
        check) check ;;
        ticks) # N tenths of a second, each counted; what was lost in a pause shows as a gap.
            n=0
            while [ "$n" -lt "${2:-10}" ]; do sleep 0.1; n=$((n + 1)); echo "SP tick=$n"; done
            echo "SP-TICKS-DONE" ;;
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
