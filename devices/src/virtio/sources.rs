//! What a worker sleeps on: an epoll instance with the group's kick, doorbells and the worker's own descriptors.
//!
//! Under a model checker it is the model of one, which knows no descriptors but those of events.

use std::io;
use std::os::fd::BorrowedFd;
#[cfg(not(any(loom, shuttle)))]
use std::os::fd::{AsFd, OwnedFd};

#[cfg(not(any(loom, shuttle)))]
use rustix::buffer::spare_capacity;
#[cfg(not(any(loom, shuttle)))]
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

#[cfg(not(any(loom, shuttle)))]
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
#[cfg(not(any(loom, shuttle)))]
const BATCH: usize = 32;

const KIND_SHIFT: u32 = 32;
const KIND_KICK: u64 = 0;
const KIND_DOORBELL: u64 = 1;
const KIND_TOKEN: u64 = 2;

/// What is listened to.
#[derive(Clone, Copy)]
struct Name(u64);

impl Name {
    const KICK: Self = Self(KIND_KICK << KIND_SHIFT);

    const fn doorbell(queue: u16) -> Self {
        Self(KIND_DOORBELL << KIND_SHIFT | queue as u64)
    }

    #[cfg(not(any(loom, shuttle)))]
    const fn token(token: Token) -> Self {
        Self(KIND_TOKEN << KIND_SHIFT | token.0 as u64)
    }

    /// Why a worker is called when this occurs; `None` for the kick.
    fn wakeup(self) -> Option<Wakeup> {
        let [kind, low] = [self.0 >> KIND_SHIFT, self.0 & u64::from(u32::MAX)];
        match kind {
            KIND_DOORBELL => u16::try_from(low).ok().map(Wakeup::Doorbell),
            KIND_TOKEN => u32::try_from(low).ok().map(|low| Wakeup::Ready(Token(low))),
            _ => None,
        }
    }
}

/// Whether the kick was among what occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kicked {
    Yes,
    No,
}

/// The epoll instance of one worker.
#[cfg(not(any(loom, shuttle)))]
pub struct Sources {
    epoll: OwnedFd,
    occurred: Vec<Occurrence>,
}

#[cfg(not(any(loom, shuttle)))]
impl Sources {
    /// One that listens to the kick.
    pub(super) fn new(kick: &Event) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let sources = Self { epoll, occurred: Vec::with_capacity(BATCH) };
        sources.register(kick.as_fd(), Name::KICK, Interest::Readable)?;
        Ok(sources)
    }

    /// Listens to the doorbell of a queue.
    pub(super) fn add_doorbell(&mut self, doorbell: &Event, queue: u16) -> io::Result<()> {
        self.register(doorbell.as_fd(), Name::doorbell(queue), Interest::Readable)
    }

    pub(super) fn add(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.register(fd, Name::token(token), interest)
    }

    pub(super) fn modify(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let data = EventData::new_u64(Name::token(token).0);
        Ok(epoll::modify(&self.epoll, fd, data, interest.flags())?)
    }

    pub(super) fn remove(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Sleeps until something occurs (at once, if not `sleepily`) and appends what did to `wakeups`; whether the kick
    /// did as well. An interrupted sleep is one in which nothing occurred.
    pub(super) fn wait(
        &mut self,
        sleepily: bool,
        wakeups: &mut impl Extend<Wakeup>,
    ) -> io::Result<Kicked> {
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if sleepily { None } else { Some(&at_once) };
        self.occurred.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.occurred), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(sort(self.occurred.iter().map(|occurrence| Name(occurrence.data.u64())), wakeups))
    }

    fn register(&self, fd: BorrowedFd<'_>, name: Name, interest: Interest) -> io::Result<()> {
        let data = EventData::new_u64(name.0);
        Ok(epoll::add(&self.epoll, fd, data, interest.flags())?)
    }
}

/// Appends the wakeups among what occurred, and says whether the kick was there, too.
fn sort(occurred: impl Iterator<Item = Name>, wakeups: &mut impl Extend<Wakeup>) -> Kicked {
    let mut kicked = Kicked::No;
    wakeups.extend(occurred.filter_map(|name| {
        let wakeup = name.wakeup();
        if wakeup.is_none() {
            kicked = Kicked::Yes;
        }
        wakeup
    }));
    kicked
}

/// The model of one.
#[cfg(any(loom, shuttle))]
pub struct Sources(crate::event::Poll);

#[cfg(any(loom, shuttle))]
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the kernel's is like that")]
impl Sources {
    pub(super) fn new(kick: &Event) -> io::Result<Self> {
        let mut poll = crate::event::Poll::new();
        poll.add(kick, Name::KICK.0);
        Ok(Self(poll))
    }

    pub(super) fn add_doorbell(&mut self, doorbell: &Event, queue: u16) -> io::Result<()> {
        self.0.add(doorbell, Name::doorbell(queue).0);
        Ok(())
    }

    pub(super) fn add(&mut self, _: BorrowedFd<'_>, _: Token, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn modify(&mut self, _: BorrowedFd<'_>, _: Token, _: Interest) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn remove(&mut self, _: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn wait(
        &mut self,
        sleepily: bool,
        wakeups: &mut impl Extend<Wakeup>,
    ) -> io::Result<Kicked> {
        Ok(sort(self.0.wait(sleepily).into_iter().map(Name), wakeups))
    }
}
