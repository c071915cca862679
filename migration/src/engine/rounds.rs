//! Sending the pages of a round over all connections.

use std::thread;

use vcpu_state::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::crew;
use crate::memory::{PageSet, Run, SourceMemory};
use crate::wire::{
    Compression, Connection, Frame, MAX_PAGES, Mark, PageWriter, Transport, WireError,
};

/// Fewer pieces than this are not worth waking threads for.
const WORTH_THREADS: usize = 8;

/// Sends pages as they are now, and the marks of the round; says how many of them were not zeros.
pub(super) fn send<T: Transport>(
    connections: &mut [Connection<T>],
    memory: &impl SourceMemory,
    pages: &PageSet,
    (mark, compression): (Mark, Compression),
) -> Result<u64, WireError> {
    let pieces = pieces(memory, pages, mark.round)?;
    // Relaxed: it hands out numbers, and nothing else.
    let next = AtomicUsize::new(0);
    // Relaxed: read when all threads have been joined.
    let data_pages = AtomicU64::new(0);
    let take = || pieces.get(next.fetch_add(1, Ordering::Relaxed)).copied();
    let send_some = |connection: &mut Connection<T>| {
        let mut writer = PageWriter::new(compression);
        while let Some(run) = take() {
            writer.send(connection, memory, (mark.round, run))?;
        }
        data_pages.fetch_add(writer.data_pages(), Ordering::Relaxed);
        connection.queue(&Frame::Mark(mark))?;
        connection.flush()
    };
    let send_some = |connection: &mut Connection<T>| {
        send_some(connection).inspect_err(|_| {
            // Nobody takes what is left.
            next.store(pieces.len(), Ordering::Relaxed);
        })
    };
    if connections.len() == 1 || pieces.len() < WORTH_THREADS {
        connections.iter_mut().try_for_each(send_some)?;
        return Ok(data_pages.load(Ordering::Relaxed));
    }
    thread::scope(|scope| {
        let (first, others) = connections.split_at_mut(1);
        let start = |connection| crew::start(scope, "pages", || send_some(connection));
        let threads: Vec<_> = others.iter_mut().map(start).collect();
        let mut result = first.iter_mut().try_for_each(&send_some);
        for thread in threads {
            result = result.and(thread.map_err(WireError::from).and_then(crew::join));
        }
        result
    })?;
    Ok(data_pages.load(Ordering::Relaxed))
}

/// The pages, in runs of as many as a frame has; in round 0 without those that the host knows to be zeros.
fn pieces(memory: &impl SourceMemory, pages: &PageSet, round: u32) -> Result<Vec<Run>, WireError> {
    let mut pieces = Vec::new();
    for run in pages.runs() {
        let mut rest = Some(run);
        while let Some(left) = rest {
            let data = if round == 0 { memory.next_data(left)? } else { Some(left) };
            pieces.extend(data.into_iter().flat_map(|data| data.pieces(MAX_PAGES)));
            rest = data.and_then(|data| left.from(data.end()));
        }
    }
    Ok(pieces)
}
