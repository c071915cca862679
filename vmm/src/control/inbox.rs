//! What the control thread is told, and how it is woken: a lock-free queue and a generation word.
//!
//! vCPU threads only ever [`wake`](Inbox::wake) it (their requests are bits that it looks at), or
//! post once, when they end. API threads post commands and wait for the answer on a channel of theirs.

use crossbeam_queue::SegQueue;
use vcpu_state::sync::FutexWord;
use vcpu_state::sync::atomic::{AtomicBool, Ordering, fence};

use super::owner::Message;

/// The control thread's inbox.
pub struct Inbox {
    messages: SegQueue<Message>,
    generation: FutexWord,
    closed: AtomicBool,
}

/// Closes the inbox when it goes.
pub(super) struct Closer<'i>(&'i Inbox);

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            messages: SegQueue::new(),
            generation: FutexWord::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Makes the control thread look around. Never blocks.
    pub fn wake(&self) {
        self.generation.advance();
    }

    pub(super) fn post(&self, message: Message) {
        self.messages.push(message);
        self.wake();
        // The fences here and in `Closer::drop` pair: either the closer's drain sees this message, or
        // this thread sees that the inbox is closed and drains itself. A drained request is answered
        // by the end of its channel.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.drain();
        }
    }

    fn drain(&self) {
        while self.take().is_some() {}
    }

    pub(super) fn close_on_drop(&self) -> Closer<'_> {
        Closer(self)
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load()
    }

    pub(super) fn take(&self) -> Option<Message> {
        self.messages.pop()
    }

    /// Sleeps unless something happened since the generation was read.
    pub(super) fn wait(&self, generation: u32) {
        self.generation.wait(generation, None);
    }
}

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.0.drain();
    }
}
