//! The same for every vCPU, on as many threads as the host has processors.
//!
//! Each vCPU takes some ten ioctls, which on some hosts take ten microseconds each. KVM serialises none of that between vCPUs.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread::available_parallelism;

/// vCPUs for which a thread is worth its start.
const SHARE: usize = 4;

/// What `work` makes of each, in their order; the first error of them.
pub(super) fn in_parallel<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let host = if items.len() < 2 * SHARE { 1 } else { processors() };
    let each = items.len().div_ceil(host).max(SHARE);
    let mut shares = items.chunks(each);
    let own = shares.next().unwrap_or_default();
    let work = &work;
    let all = |share: &[T]| share.iter().map(work).collect::<Result<Vec<R>, E>>();
    std::thread::scope(|scope| {
        let helpers: Vec<_> = shares.map(|share| scope.spawn(move || all(share))).collect();
        let mut results = all(own);
        for helper in helpers {
            let more = helper.join().unwrap_or_else(|payload| resume_unwind(payload));
            results = results.and_then(|mut results| {
                results.extend(more?);
                Ok(results)
            });
        }
        results
    })
}

/// The host's processors, as they were when this was asked first: to find that out takes a dozen system calls.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| available_parallelism().map_or(1, NonZero::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_items() {
        for count in [0, 1, 7, 8, 9, 64, 100] {
            let items: Vec<usize> = (0..count).collect();
            let done = in_parallel(&items, |item| Ok::<_, ()>(item * 2)).unwrap();
            assert_eq!(done, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_is_that_of_the_first_that_has_one() {
        let items: Vec<usize> = (0..100).collect();
        let result = in_parallel(&items, |item| if item % 30 == 29 { Err(*item) } else { Ok(()) });
        assert_eq!(result, Err(29));
    }
}
