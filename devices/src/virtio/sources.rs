//! What a worker sleeps on: an epoll instance with the group's kick, doorbells and the worker's own descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event as Occurrence, EventData, EventFlags};

use super::worker::{Token, Wakeup};
use crate::event::Event;

/// What is listened for at a file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That it can be read (or its other end has gone).
    Readable,
    /// That it can be written.
    Writable,
    /// Either.
    Both,
    /// Nothing but its end.
    Nothing,
}

impl Interest {
    const fn flags(self) -> EventFlags {
        match self {
            Self::Readable => EventFlags::IN.union(EventFlags::RDHUP),
            Self::Writable => EventFlags::OUT,
            Self::Both => EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::OUT),
            Self::Nothing => EventFlags::empty(),
        }
    }
}

/// At most this many occurrences are taken at a time.
const BATCH: usize = 32;

const KIND_SHIFT: u32 = 32;
const KIND_KICK: u64 = 0;
const KIND_DOORBELL: u64 = 1;
const KIND_TOKEN: u64 = 2;

/// The epoll instance of one worker.
pub struct Sources {
    epoll: OwnedFd,
    occurred: Vec<Occurrence>,
}

impl Sources {
    /// One that listens to the kick.
    pub(super) fn new(kick: &Event) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let sources = Self { epoll, occurred: Vec::with_capacity(BATCH) };
        sources.register(kick.as_fd(), KIND_KICK, 0, Interest::Readable)?;
        Ok(sources)
    }

    /// Listens to the doorbell of a queue.
    pub(super) fn add_doorbell(&self, doorbell: &Event, queue: u16) -> io::Result<()> {
        self.register(doorbell.as_fd(), KIND_DOORBELL, queue.into(), Interest::Readable)
    }

    pub(super) fn add(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.register(fd, KIND_TOKEN, token.0, interest)
    }

    pub(super) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let data = EventData::new_u64(KIND_TOKEN << KIND_SHIFT | u64::from(token.0));
        Ok(epoll::modify(&self.epoll, fd, data, interest.flags())?)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Sleeps until something occurs (at once, if not `sleepily`) and appends what did to `wakeups`; the kick is
    /// not among them. An interrupted sleep is one in which nothing occurred.
    pub(super) fn wait(&mut self, sleepily: bool, wakeups: &mut Vec<Wakeup>) -> io::Result<()> {
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if sleepily { None } else { Some(&at_once) };
        self.occurred.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.occurred), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        wakeups.extend(self.occurred.iter().filter_map(|occurrence| {
            let data = occurrence.data.u64();
            let [kind, low] = [data >> KIND_SHIFT, data & u64::from(u32::MAX)];
            match kind {
                KIND_DOORBELL => u16::try_from(low).ok().map(Wakeup::Doorbell),
                KIND_TOKEN => u32::try_from(low).ok().map(|low| Wakeup::Ready(Token(low))),
                _ => None,
            }
        }));
        Ok(())
    }

    fn register(
        &self,
        fd: BorrowedFd<'_>,
        kind: u64,
        low: u32,
        interest: Interest,
    ) -> io::Result<()> {
        let data = EventData::new_u64(kind << KIND_SHIFT | u64::from(low));
        Ok(epoll::add(&self.epoll, fd, data, interest.flags())?)
    }
}
