//! The threads of a migration or a snapshot.
//!
//! They wait for each other and for the peer, so whoever does not come to its end must tell the others:
//! - One that cannot be started (the process has no memory for its stack, or may have no more threads) is an error, never a panic.
//! - One that panics rings its [`Alarm`], which ends what the others wait for; the panic goes on where it is joined.

use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, Scope, ScopedJoinHandle, panicking};

/// Starts a thread that ends with the scope.
pub(crate) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work)
}

/// Waits for what it came to.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Does something if the thread that holds it panics.
pub(crate) struct Alarm<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for Alarm<F> {
    fn drop(&mut self) {
        if panicking() {
            (self.0)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::thread::scope;

    use vcpu_state::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_panic_rings_and_goes_on_where_it_is_joined() {
        let is_over = AtomicBool::new(false);
        let caught = catch_unwind(|| {
            scope(|scope| {
                let panics = start(scope, "panics", || {
                    let _alarm = Alarm(|| is_over.store(true, Ordering::Release));
                    panic!("of the test");
                });
                // Whoever waits for it is let go.
                while !is_over.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                join::<()>(panics.unwrap());
            });
        });
        caught.unwrap_err();
    }

    #[test]
    fn nothing_rings_at_a_quiet_end() {
        let has_rung = AtomicBool::new(false);
        drop(Alarm(|| has_rung.store(true, Ordering::Relaxed)));
        assert!(!has_rung.load(Ordering::Relaxed));
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_an_error() {
        // A name with a zero byte would panic; a stack that cannot be had is what a process without memory meets.
        let started =
            scope(|scope| Builder::new().stack_size(1 << 60).spawn_scoped(scope, || ()).map(drop));
        started.unwrap_err();
    }
}
