//! Every known lifecycle race as a model, and the production types in the same scenario.
//!
//! # Layout
//!
//! * [`kvm`]: a model of KVM_RUN, of the signal that interrupts it and of that signal's handler.
//! * [`vcpu`]: the vCPU loop in production's order, over the production [`vcpu_state::Member`].
//! * [`bed`]: a group of such vCPUs, and what a control thread does to it.
//! * [`cpus`]: CPU hotplug, with production's registers.
//! * [`device`]: a virtio device, with production's registers, activator and worker loop.
//! * [`pci`]: a PCI bus, with production's buses, segment, hotplug registers and attendant.
//! * [`power`]: production's power registers and requests, for a bed's vCPUs.
//! * [`basics`]: pause, resume, kill and kick, with two vCPUs and two controllers (loom).
//! * [`races`]: the catalogue. Each entry is a pair: the historic protocol, in which loom must find
//!   the failure that the entry names, and ours, in which it must find none (loom).
//! * [`runner`]: explores each half in a process of its own and prints the table (loom).
//! * [`scale`]: the same protocol with 32 vCPUs under random schedules (shuttle).
//!
//! # Running
//!
//! ```text
//! RUSTFLAGS="--cfg loom"    cargo run  -p loom-tests --release --target-dir target/loom [NAME…]
//! RUSTFLAGS="--cfg loom"    cargo test -p loom-tests --release --target-dir target/loom
//! RUSTFLAGS="--cfg shuttle" cargo test -p loom-tests --release --target-dir target/shuttle
//! ```
//!
//! Without either flag the crate is empty: the models need the checkers' atomics.
//!
//! # What loom does not see
//!
//! Of the accesses to an atomic loom remembers the last one only. So it misses that a thread's load may come
//! after another thread's store, if that thread loads the same atomic between the two. Words are therefore also
//! explored with reads that are read-modify-writes ([`vcpu_state::sync::Reads`]), which it orders all; models about
//! other numbers keep the storing thread from looking first (`work-item-last-answer`).
#![forbid(unsafe_code)]
#![cfg(any(loom, shuttle))]

pub mod bed;
pub mod checker;
pub mod kvm;
pub mod vcpu;

#[cfg(loom)]
pub mod basics;
#[cfg(loom)]
pub mod cpus;
#[cfg(loom)]
pub mod device;
#[cfg(loom)]
pub mod model;
#[cfg(loom)]
pub mod monitor;
#[cfg(loom)]
pub mod pci;
#[cfg(all(loom, feature = "vmm"))]
pub mod power;
#[cfg(loom)]
pub mod races;
#[cfg(loom)]
pub mod runner;

#[cfg(shuttle)]
pub mod scale;
