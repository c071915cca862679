//! Pinning a vCPU's thread to host CPUs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::BuildError;

/// Lets the calling thread run on these host CPUs only; an empty list means all.
pub(in crate::vm) fn pin(vcpu: u32, host_cpus: &[usize]) -> Result<(), BuildError> {
    if host_cpus.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| BuildError::Affinity { vcpu, reason };
    let mut set = CpuSet::new();
    for cpu in host_cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(failed(format!("host CPU {cpu} cannot exist")));
        }
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        failed(format!("this host has none of the CPUs {host_cpus:?} to give ({error})"))
    })?;
    // The kernel leaves out in silence what does not exist.
    let given = sched_getaffinity(None).map_err(|error| failed(error.to_string()))?;
    match host_cpus.iter().find(|cpu| !given.is_set(**cpu)) {
        Some(missing) => Err(failed(format!("this host has no CPU {missing} to give"))),
        None => Ok(()),
    }
}
