//! Who has an image, where a VM moves from one VMM to another: the lock is given up and taken while the image stays open.
//!
//! ```text
//!   unclaimed ──claim: lock; what is cached of the image is read anew──▶ claimed ──release: sync, forget, unlock──▶ unclaimed
//! ```
//!
//! A raw image has nothing cached here, so its file stays as it is. The library that reads qcow2 caches the image's tables, so a qcow2 image is opened
//! by a claim and closed by a release.
//!
//! Invariant: an image is read and written only by who has its lock. The VM stands still whenever that is not this VMM, so nobody asks; who would ask a
//! qcow2 image gets errors.

use std::io;

use vcpu_state::sync::Arc;

use super::{Image, open_file, qcow2, take_lock};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::virtio::block::backend;
use crate::virtio::block::error::BlockError;
use crate::virtio::block::options::BlockOptions;

/// When the lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::virtio::block) enum Claim {
    /// When the image is opened.
    Now,
    /// By [`Image::claim`].
    Later,
}

/// Whether the image is here.
pub(in crate::virtio::block) struct Claimed(AtomicBool);

impl Claimed {
    pub(super) fn new(is_claimed: bool) -> Self {
        Self(AtomicBool::new(is_claimed))
    }

    // Relaxed, both: one thread at a time claims and releases.

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, is_claimed: bool) {
        self.0.store(is_claimed, Ordering::Relaxed);
    }
}

/// In the place of an image that another VMM has.
pub(super) struct Unclaimed;

impl Unclaimed {
    fn refuse<T>() -> io::Result<T> {
        Err(io::Error::other("another VMM has the image"))
    }
}

impl backend::Image for Unclaimed {
    fn read(&mut self, _: &mut [u8], _: u64) -> io::Result<()> {
        Self::refuse()
    }

    fn write(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Self::refuse()
    }

    /// Nothing was written.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn deallocate(&mut self, _: u64, _: u64) -> io::Result<()> {
        Self::refuse()
    }

    fn zero(&mut self, _: u64, _: u64) -> io::Result<()> {
        Self::refuse()
    }

    fn resize(&mut self, _: u64) -> io::Result<()> {
        Self::refuse()
    }
}

impl Image {
    /// Makes all that was written last.
    ///
    /// # Errors
    /// The storage refuses.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Raw(raw, _) => raw.cached.sync_data(),
            Self::Qcow2(service, _) => service.sync(),
        }
    }

    /// Takes the lock, unless it is taken.
    ///
    /// # Errors
    /// Somebody else has it, or the image is not what it was.
    pub fn claim(&self, options: &BlockOptions) -> Result<(), BlockError> {
        match self {
            Self::Raw(raw, _) => {
                if raw.lock.load().is_none() {
                    raw.lock.store(Some(Arc::new(take_lock(&raw.cached, options)?)));
                }
            }
            Self::Qcow2(service, claimed) if !claimed.get() => {
                let file = open_file(&options.path, options.access)?;
                let lock = take_lock(&file, options)?;
                let opened = qcow2::open(file, lock, options)?;
                let failed = |source| BlockError::Open { path: options.path.clone(), source };
                service.swap(Box::new(opened.image)).map_err(failed)?;
                claimed.set(true);
            }
            Self::Qcow2(..) => {}
        }
        Ok(())
    }

    /// Gives the lock up, if it is taken.
    ///
    /// # Errors
    /// What was written cannot be made to last; the lock is kept then.
    pub fn release(&self) -> io::Result<()> {
        match self {
            Self::Raw(raw, _) => {
                raw.cached.sync_data()?;
                raw.lock.store(None);
            }
            Self::Qcow2(service, claimed) => {
                service.swap(Box::new(Unclaimed))?;
                claimed.set(false);
            }
        }
        Ok(())
    }
}
