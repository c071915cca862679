//! Bad input that is found only on the way to a VM: one clear line, nothing left behind.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::fs::File;
use std::process::Stdio;

use support::kernels::{LOW, STOP, cut_bzimage, elf};
use support::{Background, Bed};

/// Puts the files that the table names into place.
fn prepare(bed: &Bed) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(bed.path(name), bytes).expect("written");
    let tiny = elf(LOW, &STOP);
    write("tiny", &tiny);
    write("text", b"#!/bin/sh\necho I am no kernel\n");
    write("cut-header", &tiny[..40]);
    write("cut-code", &tiny[..0x1001]);
    write("cut-bzimage", &cut_bzimage());
    write("high", &elf(40 << 20, &STOP));
    write("low", &elf(0x1000, &STOP));
    let mut foreign = tiny;
    foreign[18] = 183;
    write("foreign", &foreign);
    let big = File::create(bed.path("big")).expect("made");
    big.set_len(1 << 30).expect("grown");
    drop(std::os::unix::net::UnixListener::bind(bed.path("a-socket")).expect("bind"));
}

#[test]
fn what_makes_no_vm_is_told_in_one_line() {
    let bed = Bed::new();
    prepare(&bed);
    let before = std::fs::read_dir(bed.directory.path()).expect("directory").count();
    for (args, expected) in [
        (&["--kernel", "text"][..], "kernel text: it is "),
        (&["--kernel", "cut-header"], "kernel cut-header: it is truncated: its ELF header"),
        (&["--kernel", "cut-code"], "kernel cut-code: it is truncated: its segment ends at byte"),
        (&["--kernel", "cut-bzimage"], "kernel cut-bzimage: it is truncated: "),
        (&["--kernel", "foreign"], "kernel foreign: it is built for AArch64, not for x86-64"),
        (
            &["--kernel", "high", "--memory", "size=32M"],
            "kernel high: it needs memory from 0x2800000 to 0x2800004, but the RAM",
        ),
        (&["--kernel", "low"], "kernel low: it wants to be at 0x1000, below 1 MiB"),
        (
            &["--kernel", "tiny", "--initramfs", "big", "--memory", "size=64M"],
            "initramfs big: its 1073741824 bytes do not fit",
        ),
        (
            &["--memory", "size=3T,prefault=on"],
            "guest RAM cannot be faulted in (prefault=on): the host has ",
        ),
        (&["--cpus", "boot=1,affinity=[0@[900]]"], "cpus: affinity of vCPU 0: this host has n"),
        (
            &["--cpus", "boot=2,affinity=[1@[0,900]]"],
            "affinity of vCPU 1: this host has no CPU 900",
        ),
        (
            &["--serial", "file=missing/out"],
            "serial: cannot open missing/out for the console's output: No such file",
        ),
        (
            &["--serial", "socket=missing/socket"],
            "serial: cannot listen on the socket missing/socket: No such file",
        ),
        (
            &["--console", "file=missing/out"],
            "console: cannot open missing/out for the console's output: No such file",
        ),
        (
            &["--serial", "socket=text"],
            "serial: text exists and is not a socket; name a path that is free",
        ),
    ] {
        for background in [&["--name", "web"][..], &["--detach"]] {
            let args: Vec<&str> = ["run"].iter().chain(args).chain(background).copied().collect();
            let (status, line) = bed.fails(&args);
            assert_eq!(status, 1, "{args:?}: {line}");
            assert!(line.contains(expected), "{args:?}: {line} lacks {expected}");
            assert!(bed.left_behind().is_empty(), "{args:?}: {:?}", bed.left_behind());
        }
    }
    let after: Vec<_> = std::fs::read_dir(bed.directory.path()).expect("directory").collect();
    // And the runtime directory.
    assert_eq!(after.len(), before + 1, "{after:?}");
}

#[test]
fn more_vcpus_than_kvm_allows_are_told() {
    let bed = Bed::new();
    let args = ["run", "--detach", "--cpus", "boot=1024"];
    let output = bed.run(&args);
    if output.status.success() {
        bed.ok(&["kill"]);
        // As many as a configuration can ask for, so one more is refused before KVM is asked.
        let (status, line) = bed.fails(&["run", "--cpus", "boot=1025"]);
        assert_eq!(status, 1);
        assert!(line.contains("at most 1024 are possible"), "{line}");
    } else {
        let (status, line) = support::failed(&output, &args);
        assert_eq!(status, 1);
        assert!(line.contains("1024 vCPUs are too many: this host's KVM allows "), "{line}");
    }
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}

#[test]
fn what_another_vm_has_is_refused_and_stays_the_others() {
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &["--serial", "socket=serial"]);
    for (args, expected) in [
        (&["--name", "web"][..], "error: a VM named \"web\" runs already, pid "),
        (&["--name", "other", "--serial", "socket=serial"], "error: serial: "),
        (
            &["--api-socket", "stillpoint/web.sock"],
            "error: API socket stillpoint/web.sock is in use",
        ),
    ] {
        let args: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let (status, line) = bed.fails(&args);
        assert_eq!(status, 1, "{args:?}: {line}");
        assert!(line.starts_with(expected), "{args:?}: {line}");
        assert_eq!(bed.left_behind(), ["web.sock"], "{args:?}");
        assert!(bed.ok(&["info", "web"]).contains("Running"));
    }
    std::os::unix::net::UnixStream::connect(bed.path("serial")).expect("the serial port is there");
    bed.ok(&["stop", "web"]);
    assert!(!std::path::Path::new(&bed.path("serial")).exists());
    drop(vm);
}

#[test]
fn a_host_without_room_for_the_vcpus_is_told() {
    let bed = Bed::new();
    let limited = ["--nofile=60:60", env!("CARGO_BIN_EXE_stillpoint")];
    let options = ["run", "--cpus", "boot=64", "--serial", "null"];
    for background in [&[][..], &["--detach"]] {
        let args: Vec<&str> = limited.iter().chain(&options).chain(background).copied().collect();
        let output = bed.command_of("prlimit", &args).output().expect("started");
        let (status, line) = support::failed(&output, &args);
        assert_eq!(status, 1);
        // Whichever of a vCPU's two is one too many, which depends on how many the process has already.
        assert!(line.contains("no room for the files of a vCPU"), "{line}");
        assert!(line.contains("Too many open files") && line.contains("ulimit -n"), "{line}");
        assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    }
}

#[test]
fn of_many_that_want_one_name_at_once_one_gets_it() {
    let bed = Bed::new();
    let args = ["run", "--detach", "--name", "web"];
    let started: Vec<_> = (0..6)
        .map(|_| {
            let mut command = bed.command(&args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
        })
        .collect();
    let mut winners = 0;
    for child in started {
        let output = child.wait_with_output().expect("ended");
        if output.status.success() {
            winners += 1;
        } else {
            let (_, line) = support::failed(&output, &args);
            assert!(line.starts_with("error: a VM named \"web\" runs already"), "{line}");
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(bed.left_behind(), ["web.sock"]);
    bed.ok(&["stop", "web"]);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}
