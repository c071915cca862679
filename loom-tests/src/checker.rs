//! The checker's synchronisation: production's shim, and the lock and condition variable that only
//! models of the kernel and of other programs use.

pub use vcpu_state::sync::{FutexWord, atomic, thread};

#[cfg(loom)]
pub use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};

use std::sync::PoisonError;

/// Locks, whether or not an earlier holder panicked: the checker reports the panic itself.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on a condition variable, with the same view of poison as [`lock`].
pub fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// The result of a thread of the model; its panic is the model's.
pub fn join<T>(thread: thread::JoinHandle<T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Waits until a word that only grows has reached `value`.
pub fn await_at_least(word: &FutexWord, value: u32) {
    loop {
        let now = word.load();
        if now >= value {
            return;
        }
        word.wait(now, None);
    }
}
