//! Pages on their way between memory and a file: helpers do the one half of the work while the caller does the other.
//!
//! ```text
//!   write:   helpers: memory ─▶ buffer, zeros and checksums found ──(a few)──▶ caller: the file, the table
//!   read:    caller: the file ─▶ buffer ──(a few)──▶ helpers: checksums compared ─▶ memory
//! ```
//!
//! The file stays with the caller, so a storage need not be shared between threads. Few pieces are done by the caller alone, in their order; so is
//! everything where no helper can be started.
//!
//! Invariants: no more buffers than a few for each helper; whoever fails ends all, and the first error that the caller sees is what is told.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{available_parallelism, scope};

use crossbeam_queue::ArrayQueue;
use vcpu_state::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::SnapshotError;
use crate::crew;
use crate::memory::{PAGE_SIZE, Run, SourceMemory, is_zero};

/// Fewer pieces than this are not worth a thread.
const WORTH_THREADS: usize = 8;
/// More helpers than this have nothing to do: the file is the limit.
const MOST_HELPERS: usize = 4;
/// Buffers for each helper.
const AHEAD: usize = 3;

/// Pages with what there is to know of each.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) first: u64,
    pub(super) bytes: Vec<u8>,
    /// CRC32C of each page; none of those that are zeros.
    pub(super) crcs: Vec<Option<u32>>,
}

impl Piece {
    fn read(&mut self, memory: &impl SourceMemory, run: Run) -> Result<(), SnapshotError> {
        self.first = run.first();
        self.bytes.resize(usize::try_from(run.bytes()).unwrap_or(PAGE_SIZE), 0);
        memory.read(run.first(), &mut self.bytes).map_err(|source| SnapshotError::Memory {
            action: "read",
            page: run.first(),
            source,
        })?;
        let crc = |page: &[u8]| (!is_zero(page)).then(|| crc32c::crc32c(page));
        self.crcs.clear();
        self.crcs.extend(self.bytes.chunks(PAGE_SIZE).map(crc));
        Ok(())
    }
}

/// How many helpers so many pieces are worth: the caller has a processor of its own.
fn helpers(pieces: usize) -> usize {
    if pieces < WORTH_THREADS {
        return 0;
    }
    available_parallelism().map_or(1, NonZero::get).saturating_sub(1).clamp(1, MOST_HELPERS)
}

/// Reads pieces of memory, each at most as long as a buffer shall be, and hands them to `take`, in any order.
pub(super) fn read_pieces(
    memory: &impl SourceMemory,
    pieces: &[Run],
    mut take: impl FnMut(&Piece) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let helpers = helpers(pieces.len());
    if helpers == 0 {
        return read_alone(memory, pieces, take);
    }
    // Relaxed: it hands out numbers, and nothing else.
    let next = AtomicUsize::new(0);
    let spare = ArrayQueue::new(helpers * AHEAD);
    let read_some = |full: &SyncSender<Result<Piece, SnapshotError>>| {
        while let Some(run) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut piece: Piece = spare.pop().unwrap_or_default();
            let read = piece.read(memory, *run).map(|()| piece);
            // Whoever has failed takes no more.
            if full.send(read).is_err() {
                return;
            }
        }
    };
    scope(|scope| {
        let (full, filled) = sync_channel(helpers * (AHEAD - 1));
        let mut started = 0;
        for _ in 0..helpers {
            let (full, read_some) = (full.clone(), &read_some);
            let helper = crew::start(scope, "reads", move || read_some(&full));
            started += u32::from(helper.is_ok());
        }
        drop(full);
        if started == 0 {
            return read_alone(memory, pieces, take);
        }
        for piece in filled {
            let piece = piece?;
            take(&piece)?;
            // There is room: no more of them were made.
            let _ = spare.push(piece);
        }
        Ok(())
    })
}

fn read_alone(
    memory: &impl SourceMemory,
    pieces: &[Run],
    mut take: impl FnMut(&Piece) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let mut piece = Piece::default();
    pieces.iter().try_for_each(|run| {
        piece.read(memory, *run)?;
        take(&piece)
    })
}

