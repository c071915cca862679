//! A device type whose activation and work do what a test wants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vcpu_state::sync::FutexWord;

use crate::virtio::{
    Activation, ActivationError, Chain, DeviceType, Listening, Malformed, Progress, VirtioDevice,
    Virtqueue, Wakeup, Worker, WorkerError,
};

/// What an activation comes to.
#[derive(Clone, Debug)]
pub enum Activating {
    /// Workers, one for each queue.
    Succeeds,
    /// Workers, but not before this word has reached 1.
    Slowly(Arc<FutexWord>),
    /// An error.
    Fails,
    /// An error, but not before this word has reached 1.
    FailsSlowly(Arc<FutexWord>),
    /// A panic.
    Panics,
}

/// What a worker does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Working {
    /// Gives every request back.
    Serves,
    /// Takes requests, and gives them back when it is drained.
    Holds,
    /// The same, but a drain with requests lasts until [`Seen::let_go`] has been advanced.
    Sticks,
    /// Ends with an error.
    Fails,
    /// Panics.
    Panics,
}

/// What has been seen of a device by its code.
#[derive(Debug)]
pub struct Seen {
    /// Calls of `activate`.
    pub activations: AtomicU64,
    /// Calls of `reset`.
    pub resets: AtomicU64,
    /// Requests given back. Advanced, so that tests can wait for it.
    pub served: FutexWord,
    /// Requests taken.
    pub taken: FutexWord,
    /// Workers that live.
    pub workers: AtomicU64,
    /// Workers that have ended.
    pub ended: FutexWord,
    /// Calls of `drain`.
    pub drains: AtomicU64,
    /// Lets drains end that stick.
    pub let_go: FutexWord,
    /// Requests taken and not given back.
    pub in_flight: AtomicU64,
    /// Calls of workers that are going on.
    pub busy: AtomicU64,
}

/// A device type for tests.
pub struct TestDevice {
    sizes: Vec<u16>,
    activating: crossbeam_queue::SegQueue<Activating>,
    working: Working,
    /// What its code has seen.
    pub seen: Arc<Seen>,
}

impl TestDevice {
    /// One with so many queues of so many descriptors.
    #[must_use]
    pub fn new(queues: usize, size: u16, working: Working) -> Self {
        let zero = || AtomicU64::new(0);
        let seen = Seen {
            activations: zero(),
            resets: zero(),
            served: FutexWord::new(0),
            taken: FutexWord::new(0),
            ended: FutexWord::new(0),
            workers: zero(),
            drains: zero(),
            let_go: FutexWord::new(0),
            in_flight: zero(),
            busy: zero(),
        };
        let activating = crossbeam_queue::SegQueue::new();
        Self { sizes: vec![size; queues], activating, working, seen: Arc::new(seen) }
    }

    /// What the next activations come to, in this order; those after them succeed.
    pub fn then(&self, activating: Activating) {
        self.activating.push(activating);
    }
}

impl VirtioDevice for TestDevice {
    fn name(&self) -> &'static str {
        "test0"
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn features(&self) -> u64 {
        1
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        for (place, byte) in (offset..).zip(data) {
            *byte = u8::try_from(place).ok().filter(|place| *place < 16).unwrap_or(0);
        }
    }

    fn activate(&self, activation: Activation) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        self.seen.activations.fetch_add(1, Ordering::SeqCst);
        match self.activating.pop().unwrap_or(Activating::Succeeds) {
            Activating::Succeeds => {}
            Activating::Slowly(until) => await_advance(&until),
            Activating::Fails => return Err(ActivationError::MissingQueue(0)),
            Activating::FailsSlowly(until) => {
                await_advance(&until);
                return Err(ActivationError::MissingQueue(0));
            }
            // Unwinds as a panic does, without its message on the error output.
            Activating::Panics => std::panic::resume_unwind(Box::new("activation")),
        }
        let worker = |queue| {
            self.seen.workers.fetch_add(1, Ordering::SeqCst);
            let seen = Arc::clone(&self.seen);
            Box::new(TestWorker { queue, working: self.working, held: VecDeque::new(), seen }) as _
        };
        Ok(activation.queues.into_iter().map(worker).collect())
    }

    fn reset(&self) {
        self.seen.resets.fetch_add(1, Ordering::SeqCst);
    }
}

fn await_advance(word: &FutexWord) {
    while word.load() == 0 {
        word.wait(0, None);
    }
}

struct TestWorker {
    queue: Virtqueue,
    working: Working,
    held: VecDeque<u16>,
    seen: Arc<Seen>,
}

impl TestWorker {
    fn give_back(&mut self) -> Result<(), Malformed> {
        for head in self.held.drain(..) {
            self.queue.push(head, 0)?;
            self.seen.in_flight.fetch_sub(1, Ordering::SeqCst);
            self.seen.served.advance();
        }
        self.queue.flush()
    }

    fn work(&mut self) -> Result<Progress, WorkerError> {
        let mut chain = Chain::new();
        while self.queue.pop(&mut chain)? {
            match self.working {
                Working::Fails => return Err(Malformed::Shape("a test").into()),
                Working::Panics => std::panic::resume_unwind(Box::new("work")),
                Working::Serves | Working::Holds | Working::Sticks => {
                    self.held.push_back(chain.head());
                }
            }
            self.seen.in_flight.fetch_add(1, Ordering::SeqCst);
            self.seen.taken.advance();
        }
        if self.working == Working::Serves {
            self.give_back()?;
        }
        let more = self.queue.enable_notifications()?;
        Ok(if more { Progress::More } else { Progress::Idle })
    }
}

/// A call of a worker, from its making to its drop.
struct Busy(Arc<Seen>);

impl Busy {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.busy.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Worker for TestWorker {
    fn label(&self) -> String {
        format!("q{}", self.queue.index())
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.queue]
    }

    fn handle(
        &mut self,
        _wakeup: Wakeup,
        _listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        let _busy = Busy::new(&self.seen);
        self.work()
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        let _busy = Busy::new(&self.seen);
        self.seen.drains.fetch_add(1, Ordering::SeqCst);
        if self.working == Working::Sticks && !self.held.is_empty() {
            await_advance(&self.seen.let_go);
        }
        Ok(self.give_back()?)
    }
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        self.seen.workers.fetch_sub(1, Ordering::SeqCst);
        self.seen.ended.advance();
    }
}
