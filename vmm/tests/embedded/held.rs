//! What this process holds, to find out what a VM leaves behind. A test that looks at it is the only one of its process.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

/// Threads by name, descriptors by what they are of, and mapped guest memory.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    pub threads: BTreeMap<String, usize>,
    pub descriptors: BTreeMap<String, usize>,
    pub guest_memory: usize,
}

impl Held {
    pub fn now() -> Self {
        let mut threads = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            // A thread that ends while it is looked at is gone.
            if let Ok(name) = std::fs::read_to_string(task.unwrap().path().join("comm")) {
                *threads.entry(name.trim().to_owned()).or_default() += 1;
            }
        }
        let mut descriptors = BTreeMap::new();
        let folder = std::fs::File::open("/proc/self/fd").unwrap();
        for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(folder.as_raw_fd().to_string()) {
                continue;
            }
            let Ok(target) = std::fs::read_link(path) else { continue };
            // Numbers of sockets, pipes and vCPUs differ from one to the next.
            let target = target.to_string_lossy();
            let parts = if target.starts_with("anon_inode:") { 2 } else { 1 };
            let kind = target.split(':').take(parts).collect::<Vec<_>>().join(":");
            *descriptors.entry(kind).or_default() += 1;
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let guest_memory = maps.lines().filter(|line| line.contains("memfd:")).count();
        Self { threads, descriptors, guest_memory }
    }
}
