//! Runs a worker on the test's thread, as its own thread would, and in this crate's tests sees to it that what the worker writes is logged.

use std::io;

use super::watch::Watch;
use crate::event::Event;
use crate::virtio::{Listening, Progress, Sources, Wakeup, Worker, WorkerError};

/// A worker, run step by step.
pub struct Runner {
    worker: Box<dyn Worker>,
    sources: Sources,
    again: bool,
    /// Looks at the memory, unless that of another worker does. After the worker: its drop waits for what is in flight.
    watch: Option<Watch>,
    /// What the poll listens to for kicks; nobody kicks.
    _kick: Event,
}

/// Calls that a step may take before it is a loop without end.
const ENOUGH: usize = 100_000;

impl Runner {
    /// Starts it: every doorbell counts as rung.
    ///
    /// # Errors
    /// The worker could not start.
    pub fn start(mut worker: Box<dyn Worker>) -> Result<Self, WorkerError> {
        let host = |what| move |source: io::Error| WorkerError::Host { what, source };
        let kick = Event::new().map_err(host("make an eventfd"))?;
        let mut sources = Sources::new(&kick).map_err(host("make an epoll instance"))?;
        // Too slow for fuzzers.
        let queues = worker.queues();
        let watched = queues.first().filter(|_| cfg!(test));
        let watch = watched.and_then(|queue| Watch::begin(queue.memory()));
        for queue in queues {
            let added = sources.add_doorbell(queue.doorbell(), queue.index());
            added.map_err(host("listen to a doorbell"))?;
            queue.doorbell().notify();
        }
        worker.start(&mut Listening { sources: &mut sources })?;
        Ok(Self { worker, sources, again: false, watch, _kick: kick })
    }

    /// Lets it work until it has nothing more to do now.
    ///
    /// # Errors
    /// The worker cannot go on.
    ///
    /// # Panics
    /// It goes on for ever.
    pub fn step(&mut self) -> Result<(), WorkerError> {
        for _ in 0..ENOUGH {
            if !self.once(false)? {
                return Ok(());
            }
        }
        panic!("the worker {} never has enough", self.worker.label());
    }

    /// Sleeps until something occurs, then works it off.
    ///
    /// # Errors
    /// The worker cannot go on.
    pub fn sleep(&mut self) -> Result<(), WorkerError> {
        while !self.once(!self.again)? {}
        self.step()
    }

    /// Waits until nothing is in flight.
    ///
    /// # Errors
    /// The worker cannot go on.
    pub fn drain(&mut self) -> Result<(), WorkerError> {
        self.worker.drain()?;
        self.watch.iter_mut().for_each(Watch::look);
        Ok(())
    }

    fn once(&mut self, sleepily: bool) -> Result<bool, WorkerError> {
        let mut wakeups = Vec::new();
        if std::mem::take(&mut self.again) {
            wakeups.push(Wakeup::Again);
        }
        self.sources
            .wait(sleepily && wakeups.is_empty(), &mut wakeups)
            .map_err(|source| WorkerError::Host { what: "poll", source })?;
        for wakeup in &wakeups {
            if let Wakeup::Doorbell(rung) = *wakeup {
                let mut queues = self.worker.queues();
                let queue = queues.iter_mut().find(|queue| queue.index() == rung);
                queue.map(|queue| queue.doorbell().clear());
            }
            let mut listening = Listening { sources: &mut self.sources };
            if self.worker.handle(*wakeup, &mut listening)? == Progress::More {
                self.again = true;
            }
        }
        Ok(!wakeups.is_empty())
    }
}
