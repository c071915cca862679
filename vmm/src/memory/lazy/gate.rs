//! A gate that whoever brings pages passes, one or several at a time, until it is closed.
//!
//! ```text
//!   open: pass … leave, pass … leave      close ──▶ closed, when those have left who were in it; nobody passes any more
//! ```
//!
//! Passing waits for nothing. Invariant: when `close` has returned, nobody is in it, and nobody ever will be.

use vcpu_state::sync::FutexWord;

/// The bit that says that it is closed; the others count those who are in it, or are being turned away.
const CLOSED: u32 = 1 << 31;

/// The gate.
#[derive(Debug)]
pub(super) struct Gate(FutexWord);

/// Leaves the gate when it is dropped.
pub(super) struct Pass<'g>(&'g FutexWord);

impl Gate {
    pub(super) fn open() -> Self {
        Self(FutexWord::new(0))
    }

    /// `None`: it is closed.
    pub(super) fn pass(&self) -> Option<Pass<'_>> {
        // The count first: who closes either finds it, or was here before.
        let before = self.0.add(1);
        let pass = Pass(&self.0);
        (before & CLOSED == 0).then_some(pass)
    }

    /// Nobody passes from here on. To be called once; waits for those who are in it.
    pub(super) fn close(&self) {
        self.0.add(CLOSED);
        loop {
            let now = self.0.load();
            if now == CLOSED {
                return;
            }
            self.0.wait(now, None);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.0.sub(1) == CLOSED + 1 {
            self.0.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[test]
    fn whoever_closes_it_finds_nobody_in_it_and_nobody_comes() {
        for _ in 0..200 {
            let (gate, inside, is_closed) =
                (Gate::open(), AtomicU32::new(0), AtomicBool::new(false));
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while let Some(pass) = gate.pass() {
                            inside.fetch_add(1, Ordering::SeqCst);
                            assert!(!is_closed.load(Ordering::SeqCst));
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(pass);
                        }
                    });
                }
                gate.close();
                is_closed.store(true, Ordering::SeqCst);
                assert_eq!(inside.load(Ordering::SeqCst), 0);
            });
            assert!(gate.pass().is_none());
        }
    }
}
