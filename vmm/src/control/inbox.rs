//! What the owner of the VM is told, and how the control thread is woken: a lock-free queue, a flag
//! and a generation word.
//!
//! vCPU threads only ever [`wake`](Inbox::wake) it (their requests are bits that the owner looks at),
//! or post once, when they end. API threads post requests and take the turn.

use std::sync::OnceLock;

use crossbeam_queue::SegQueue;
use vcpu_state::sync::FutexWord;
use vcpu_state::sync::atomic::{AtomicBool, Ordering, fence};

use vcpu_state::Resumed;

use super::Ended;
use super::message::Message;
use crate::sched;
use crate::vm::Bell;

/// The owner's inbox.
pub struct Inbox {
    messages: SegQueue<Message>,
    /// Groups that were let go, and whose threads the control thread has to wake.
    asleep: SegQueue<Resumed>,
    /// Somebody wants the owner to look around.
    look: AtomicBool,
    generation: FutexWord,
    ended: OnceLock<Ended>,
}

impl Bell for Inbox {
    fn ring(&self) {
        self.wake();
    }
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            messages: SegQueue::new(),
            asleep: SegQueue::new(),
            look: AtomicBool::new(false),
            generation: FutexWord::new(0),
            ended: OnceLock::new(),
        }
    }

    /// Makes the owner look around, on the control thread if nobody else. Never blocks.
    pub fn wake(&self) {
        // Release: pairs with the acquire in `take_look`; what is to be seen is seen.
        self.look.store(true, Ordering::Release);
        self.generation.advance();
    }

    /// Posts something that its poster does not work off itself.
    pub(super) fn post(&self, message: Message) {
        self.put(message);
        self.wake();
    }

    /// Posts something that its poster works off, by taking the turn next.
    pub(super) fn put(&self, message: Message) {
        self.messages.push(message);
        // The fences here and in `close` pair: either the closer's drain sees this message, or this
        // thread sees that the inbox is closed and drains itself. A drained request is answered by
        // the end of its channel.
        fence(Ordering::SeqCst);
        if self.ended.get().is_some() {
            self.drain();
        }
    }

    /// Has the control thread wake the threads of a group. Waking hundreds takes longer than the slice
    /// of a thread that answers requests; who is scheduled out in the middle of it, among hundreds that
    /// want the processor by then, comes back a second later.
    pub(crate) fn wake_group(&self, group: Resumed) {
        self.asleep.push(group);
        self.generation.advance();
        // As in `put`: the closer's drain or this thread.
        fence(Ordering::SeqCst);
        if self.ended.get().is_some() {
            self.wake_groups();
        }
    }

    /// Wakes them.
    pub(crate) fn wake_groups(&self) {
        while let Some(group) = self.asleep.pop() {
            sched::without_interruption(|| drop(group));
        }
    }

    /// Whether there is something for the owner to do.
    pub(super) fn has_work(&self) -> bool {
        // Acquire: see `wake`.
        !self.messages.is_empty() || self.look.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Message> {
        self.messages.pop()
    }

    /// The owner is looking: later wakes ask it to look again.
    pub(super) fn take_look(&self) {
        self.look.swap(false, Ordering::AcqRel);
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load()
    }

    /// Sleeps unless something happened since the generation was read.
    pub(super) fn wait(&self, generation: u32) {
        // As a batch task it does not take the processor from whoever wakes it, and has a client to answer.
        sched::as_batch(|| self.generation.wait(generation, None));
    }

    /// There is no owner any longer. The first reason stands.
    pub(super) fn close(&self, ended: Ended) {
        let _ = self.ended.set(ended);
        fence(Ordering::SeqCst);
        self.drain();
        self.wake_groups();
        self.wake();
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    fn drain(&self) {
        while self.take().is_some() {}
        // Nobody looks any longer; nobody is to believe that there is work.
        self.look.store(false, Ordering::Release);
    }
}
