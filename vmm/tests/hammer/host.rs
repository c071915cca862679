//! Whether the host gives processors to those who have to go on for a VM to go on: not only to the threads of
//! this process. An interrupt through an irqfd goes through a worker thread of the kernel, and so does the
//! grace period that the end of a VM waits for. On a host with many times more runnable threads
//! than processors these were seen to wait for more than ten seconds, runnable all the time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::watchdog::rest;

/// Between two looks; who is runnable in both and has not run waits for a processor.
const MOMENT: Duration = Duration::from_millis(200);
/// The parent of all threads of the kernel.
const KTHREADD: &str = "2";

/// Threads of the kernel and of this process that wait for a processor, by name.
pub fn waiting_for_a_processor() -> Vec<String> {
    let before = runnable();
    rest(MOMENT);
    let now = runnable().into_iter();
    let waits = now.filter(|(id, seen)| before.get(id) == Some(seen));
    waits.map(|(id, (name, _))| format!("{name} ({id})")).collect()
}

/// Runnable threads by id, with their names and how long they have run in all.
fn runnable() -> BTreeMap<String, (String, String)> {
    let entries = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let own = entries("/proc/self/task").filter_map(|entry| seen(&entry.path(), |_| true));
    let kernel =
        entries("/proc").filter_map(|entry| seen(&entry.path(), |parent| parent == KTHREADD));
    own.chain(kernel).collect()
}

/// A thread, if it is runnable and its parent is one of those.
fn seen(folder: &Path, of: impl Fn(&str) -> bool) -> Option<(String, (String, String))> {
    // `pid (name) state parent …`; a name may hold anything, closing brackets too.
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let (start, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if fields.next()? != "R" || !of(fields.next()?) {
        return None;
    }
    let (id, name) = start.split_once(" (")?;
    let run = std::fs::read_to_string(folder.join("schedstat")).ok()?;
    let run = run.split_whitespace().next()?.to_owned();
    Some((id.to_owned(), (name.to_owned(), run)))
}
