//! What the host's scheduler knows of a VM's vCPU threads: for how long each ran and waited for a processor
//! (`/proc/PID/task/TID/schedstat`). The rest it slept, and a spinning vCPU sleeps only while it is held.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The vCPU threads of the only VM in this process.
pub struct Threads(Vec<PathBuf>);

/// What each thread had run and waited at a time.
pub struct Reading {
    at: Instant,
    threads: Vec<[Duration; 2]>,
}

/// Bounds of the share of the time in which a thread was held, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// It slept.
    pub least: f64,
    /// It slept, or waited for a processor: part of that is its wake, part is others' work on this host.
    pub most: f64,
}

impl Threads {
    pub fn of_the_vm() -> Self {
        let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let is_vcpu = |task: &PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("vcpu"))
        };
        Self(tasks.filter(is_vcpu).collect())
    }

    /// Nothing where the kernel does not count (`CONFIG_SCHED_INFO`).
    pub fn read(&self) -> Option<Reading> {
        let read = |task: &PathBuf| {
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            let mut nanos = text.split_whitespace().map(|field| field.parse().ok());
            Some([(); 2].map(|()| nanos.next().flatten().map(Duration::from_nanos)))
        };
        let threads: Option<Vec<_>> = self
            .0
            .iter()
            .map(|task| read(task).and_then(|[ran, waited]| Some([ran?, waited?])))
            .collect();
        Some(Reading { at: Instant::now(), threads: threads? })
    }
}

impl Reading {
    /// Of each thread, since then.
    pub fn since(&self, then: &Self) -> Vec<Held> {
        let wall = self.at - then.at;
        let percent = |time: Duration| 100.0 * (1.0 - time.as_secs_f64() / wall.as_secs_f64());
        let held = |(now, then): (&[Duration; 2], &[Duration; 2])| {
            let [ran, waited] = [0, 1].map(|which| now[which].saturating_sub(then[which]));
            Held { least: percent(ran + waited), most: percent(ran) }
        };
        self.threads.iter().zip(&then.threads).map(held).collect()
    }
}
