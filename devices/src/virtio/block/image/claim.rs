//! Who has an image, where a VM moves from one VMM to another: the lock is given up and taken while the image stays open.
//!
//! ```text
//!   unclaimed ──claim: lock; what is cached of the image is read anew──▶ claimed ──release: sync, forget, unlock──▶ unclaimed
//! ```
//!
//! A raw image has nothing cached here, so its file stays as it is. The library that reads qcow2 caches the image's tables, so a qcow2 image is given to it
//! by a claim and taken from it by a release. Its files stay open all the while ([`Kept`]): a claim asks no path, which may lead elsewhere by then, or nowhere.
//!
//! Invariant: an image is read and written only by who has its lock. The VM stands still whenever that is not this VMM, so nobody asks; who would ask a
//! qcow2 image gets errors.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use vcpu_state::sync::Arc;

use super::open::take_lock;
use super::{Image, ImageFiles, qcow2};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::virtio::block::backend;
use crate::virtio::block::error::BlockError;
use crate::virtio::block::options::BlockOptions;

/// When the lock is taken.
#[derive(Debug)]
pub(in crate::virtio::block) enum Claim {
    /// When the image is opened.
    Now,
    /// By [`Image::claim`].
    Later,
    /// By [`Image::claim`], too; another VMM has opened it, and passed these.
    Passed(ImageFiles),
}

/// What stays of a qcow2 image whether it is claimed or not.
pub(in crate::virtio::block) struct Kept {
    is_claimed: AtomicBool,
    /// The image, through the description that is locked.
    pub(super) image: File,
    /// Its backing files, once they are known: when they were passed, or from the first claim on.
    backing: OnceLock<Vec<File>>,
}

impl Kept {
    pub(super) fn new(is_claimed: bool, image: File, backing: Option<Vec<File>>) -> Self {
        let backing = backing.map_or_else(OnceLock::new, OnceLock::from);
        Self { is_claimed: AtomicBool::new(is_claimed), image, backing }
    }

    /// The backing files, as far as they are known.
    pub(super) fn backing(&self) -> &[File] {
        self.backing.get().map_or(&[], Vec::as_slice)
    }

    // Relaxed, both: one thread at a time claims and releases.

    fn is_claimed(&self) -> bool {
        self.is_claimed.load(Ordering::Relaxed)
    }

    fn set_claimed(&self, is_claimed: bool) {
        self.is_claimed.store(is_claimed, Ordering::Relaxed);
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
            Self::Qcow2(service, kept) if !kept.is_claimed() => {
                let failed = |source| BlockError::Open { path: options.path.clone(), source };
                let file = kept.image.try_clone().map_err(failed)?;
                let lock = take_lock(&file, options)?;
                let backing = kept.backing.get().map(Vec::as_slice);
                let opened = qcow2::open(file, lock, backing, options)?;
                service.swap(Box::new(opened.image)).map_err(failed)?;
                // Those of the first claim stay.
                let _ = kept.backing.set(opened.backing);
                kept.set_claimed(true);
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
            Self::Qcow2(service, kept) => {
                service.swap(Box::new(Unclaimed))?;
                kept.set_claimed(false);
            }
        }
        Ok(())
    }
}