/// Has `fill` read pieces into buffers, one after the other, and `put` take them, in any order. Each piece comes with what there is to know of it.
pub(super) fn write_pieces<T: Copy + Send>(
    pieces: &[T],
    mut fill: impl FnMut(T, &mut Vec<u8>) -> Result<(), SnapshotError>,
    put: impl Fn(T, &[u8]) -> Result<(), SnapshotError> + Sync,
) -> Result<(), SnapshotError> {
    let helpers = helpers(pieces.len());
    if helpers == 0 {
        return write_alone(pieces, fill, put);
    }
    let spare = ArrayQueue::new(helpers * AHEAD);
    let has_failed = AtomicBool::new(false);
    let put_some = |filled: &Receiver<(T, Vec<u8>)>| {
        for (piece, buffer) in filled {
            let done = put(piece, &buffer);
            // Relaxed: the error itself comes by the end of the thread.
            done.inspect_err(|_| has_failed.store(true, Ordering::Relaxed))?;
            let _ = spare.push(buffer);
        }
        Ok(())
    };
    scope(|scope| {
        let started = (0..helpers).filter_map(|_| {
            let (full, filled) = sync_channel(AHEAD - 1);
            let put_some = &put_some;
            let helper = crew::start(scope, "writes", move || put_some(&filled));
            Some((full, helper.ok()?))
        });
        let (full, threads): (Vec<_>, Vec<_>) = started.unzip();
        if threads.is_empty() {
            return write_alone(pieces, fill, &put);
        }
        let mut read = Ok(());
        for (piece, to) in pieces.iter().zip(full.iter().cycle()) {
            let mut buffer = spare.pop().unwrap_or_default();
            read = fill(*piece, &mut buffer);
            let is_over = read.is_err() || has_failed.load(Ordering::Relaxed);
            if is_over || to.send((*piece, buffer)).is_err() {
                break;
            }
        }
        drop(full);
        threads.into_iter().map(crew::join).fold(Ok(()), Result::and).and(read)
    })
}

fn write_alone<T: Copy>(
    pieces: &[T],
    mut fill: impl FnMut(T, &mut Vec<u8>) -> Result<(), SnapshotError>,
    put: impl Fn(T, &[u8]) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let mut buffer = Vec::new();
    pieces.iter().try_for_each(|piece| {
        fill(*piece, &mut buffer)?;
        put(*piece, &buffer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::DestinationMemory as _;
    use crate::testing::ModelMemory;

    /// More pieces than are done alone, and buffers.
    const PIECES: u64 = 100;

    fn runs(memory: &ModelMemory) -> Vec<Run> {
        SourceMemory::layout(memory).all().pieces(3).collect()
    }

    fn failed() -> SnapshotError {
        SnapshotError::Name { path: "somewhere".into() }
    }

    #[test]
    fn every_piece_comes_once_with_its_own_checksums() {
        let memory = ModelMemory::of_pages(PIECES * 3 - 1).unwrap();
        for page in (0..PIECES * 3 - 1).filter(|page| page % 5 != 0) {
            let byte = page.to_le_bytes()[0] | 1;
            memory.write(page, &[byte; PAGE_SIZE]).unwrap();
        }
        let mut seen = Vec::new();
        read_pieces(&memory, &runs(&memory), |piece| {
            for ((page, bytes), crc) in
                (piece.first..).zip(piece.bytes.chunks(PAGE_SIZE)).zip(&piece.crcs)
            {
                assert_eq!(*crc, (page % 5 != 0).then(|| crc32c::crc32c(bytes)));
                seen.push(page);
            }
            Ok(())
        })
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..PIECES * 3 - 1).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_of_whoever_takes_ends_the_reading() {
        let memory = ModelMemory::of_pages(PIECES * 3).unwrap();
        let mut taken = 0;
        let error = read_pieces(&memory, &runs(&memory), |_| {
            taken += 1;
            if taken == 10 { Err(failed()) } else { Ok(()) }
        });
        assert!(matches!(error, Err(SnapshotError::Name { .. })), "{error:?}");
        assert_eq!(taken, 10);
    }

    #[test]
    fn what_is_filled_is_put_once_and_an_error_on_either_side_ends_both() {
        let pieces: Vec<u64> = (0..PIECES).collect();
        let put = AtomicUsize::new(0);
        let fill = |piece: u64, buffer: &mut Vec<u8>| {
            buffer.clear();
            buffer.extend(piece.to_le_bytes());
            Ok(())
        };
        let check = |piece: u64, bytes: &[u8]| {
            assert_eq!(bytes, piece.to_le_bytes());
            put.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        write_pieces(&pieces, fill, check).unwrap();
        assert_eq!(put.load(Ordering::Relaxed) as u64, PIECES);
        let unreadable = |piece: u64, buffer: &mut Vec<u8>| {
            if piece == 50 { Err(failed()) } else { fill(piece, buffer) }
        };
        write_pieces(&pieces, unreadable, check).unwrap_err();
        let unwritable = |piece: u64, bytes: &[u8]| {
            if piece == 50 { Err(failed()) } else { check(piece, bytes) }
        };
        write_pieces(&pieces, fill, unwritable).unwrap_err();
    }
}
