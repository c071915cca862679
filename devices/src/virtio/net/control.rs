//! The control queue (virtio 1.2, 5.1.6.5): how many queue pairs are used.
//!
//! When a command is given back, it has been carried out: queues of the tap that are to be off take no packets any more.

use std::sync::Arc;

use super::backend::Backend;
use super::counters::add;
use super::shared::Shared;
use crate::event::Event;
use crate::virtio::{
    Chain, Listening, Malformed, Progress, Virtqueue, Wakeup, Worker, WorkerError,
};

/// Commands that a call carries out at most.
const BATCH: usize = 16;
/// VIRTIO_NET_OK and VIRTIO_NET_ERR.
const OK: u8 = 0;
const ERR: u8 = 1;
/// VIRTIO_NET_CTRL_MQ and its command VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET.
const MQ: u8 = 4;
const MQ_PAIRS_SET: u8 = 0;

/// Serves the control queue.
pub(super) struct ControlWorker {
    pub(super) queue: Virtqueue,
    pub(super) chain: Chain,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) shared: Arc<Shared>,
    /// One for each pair that the driver has set up, from 0.
    pub(super) changed: Vec<Arc<Event>>,
}

impl ControlWorker {
    fn work(&mut self) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            if self.queue.pop(&mut self.chain)? {
                let answer = self.command()?;
                let answered = self.chain.write(self.queue.memory(), 0, &[answer])?;
                self.queue.push(self.chain.head(), u32::try_from(answered).unwrap_or(0))?;
            } else if !self.queue.enable_notifications()? {
                self.queue.flush()?;
                return Ok(Progress::Idle);
            }
        }
        self.queue.flush()?;
        Ok(Progress::More)
    }

    /// Carries a command out; the answer.
    fn command(&self) -> Result<u8, Malformed> {
        if self.chain.writable_len() == 0 {
            return Err(Malformed::Shape("room for an answer"));
        }
        let mut command = [0; 4];
        let len = self.chain.read(self.queue.memory(), 0, &mut command)?;
        let done = match command[..len] {
            [MQ, MQ_PAIRS_SET, low, high] => self.set_pairs(u16::from_le_bytes([low, high])),
            [_, _, ..] => false,
            _ => return Err(Malformed::Shape("a class and a command")),
        };
        if !done {
            add(&self.shared.counters.malformed, 1);
        }
        Ok(if done { OK } else { ERR })
    }

    fn set_pairs(&self, pairs: u16) -> bool {
        if pairs == 0 || usize::from(pairs) > self.changed.len() {
            return false;
        }
        // Who finds its queue off looks at the number to know why: so it shrinks before, and grows after.
        let shrinks = pairs < self.shared.active();
        if shrinks {
            self.shared.set_active(pairs);
        }
        let done = self.backend.set_active(pairs);
        if let Err(error) = &done {
            let tap = self.backend.name();
            tracing::warn!(tap, pairs, %error, "the tap's queues could not be changed");
            add(&self.shared.counters.errors, 1);
        } else {
            self.shared.set_active(pairs);
        }
        for changed in &self.changed {
            changed.notify();
        }
        done.is_ok()
    }
}

impl Worker for ControlWorker {
    fn label(&self) -> String {
        "ctrl".into()
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.queue]
    }

    fn handle(&mut self, _: Wakeup, _: &mut Listening<'_>) -> Result<Progress, WorkerError> {
        let result = self.work();
        if let Err(WorkerError::Malformed(_)) = result {
            add(&self.shared.counters.malformed, 1);
        }
        result
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        Ok(())
    }
}
