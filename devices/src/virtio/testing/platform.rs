//! A hypervisor for PCI functions under test: it counts what is raised.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Event;
use crate::pci::{MsiLine, MsiMessage, PciPlatform};

/// Counts interrupts.
#[derive(Debug, Default)]
pub struct TestPlatform {
    raised: Arc<AtomicU64>,
}

impl TestPlatform {
    /// Interrupts that reached the hypervisor.
    #[must_use]
    pub fn raised(&self) -> u64 {
        self.raised.load(Ordering::SeqCst)
    }
}

struct Line(Arc<AtomicU64>);

impl MsiLine for Line {
    fn route(&self, _message: Option<MsiMessage>) -> io::Result<()> {
        Ok(())
    }

    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl PciPlatform for TestPlatform {
    fn add_doorbell(&self, _gpa: u64, _event: &Event) -> io::Result<()> {
        Ok(())
    }

    fn remove_doorbell(&self, _gpa: u64, _event: &Event) -> io::Result<()> {
        Ok(())
    }

    fn new_msi(&self) -> io::Result<Arc<dyn MsiLine>> {
        Ok(Arc::new(Line(Arc::clone(&self.raised))))
    }
}
