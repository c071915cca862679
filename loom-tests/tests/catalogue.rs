//! The models are the catalogue: every entry of sections A, B, C and D, under its name, in its order, with both
//! halves.
#![cfg(all(loom, feature = "vmm"))]

use loom_tests::races;

const CATALOGUE: [&str; 49] = [
    // A. Signalling and acknowledging
    "serial-pause",
    "resume-pause-aba",
    "lost-kick",
    "ack-timeout-load",
    "async-pause",
    "stale-ack",
    "exited-thread-pause",
    "half-paused",
    "double-pause",
    "pauser-token",
    "nmi-storm",
    "gdb-resume",
    // B. A vCPU waits for the control plane while the control plane waits for the vCPU
    "mmio-cpumgr",
    "mmio-vcpustates",
    "mmio-devmgr",
    "activate-vs-pause",
    "activate-vs-migration",
    "activate-fail",
    "double-activation",
    "ecam-activation",
    "shutdown-vs-activation",
    "reset-spin-vs-pause",
    "eject-pause-join",
    "self-eject",
    "serial-block",
    "bar-move-abba",
    // C. Kill, shutdown, hotplug
    "shutdown-while-paused",
    "pause-vs-drop",
    "hotplug-stale-thread",
    "pending-removal",
    "hotplug-visible-early",
    "unplug-readd",
    "dead-worker-unplug",
    "start-barrier-early-return",
    // D. Devices, snapshots, migration
    "incomplete-mmio",
    "unparked-ctrl-queue",
    "barrier-arity",
    "worker-resume-pause",
    "dead-worker-pause",
    "inflight-park",
    "lost-queue-kick",
    "pause-io",
    "reset-not-acked",
    "post-snapshot-dirty",
    "paused-migration",
    "late-fail-paused",
    "reboot-in-migration",
    "disk-lock-handback",
    "clock-soft-lockup",
];

#[test]
fn every_entry_is_a_pair() {
    let names: Vec<_> = races::models().map(|model| model.name).collect();
    assert_eq!(names, CATALOGUE);
    assert!(races::models().all(|model| model.historic.is_some()));
}

#[test]
fn names_are_unique() {
    let names: Vec<_> = loom_tests::runner::models().map(|model| model.name).collect();
    let unique: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}
