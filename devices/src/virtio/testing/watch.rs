//! What workers have done to guest memory, held against the log of what was written.
//!
//! ```text
//!   begin: log on, image ──▶ (workers work) ──▶ look, when nothing is in flight: what differs from the image has to be in the log
//!                             ▲──────── another image ────────┘
//! ```
//!
//! So every test of a device, and every property, is one of the log, too.

use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::{GuestMemory, PAGE, WriteLog};

/// A look at guest memory before a worker works.
pub(super) struct Watch {
    log: WriteLog,
    memory: GuestMemory,
    /// Of each region.
    image: Vec<Vec<u8>>,
}

impl Watch {
    /// Begins to look, unless somebody looks at this memory already.
    pub(super) fn begin(memory: &GuestMemory) -> Option<Self> {
        let log = WriteLog::start(memory).ok()?;
        Some(Self { log, image: image(memory), memory: memory.clone() })
    }

    /// Looks what was written since the last look. Nothing may be in flight, which is noted when it has landed.
    ///
    /// # Panics
    /// A page was written that is not in the log.
    pub(super) fn look(&mut self) {
        let after = image(&self.memory);
        let before = std::mem::replace(&mut self.image, after);
        let after = &self.image;
        self.log.take(|region, words| {
            let pages = before[region].chunks(PAGE).zip(after[region].chunks(PAGE));
            for (page, (before, after)) in pages.enumerate() {
                let noted = words[page / 64] >> (page % 64) & 1 == 1;
                assert!(noted || before == after, "page {page} was written, and is not in the log");
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.look();
        }
    }
}

#[expect(clippy::expect_used, reason = "a region can be read")]
fn image(memory: &GuestMemory) -> Vec<Vec<u8>> {
    let image = |region: &_| {
        let bytes = usize::try_from(GuestMemoryRegion::len(region)).expect("64 bits");
        let mut image = vec![0; bytes];
        memory.read_slice(&mut image, GuestMemoryRegion::start_addr(region)).expect("RAM");
        image
    };
    memory.iter().map(image).collect()
}
