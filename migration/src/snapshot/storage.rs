//! Where snapshots are kept: the host's file system, or in tests one that fails and crashes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

/// A file system, as far as snapshots need one.
pub trait Storage {
    /// Its files.
    type File: StoredFile;

    /// Makes a directory.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the host says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a file, to write and read it.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the host says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// `NotFound`, or what the host says.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Whether there is anything of that name.
    ///
    /// # Errors
    /// The host does not tell.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Gives a directory another name in the same parent, in one step.
    ///
    /// # Errors
    /// What the host says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the entries of a directory outlast a crash.
    ///
    /// # Errors
    /// What the host says; they may or may not.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and the files in it.
    ///
    /// # Errors
    /// What the host says; some may be gone.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file in a [`Storage`].
#[expect(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait StoredFile {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the host says.
    fn len(&self) -> io::Result<u64>;

    /// Makes it that long, by zeros that take no room.
    ///
    /// # Errors
    /// What the host says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills the buffer from an offset on.
    ///
    /// # Errors
    /// `UnexpectedEof`, or what the host says.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all bytes from an offset on.
    ///
    /// # Errors
    /// What the host says; some may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes a part zeros, and gives its room back where the file system can.
    ///
    /// # Errors
    /// What the host says; some may be zeros.
    fn zero_at(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Has a part be on its way to the disk. Nothing is waited for, and nothing follows from it: [`sync`](Self::sync) has less to do.
    fn begin_sync(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Makes what was written outlast a crash.
    ///
    /// # Errors
    /// What the host says; it may or may not.
    fn sync(&self) -> io::Result<()>;
}

/// The host's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostStorage;

impl Storage for HostStorage {
    type File = File;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        // Guest memory is nobody else's business.
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A directory takes the place of nothing but an empty directory (rename(2)), so no snapshot is lost.
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

impl StoredFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(self, flags, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(self, offset, len),
            result => Ok(result?),
        }
    }

    fn begin_sync(&self, offset: u64, len: u64) {
        // Linux begins to write what is dirty, and drops from its cache what is not, which here is nothing yet (mm/fadvise.c).
        let _ = fadvise(self, offset, NonZero::new(len), Advice::DontNeed);
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// For file systems without holes.
fn write_zeros(file: &File, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut done = 0;
    while done < len {
        let now = usize::try_from(len - done).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..now], offset + done)?;
        done += now as u64;
    }
    Ok(())
}
