//! An image that is being loaded: a file, or bytes in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use vm_memory::ReadVolatile;

use super::KernelError;

/// Bytes that tell one kind of image from another, and hold every header that is parsed here.
const HEAD: u64 = 4096;

/// Something that can be read straight into guest memory.
pub(super) trait Image: Read + Seek + ReadVolatile {}
impl<T: Read + Seek + ReadVolatile> Image for T {}

/// The kinds of kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    BzImage,
    Elf,
}

/// Opens a regular file. A FIFO would block and a device has no size, so both are refused.
pub(super) fn open(path: &Path) -> Result<(File, u64), KernelError> {
    // Non-blocking, so that opening a FIFO returns; it means nothing for a regular file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(KernelError::NotAFile);
    }
    Ok((file, metadata.len()))
}

/// The beginning of an image of `size` bytes: all of it, or 4 KiB.
pub(super) fn head(image: &mut impl Image, size: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    image.seek(SeekFrom::Start(0))?;
    image.by_ref().take(HEAD.min(size)).read_to_end(&mut head)?;
    Ok(head)
}

/// Tells what `head` is the beginning of.
pub(super) fn detect(head: &[u8]) -> Result<Format, KernelError> {
    if head.is_empty() {
        return Err(KernelError::Empty);
    }
    if head.starts_with(b"\x7FELF") {
        return Ok(Format::Elf);
    }
    // Linux Documentation/arch/x86/boot.rst: the magic of the setup header.
    if head.get(0x202..0x206) == Some(b"HdrS") {
        return Ok(Format::BzImage);
    }
    if head.get(0x38..0x3C) == Some(b"ARM\x64") {
        return Err(KernelError::WrongArchitecture { machine: "AArch64".to_owned() });
    }
    if head.get(0x38..0x3C) == Some(b"RSC\x05") {
        return Err(KernelError::WrongArchitecture { machine: "RISC-V".to_owned() });
    }
    let found = match head {
        [0x1F, 0x8B, ..] => "gzip-compressed data (decompress it first)",
        [0xFD, b'7', b'z', b'X', b'Z', ..] => "xz-compressed data (decompress it first)",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd-compressed data (decompress it first)",
        [0x02, 0x21, 0x4C, 0x18, ..] | [0x04, 0x22, 0x4D, 0x18, ..] => {
            "lz4-compressed data (decompress it first)"
        }
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => "a cpio archive (an initramfs?)",
        [b'M', b'Z', ..] => "a PE program without a Linux header",
        [b'#', b'!', ..] => "a script",
        _ if head.len() < 0x206 => "too short for any kernel",
        _ => "of no known format",
    };
    Err(KernelError::NotAKernel { found })
}

/// A number of `N` bytes at `at`, if `bytes` reaches that far.
pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(at: usize, magic: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[at..at + magic.len()].copy_from_slice(magic);
        head
    }

    #[test]
    fn kernels_are_told_by_their_magic() {
        assert_eq!(detect(&with(0, b"\x7FELF")).unwrap(), Format::Elf);
        assert_eq!(detect(&with(0x202, b"HdrS")).unwrap(), Format::BzImage);
    }

    #[test]
    fn other_things_are_named() {
        let cases = [
            (Vec::new(), "the file is empty"),
            (b"hello".to_vec(), "too short"),
            (vec![0; 4096], "no known format"),
            (with(0, &[0x1F, 0x8B]), "gzip"),
            (with(0, b"070701"), "cpio"),
            (with(0, b"#!/bin/sh"), "a script"),
            (with(0x38, b"ARM\x64"), "built for AArch64"),
        ];
        for (head, expected) in cases {
            let message = detect(&head).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open(folder.path()), Err(KernelError::NotAFile)));
        assert!(matches!(open(Path::new("/dev/zero")), Err(KernelError::NotAFile)));
        assert!(matches!(open(&folder.path().join("none")), Err(KernelError::Io(_))));
    }
}
