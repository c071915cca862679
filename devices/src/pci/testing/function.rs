//! A function that says which it is wherever it answers.

use std::sync::Arc;

use crate::bus::Written;
use crate::pci::config::{BarSpace, ConfigBuilder, ConfigError, ConfigSpace, Identity};
use crate::pci::function::{BarDoorbell, BarIndex, PciFunction};
use crate::pci::msix::Msix;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Every byte of its BARs reads as its tag.
pub struct Tagged {
    tag: u8,
    config: ConfigSpace,
    doorbells: Vec<BarDoorbell>,
    msix: Option<Msix>,
    writes: AtomicU64,
    reconciled: AtomicU64,
}

impl Tagged {
    /// What it is.
    pub const IDENTITY: Identity = Identity {
        vendor: 0x1AF4,
        device: 0x1042,
        revision: 1,
        class: 0x01_8000,
        subsystem_vendor: 0x1AF4,
        subsystem: 0x0002,
    };

    /// A function with these BARs.
    ///
    /// # Errors
    /// They cannot be.
    pub fn new(tag: u8, bars: &[(u8, BarSpace, u64)]) -> Result<Self, ConfigError> {
        let mut builder = ConfigBuilder::new(Self::IDENTITY);
        for (index, space, len) in bars {
            builder.add_bar(BarIndex(*index), *space, *len)?;
        }
        Ok(Self::with_config(tag, builder.build()))
    }

    /// A function with this configuration space.
    pub fn with_config(tag: u8, config: ConfigSpace) -> Self {
        let zero = || AtomicU64::new(0);
        let (writes, reconciled) = (zero(), zero());
        Self { tag, config, doorbells: Vec::new(), msix: None, writes, reconciled }
    }

    /// The same, with these doorbells.
    #[must_use]
    pub fn with_doorbells(self, doorbells: Vec<BarDoorbell>) -> Self {
        Self { doorbells, ..self }
    }

    /// The same, with these vectors.
    #[must_use]
    pub fn with_msix(self, msix: Msix) -> Self {
        Self { msix: Some(msix), ..self }
    }

    /// As the root takes it.
    #[must_use]
    pub fn shared(self: &Arc<Self>) -> Arc<dyn PciFunction> {
        Arc::<Self>::clone(self)
    }

    /// Writes to its BARs.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Rounds that it was part of.
    pub fn reconciled(&self) -> u64 {
        self.reconciled.load(Ordering::Relaxed)
    }
}

impl PciFunction for Tagged {
    fn name(&self) -> &'static str {
        "tagged"
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn msix(&self) -> Option<&Msix> {
        self.msix.as_ref()
    }

    fn read_bar(&self, _bar: BarIndex, _offset: u64, data: &mut [u8]) {
        data.fill(self.tag);
    }

    fn write_bar(&self, _bar: BarIndex, _offset: u64, _data: &[u8]) -> Written {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Written::Done
    }

    fn doorbells(&self) -> Vec<BarDoorbell> {
        self.doorbells.clone()
    }

    fn reconcile(&self) {
        self.reconciled.fetch_add(1, Ordering::Relaxed);
    }
}
