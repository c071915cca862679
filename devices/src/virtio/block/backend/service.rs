//! Images that a library reads and writes, by a thread of the image.
//!
//! ```text
//!   worker 0 ─┐                                   ┌─▶ ended ─▶ worker 0
//!             ├─ jobs ─▶ thread: owns the image ──┤
//!   worker 1 ─┘                                   └─▶ ended ─▶ worker 1
//! ```
//!
//! One thread owns the image, so what the library must not do at the same time cannot be; and no
//! lock in it is one that anybody else could wait for. The thread lives as long as the image. A panic in the library
//! is an I/O error.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_queue::{ArrayQueue, SegQueue};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Action, Backend, Completion, Operation};
use crate::event::Event;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::virtio::block::transfer::Transfer;

/// A library's image, as its thread uses it.
pub(in crate::virtio::block) trait Image: Send {
    fn read(&mut self, data: &mut [u8], offset: u64) -> io::Result<()>;
    fn write(&mut self, data: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn deallocate(&mut self, offset: u64, len: u64) -> io::Result<()>;
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()>;
    fn resize(&mut self, len: u64) -> io::Result<()>;
}

enum Job {
    Operation { token: u16, operation: Operation, transfer: Box<Transfer>, ended: Arc<Ended> },
    Change { change: Change, answer: Arc<Answer> },
}

/// What is done to an image as a whole.
enum Change {
    Resize(u64),
    Sync,
    /// Another one takes its place, when it has been synced and closed.
    Swap(Box<dyn Image>),
}

/// Where a worker's completions go.
struct Ended {
    /// Has room for all that the worker has in flight.
    completions: ArrayQueue<Completion>,
    event: Event,
}

struct Answer {
    result: ArrayQueue<io::Result<()>>,
    event: Event,
}

/// What the thread and those who use it share. The queue is bounded by the depth of the workers.
struct Inbox {
    jobs: SegQueue<Job>,
    event: Event,
    stopping: AtomicBool,
}

/// The thread of an image.
pub(in crate::virtio::block) struct Service {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts it.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub fn start(name: &str, image: Box<dyn Image>) -> io::Result<Self> {
        let inbox = Arc::new(Inbox {
            jobs: SegQueue::new(),
            event: Event::new()?,
            stopping: AtomicBool::new(false),
        });
        let inboxes = Arc::clone(&inbox);
        let thread = std::thread::Builder::new()
            .name(format!("{name}-image"))
            .spawn(move || run(&inboxes, image))?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// For a worker of so many operations at a time.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn client(self: &Arc<Self>, depth: u16) -> io::Result<Client> {
        let completions = ArrayQueue::new(usize::from(depth).max(1));
        let ended = Arc::new(Ended { completions, event: Event::new()? });
        Ok(Client { service: Arc::clone(self), ended, count: 0 })
    }

    /// Resizes the image, after what has been submitted before.
    ///
    /// # Errors
    /// The image cannot have that size.
    pub fn resize(&self, len: u64) -> io::Result<()> {
        self.change(Change::Resize(len))
    }

    /// Makes all that has been written last.
    ///
    /// # Errors
    /// The storage refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.change(Change::Sync)
    }

    /// Closes the image, after what has been submitted before, and goes on with another.
    ///
    /// # Errors
    /// What was written cannot be made to last; the image stays then.
    pub fn swap(&self, image: Box<dyn Image>) -> io::Result<()> {
        self.change(Change::Swap(image))
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let answer = Arc::new(Answer { result: ArrayQueue::new(1), event: Event::new()? });
        self.inbox.jobs.push(Job::Change { change, answer: Arc::clone(&answer) });
        self.inbox.event.notify();
        loop {
            if let Some(result) = answer.result.pop() {
                return result;
            }
            sleep(&answer.event)?;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Release: pairs with the thread's look at it, after all jobs that were pushed before.
        self.inbox.stopping.store(true, Ordering::Release);
        self.inbox.event.notify();
        if let Some(thread) = self.thread.take() {
            // It catches panics of the library, and has none of its own.
            let _ = thread.join();
        }
    }
}

/// A worker's access to an image's thread.
pub(in crate::virtio::block) struct Client {
    /// Lives as long as there is anybody who waits for it.
    service: Arc<Service>,
    ended: Arc<Ended>,
    count: usize,
}

impl Backend for Client {
    fn submit(&mut self, token: u16, operation: &Operation, transfer: Box<Transfer>) {
        let ended = Arc::clone(&self.ended);
        self.count += 1;
        self.service.inbox.jobs.push(Job::Operation {
            token,
            operation: *operation,
            transfer,
            ended,
        });
    }

