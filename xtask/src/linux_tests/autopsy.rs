//! What a guest that hangs can still tell: collected once, before it is ended.
//!
//! ```text
//! counters, twice ── the VMM's threads in the host's kernel ── an empty line typed ── NMI ── what the guest prints as it panics
//! ```
//!
//! The guest's command line carries [`CMDLINE`], so that the NMI makes its kernel panic and print what every CPU and
//! task was doing. All of it goes to a file in the logs; the error names it.
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::vm::Vm;

/// Linux: panic at an NMI that nobody asked for, and print tasks (1), timers (4), the whole log (0x20) and every CPU's
/// stack (0x40) (`Documentation/admin-guide/kernel-parameters.txt`).
pub const CMDLINE: &str = "unknown_nmi_panic panic_print=0x65";

/// Between the two looks at the counters: what stands still in between is stuck.
const BETWEEN: Duration = Duration::from_secs(2);
/// How long the guest may take over its last words.
const LAST_WORDS: Duration = Duration::from_mins(1);

/// Looks at a VM that hangs, and returns where it wrote down what it saw.
pub fn of(vm: &mut Vm, logs: &Path) -> PathBuf {
    let path = logs.join(format!("{}.autopsy", vm.name));
    let mut text = String::new();
    note(&mut text, "counters", &counters(vm));
    vm.listen(BETWEEN);
    note(&mut text, "counters a moment later", &counters(vm));
    note(&mut text, "info", &said(vm.command("info")));
    note(&mut text, "threads", &threads(vm.pid()));
    let before = vm.serial.len();
    let typed = vm.send("");
    vm.listen(BETWEEN);
    note(&mut text, "an empty line", &format!("{typed:?}: {}", lines_from(vm, before)));
    let before = vm.serial.len();
    let nmi = said(vm.command("nmi"));
    vm.listen(LAST_WORDS);
    note(&mut text, "NMI", &format!("{nmi}{}", lines_from(vm, before)));
    // A file that can't be written is no reason for a second error.
    let _ = std::fs::write(&path, text);
    path
}

fn note(text: &mut String, title: &str, body: &str) {
    let _ = writeln!(text, "## {title}\n{body}\n");
}

fn said(result: anyhow::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("{error:#}"))
}

fn counters(vm: &Vm) -> String {
    said(vm.api().and_then(|mut api| api.get("vm.counters"))).replace("},", "},\n")
}

fn lines_from(vm: &Vm, first: usize) -> String {
    vm.serial[first..].iter().fold(String::new(), |all, line| all + &line.text + "\n")
}

/// Every thread's name, state and stack in the host's kernel, as far as it may be read.
fn threads(pid: u32) -> String {
    let mut text = String::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let read = |file: &str| {
            let content = std::fs::read_to_string(task.path().join(file));
            content.unwrap_or_else(|error| error.to_string()).trim_end().to_owned()
        };
        let _ = writeln!(text, "{} {}", read("comm"), read("stat"));
        let _ = writeln!(text, "    syscall {}\n{}", read("syscall"), read("stack"));
    }
    text
}

impl Vm {
    /// Takes in what the console says for this long.
    pub(super) fn listen(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.serial.push(line);
        }
    }
}
