//! The same for every vCPU, on as many threads as the host has processors.
//!
//! Each vCPU takes some ten ioctls, which on some hosts take ten microseconds each. KVM serialises none of that between vCPUs. Whoever is ready takes the
//! next one: a thread that begins late, or whose processor others need, does less of it.

use std::num::NonZero;
use std::sync::OnceLock;
use std::thread::{Builder, available_parallelism};

use vcpu_state::sync::atomic::{AtomicUsize, Ordering};

/// vCPUs for which a thread is worth its start.
const SHARE: usize = 4;

/// What `work` makes of each, in their order; the first error of them.
///
/// It returns when the work is done, and not when the threads have ended: the host takes about as long for their end as for a vCPU.
pub(super) fn in_parallel<T: Sync, R: Send + Sync, E: Send + Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let helpers = processors().min(items.len() / SHARE).saturating_sub(1);
    if helpers == 0 {
        return items.iter().map(work).collect();
    }
    let next = &AtomicUsize::new(0);
    let done: Vec<_> = items.iter().map(|_| OnceLock::new()).collect();
    let some = || {
        // Relaxed: it hands out numbers and publishes nothing. They are handed out in their order, so whatever is before an error
        // has been taken, and its own error is found.
        while let Some((item, done)) = take(items, &done, next.fetch_add(1, Ordering::Relaxed)) {
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            // Nobody else has this number.
            let _ = done.set(result);
        }
    };
    // The end of the scope waits for what its threads do, and panics if one of them did; to join one is to wait for its end, too.
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            // One that cannot be started leaves its work to the others.
            drop(Builder::new().spawn_scoped(scope, some));
        }
        some();
    });
    // What was not taken is behind an error.
    done.into_iter().map_while(OnceLock::into_inner).collect()
}

fn take<'a, T, D>(items: &'a [T], done: &'a [D], place: usize) -> Option<(&'a T, &'a D)> {
    items.get(place).zip(done.get(place))
}

/// The host's processors, as they were when this was asked first: to find that out takes a dozen system calls.
pub(in crate::vm) fn processors() -> usize {
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
