//! A request of a block driver, read and checked once (virtio 1.2, 5.2.6).
//!
//! ```text
//!   readable: │ type │ reserved │ sector │ data or ranges …        writable: │ data …       │ status │
//! ```
//!
//! However these are laid out over descriptors: the first 16 readable bytes are the header, and the last
//! writable byte is the status. Everything that the driver can still change is copied out before it is
//! checked.

use super::config::{DISCARD, RangeLimits, WRITE_ZEROES};
use super::options::Access;
use crate::memory::GuestMemory;
use crate::virtio::{Chain, Malformed};

/// Bytes of a sector: the unit of the protocol, whatever the block size is.
pub(super) const SECTOR: u32 = 512;
/// Bytes of the header.
pub(super) const HEADER: u32 = 16;
/// Bytes of the serial number.
pub(super) const SERIAL: usize = 20;
/// Bytes of a range to discard or to zero.
const RANGE: u32 = 16;

const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

const UNMAP: u32 = 1;

/// The status byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// What a driver asks for. Ranges lie within the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Read so many bytes from a place on the disk.
    Read { offset: u64, len: u32 },
    /// Write them.
    Write { offset: u64, len: u32 },
    /// Make safe what has been written.
    Flush,
    /// Tell the serial number.
    Identify,
    /// Forget the ranges.
    Discard,
    /// Zero the ranges.
    WriteZeroes,
}

impl Request {
    /// Bytes of data that it moves.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Read { len, .. } | Self::Write { len, .. } => len.into(),
            Self::Flush | Self::Identify | Self::Discard | Self::WriteZeroes => 0,
        }
    }
}

/// What becomes of a range's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are given up if possible, and may read as anything.
    Discarded,
    /// They read as zeros, and may be given up.
    ZeroedOrFreed,
    /// They read as zeros, and stay.
    Zeroed,
}

/// A part of the disk to discard or to zero, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskRange {
    pub offset: u64,
    pub len: u64,
    pub fate: Fate,
}

/// What requests are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    /// In sectors.
    pub capacity: u64,
    pub access: Access,
}

/// What a chain asks for, or the status that refuses it. Ranges are appended to `ranges`.
///
/// # Errors
/// The chain has no room for a header or a status.
pub(super) fn parse(
    chain: &Chain,
    memory: &GuestMemory,
    disk: Disk,
    ranges: &mut Vec<DiskRange>,
) -> Result<Result<Request, Status>, Malformed> {
    if chain.writable_len() == 0 {
        return Err(Malformed::Shape("it has no room for a status"));
    }
    let mut header = [0; HEADER as usize];
    chain.read_exact(memory, 0, &mut header)?;
    let (kind, sector) = (le32(&header, 0), le64(&header, 8));
    Ok(match kind {
        TYPE_IN => {
            let len = chain.writable_len() - 1;
            disk.place(sector, len).map(|offset| Request::Read { offset, len })
        }
        TYPE_OUT => {
            let len = chain.readable_len() - HEADER;
            let place = disk.writable().and_then(|()| disk.place(sector, len));
            place.map(|offset| Request::Write { offset, len })
        }
        TYPE_FLUSH => Ok(Request::Flush),
        TYPE_GET_ID => Ok(Request::Identify),
        TYPE_DISCARD => {
            ranges_of(chain, memory, disk, ranges, &DISCARD)?.map(|()| Request::Discard)
        }
        TYPE_WRITE_ZEROES => {
            ranges_of(chain, memory, disk, ranges, &WRITE_ZEROES)?.map(|()| Request::WriteZeroes)
        }
        _ => Err(Status::Unsupported),
    })
}

impl Disk {
    fn writable(self) -> Result<(), Status> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Status::IoError),
        }
    }

    /// Where `len` bytes from a sector on lie, if they are whole sectors of the disk.
    fn place(self, sector: u64, len: u32) -> Result<u64, Status> {
        if !len.is_multiple_of(SECTOR) {
            return Err(Status::IoError);
        }
        let end = sector.checked_add(u64::from(len / SECTOR)).ok_or(Status::IoError)?;
        if end > self.capacity {
            return Err(Status::IoError);
        }
        sector.checked_mul(SECTOR.into()).ok_or(Status::IoError)
    }
}

fn ranges_of(
    chain: &Chain,
    memory: &GuestMemory,
    disk: Disk,
    ranges: &mut Vec<DiskRange>,
    limits: &RangeLimits,
) -> Result<Result<(), Status>, Malformed> {
    let len = chain.readable_len() - HEADER;
    if disk.writable().is_err() || !len.is_multiple_of(RANGE) || len / RANGE > limits.ranges {
        return Ok(Err(Status::IoError));
    }
    for index in 0..len / RANGE {
        let mut raw = [0; RANGE as usize];
        chain.read_exact(memory, HEADER + index * RANGE, &mut raw)?;
        let (sector, sectors, flags) = (le64(&raw, 0), le32(&raw, 8), le32(&raw, 12));
        let fate = match (limits.plain_fate, flags) {
            (fate, 0) => fate,
            (Fate::Zeroed, UNMAP) => Fate::ZeroedOrFreed,
            // 5.2.6.2: unknown flags, and UNMAP in a discard.
            _ => return Ok(Err(Status::Unsupported)),
        };
        if sectors > limits.sectors {
            return Ok(Err(Status::IoError));
        }
        match disk.place(sector, sectors * SECTOR) {
            Ok(offset) => ranges.push(DiskRange { offset, len: (sectors * SECTOR).into(), fate }),
            Err(status) => return Ok(Err(status)),
        }
    }
    Ok(Ok(()))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
