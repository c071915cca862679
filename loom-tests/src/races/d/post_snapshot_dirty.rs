//! post-snapshot-dirty (CH #8361).
//!
//! Mechanism: the vCPUs are paused, the last dirty pages are taken and copied, and a device's thread, which nobody has
//! stopped, writes memory afterwards. The copy lacks what it wrote.
//!
//! Invariant: the last pass comes after the last writer stopped: it takes the proof that the workers' group stands still, too, and what
//! workers wrote before that is in their log.

use std::sync::Arc;

use devices::memory::{PAGE, WriteLog};
use devices::virtio::testing::Working;
use vcpu_state::Outcome;

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("post-snapshot-dirty", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

const FINDING: Finding = Finding::Violation("a page was written after the last pass");

#[derive(Default)]
struct Page {
    contents: u64,
    is_dirty: bool,
}

fn historic() {
    let page = Arc::new(Monitor::new(Page::default()));
    let worker = {
        let page = Arc::clone(&page);
        thread::spawn(move || page.change(|page| *page = Page { contents: 1, is_dirty: true }))
    };
    // The vCPUs stand still.
    let mut copy = 0;
    let last = page.change(|page| std::mem::take(&mut page.is_dirty).then_some(page.contents));
    copy = last.unwrap_or(copy);
    join(worker);
    assert!(copy == page.lock().contents, "a page was written after the last pass");
}

fn ours() {
    let mut device = Device::new(&Bed::new(1).group, Working::Serves, 1, 1);
    let driver = &device.drivers[0];
    let (ring, memory) = (driver.used_ring(), driver.memory.clone());
    let page = usize::try_from(ring.0).unwrap_or(0) / PAGE;
    let len = u32::try_from(PAGE).unwrap_or(0);
    let mut log = match WriteLog::start(&memory) {
        Ok(log) => log,
        Err(error) => panic!("no log: {error}"),
    };
    // Not earlier: what the log begins with, a worker that runs would learn by the barrier of the kernel's, which a checker does not see.
    assert_eq!(device.write_status(15), Outcome::Done);
    let driver = &device.drivers[0];
    let mut copy = driver.read(ring, len);
    device.send(0);
    let still = device.pause();
    let mut is_dirty = false;
    log.take(|_, words| is_dirty = words[page / 64] >> (page % 64) & 1 == 1);
    if is_dirty {
        copy = device.drivers[0].read(ring, len);
    }
    device.assert_still();
    let memory = device.drivers[0].read(ring, len);
    assert!(copy == memory, "a page was written after the last pass");
    drop(still);
    device.await_served(1);
    device.end();
}