    fn flush(&mut self) -> io::Result<bool> {
        if self.count > 0 {
            self.service.inbox.event.notify();
        }
        Ok(true)
    }

    fn next(&mut self) -> Option<Completion> {
        let completion = self.ended.completions.pop()?;
        self.count -= 1;
        Some(completion)
    }

    fn in_flight(&self) -> usize {
        self.count
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ended.event.as_fd())
    }

    fn acknowledge(&mut self) {
        self.ended.event.clear();
    }

    fn wait(&mut self) -> io::Result<()> {
        while self.count > 0 && self.ended.completions.is_empty() {
            sleep(&self.ended.event)?;
        }
        Ok(())
    }
}

/// Sleeps until the event has been notified, and forgets that it has.
fn sleep(event: &Event) -> io::Result<()> {
    match poll(&mut [PollFd::new(event, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    event.clear();
    Ok(())
}

fn run(inbox: &Inbox, mut image: Box<dyn Image>) {
    loop {
        while let Some(job) = inbox.jobs.pop() {
            work_off(job, &mut image);
        }
        // Acquire: see the other end.
        if inbox.stopping.load(Ordering::Acquire) && inbox.jobs.is_empty() {
            break;
        }
        if let Err(error) = sleep(&inbox.event) {
            tracing::error!(%error, "the thread of a disk image cannot sleep");
        }
    }
    // What the library still holds is written when the image is dropped.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(image)));
}

fn work_off(job: Job, image: &mut Box<dyn Image>) {
    match job {
        Job::Operation { token, operation, mut transfer, ended } => {
            let result = guarded(|| carry_out(&operation, &mut transfer, image.as_mut()));
            let result = result.map_err(|error| {
                tracing::debug!(%error, ?operation, "a disk image refuses an operation");
                errno(&error)
            });
            // There is room: see `Ended`.
            let _ = ended.completions.push(Completion { token, result, transfer });
            ended.event.notify();
        }
        Job::Change { change, answer } => {
            let result = guarded(|| match change {
                Change::Resize(len) => image.resize(len),
                Change::Sync => image.sync(),
                Change::Swap(next) => image.sync().map(|()| *image = next),
            });
            let _ = answer.result.push(result);
            answer.event.notify();
        }
    }
}

/// Makes a panic an error. The library's image stays usable: it locks nothing over a panic that is not unlocked.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(io::Error::other("the image's library has panicked")))
}

fn carry_out(
    operation: &Operation,
    transfer: &mut Transfer,
    image: &mut dyn Image,
) -> io::Result<u32> {
    let Operation { action, offset, len, .. } = *operation;
    let moved = match action {
        Action::Read => {
            let data = transfer.bounce_mut();
            image.read(data, offset)?;
            data.len()
        }
        Action::Write => {
            let data = transfer.bounce_mut();
            image.write(data, offset)?;
            data.len()
        }
        Action::Sync => image.sync().map(|()| 0)?,
        Action::Deallocate => image.deallocate(offset, len).map(|()| 0)?,
        Action::Zero => image.zero(offset, len).map(|()| 0)?,
    };
    // At most the size of a transfer's buffer.
    u32::try_from(moved).map_err(io::Error::other)
}

fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::Unsupported => Errno::OPNOTSUPP,
        _ => Errno::from_io_error(error).unwrap_or(Errno::IO),
    }
}
