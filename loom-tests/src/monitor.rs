//! A monitor: state under one lock with one condition variable. The historic protocols are written
//! with it, because that is what most of them were made of.

use crate::checker::{Condvar, Mutex, MutexGuard, lock, wait};

/// State that threads change and wait for.
pub struct Monitor<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    /// A monitor around this state.
    pub fn new(state: T) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Holds the lock until the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.state)
    }

    /// Changes the state and makes every waiter look.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    /// Waits, without the lock, until `condition` holds; returns with the lock held.
    pub fn wait_until(&self, condition: impl Fn(&T) -> bool) -> MutexGuard<'_, T> {
        let mut state = self.lock();
        while !condition(&state) {
            state = wait(&self.changed, state);
        }
        state
    }
}
