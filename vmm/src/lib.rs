//! KVM, vCPU threads, guest memory, boot, the VM's state machine and its REST API.
pub mod acpi;
pub mod api;
pub mod boot;
pub mod config;
pub mod consoles;
pub mod control;
pub mod cpuid;
pub mod host_devices;
pub mod memory;
pub mod migration;
pub mod process;
pub mod sched;
pub mod vcpu;
pub mod vm;
