//! The threads of a VM's vCPUs: which vCPU has one, and how one is replaced.
//!
//! ```text
//!          plug: make          remove: kill the word, join            add: reincarnate, spawn
//!   Empty ────────────▶ Running ──────────────────────────▶ Vacant ──────────────────────────▶ Running
//!                          └── retire: the same, and reset ──▶ └── plug: the same ──────────────▶
//! ```
//!
//! KVM cannot take a vCPU away, so a vCPU that is removed keeps its KVM vCPU, registers and all. Its next
//! thread goes on where the last one stood; that of one that was retired, because the guest has ejected it, waits for an INIT.
//!
//! Invariants: the word of a vacant vCPU is DEAD, so no pause waits for it; the KVM vCPU of a vacant one has
//! no exit left to complete; a word gets its next incarnation only after the thread of the last was joined.

use std::mem::replace;

use vcpu_state::sync::Arc;
use vcpu_state::{Group, Illegal, Word};

use super::Machine;
use super::build::{BuildError, pin};
use crate::config::CpuAffinity;
use crate::vcpu::{
    self, Arrival, End, SignalKick, Startup, Vcpu, VcpuHandle, VcpuParts, VcpuThread,
};

/// Called on a vCPU's thread when it ends.
pub type OnVcpuEnd = Arc<dyn Fn(&Machine, usize, End) + Send + Sync>;

/// A vCPU cannot be given a thread, or robbed of it.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// There is no such vCPU.
    #[error("there is no vCPU {vcpu}: the VM has {vcpus}, the first of them vCPU 0")]
    NoSuchVcpu {
        /// The vCPU.
        vcpu: u32,
        /// How many there are.
        vcpus: usize,
    },
    /// The vCPU that the guest booted on stays.
    #[error("vCPU 0 cannot be removed: the guest was booted on it")]
    First,
    /// It has been removed already.
    #[error("vCPU {0} has been removed already")]
    Vacant(u32),
    /// It is there.
    #[error("vCPU {0} is there already; only a removed one can be added")]
    Occupied(u32),
    /// The guest does not have it.
    #[error("vCPU {0} is not plugged in; a resize brings it")]
    Unplugged(u32),
    /// Its thread took the KVM vCPU with it when it ended.
    #[error("vCPU {0} is lost: its last thread did not end in order")]
    Lost(u32),
    /// The word does not allow it.
    #[error("vCPU {vcpu}: {source}")]
    Word {
        /// The vCPU.
        vcpu: u32,
        /// Why.
        source: Illegal,
    },
    /// The thread.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// One vCPU.
enum Seat {
    /// There has not been one yet.
    Empty,
    /// It has a thread, which gives the KVM vCPU back when it ends.
    Running(VcpuThread),
    /// It has none.
    Vacant(Box<Vcpu>),
    /// There is no KVM vCPU any longer: its thread panicked at the very end.
    Lost,
}

/// What there is of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupancy {
    /// Nothing yet.
    Empty,
    /// A KVM vCPU and a thread.
    Running,
    /// A KVM vCPU without a thread.
    Vacant,
    /// Nothing any longer.
    Lost,
}

/// The threads of one VM, and what a new one is made with.
pub(super) struct Threads {
    seats: Vec<Seat>,
    kick: Arc<SignalKick>,
    affinity: Vec<CpuAffinity>,
    ended: OnVcpuEnd,
}

/// What a new thread belongs to.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) group: &'a Arc<Group>,
    pub(super) machine: &'a Arc<Machine>,
}

impl Threads {
    /// No thread yet for this many vCPUs.
    pub(super) fn new(
        vcpus: usize,
        kick: Arc<SignalKick>,
        affinity: Vec<CpuAffinity>,
        ended: OnVcpuEnd,
    ) -> Self {
        Self { seats: (0..vcpus).map(|_| Seat::Empty).collect(), kick, affinity, ended }
    }

    /// Starts a thread for a vCPU; the caller keeps its handle, by [`Threads::seat`].
    ///
    /// # Errors
    /// The host has no thread left. The vCPU comes back; its word is DEAD.
    pub(super) fn start(
        &self,
        home: Home<'_>,
        index: u32,
        vcpu: Vcpu,
        arrival: Arrival<BuildError>,
    ) -> Result<VcpuThread, (BuildError, Option<Box<Vcpu>>)> {
        let Some(member) = home.group.member(index as usize) else {
            return Err((BuildError::SlotTaken { vcpu: index }, Some(Box::new(vcpu))));
        };
        let machine = Arc::clone(home.machine);
        let parts = VcpuParts { member, vcpu, machine, kick: Arc::clone(&self.kick) };
        let host_cpus = self.affinity.iter().filter(|affinity| affinity.vcpu == index);
        let host_cpus: Vec<_> = host_cpus.flat_map(|affinity| affinity.host_cpus.clone()).collect();
        let begin = move || {
            let result = pin(index, &host_cpus);
            let ready = result.is_ok();
            arrival.arrive(result);
            ready
        };
        let (ended, machine) = (Arc::clone(&self.ended), Arc::clone(home.machine));
        vcpu::spawn(parts, begin, move |index, end| ended(&machine, index, end))
            .map_err(|(error, vcpu)| (error.into(), vcpu))
    }

    /// The vCPU has this thread.
    pub(super) fn seat(&mut self, index: u32, thread: VcpuThread) {
        if let Some(seat) = self.seats.get_mut(index as usize) {
            *seat = Seat::Running(thread);
        }
    }

    /// Ends the thread of one vCPU and waits for it.
    pub(super) fn remove(&mut self, group: &Group, vcpu: u32) -> Result<(), SeatError> {
        match self.seat_of(vcpu)? {
            Seat::Running(_) if vcpu == 0 => Err(SeatError::First),
            Seat::Running(_) => self.end(group, vcpu),
            Seat::Vacant(_) => Err(SeatError::Vacant(vcpu)),
            Seat::Empty | Seat::Lost => Err(SeatError::Lost(vcpu)),
        }
    }

    /// Gives a vCPU without a thread another. If the group is held, it starts parked.
    pub(super) fn add(&mut self, home: Home<'_>, vcpu: u32) -> Result<(), SeatError> {
        match self.seat_of(vcpu)? {
            Seat::Vacant(_) => self.occupy(home, vcpu),
            Seat::Running(_) => Err(SeatError::Occupied(vcpu)),
            Seat::Empty | Seat::Lost => Err(SeatError::Lost(vcpu)),
        }
    }

    /// Ends the thread of a vCPU that the guest has ejected, waits for it, and resets the vCPU.
    pub(super) fn retire(&mut self, group: &Group, vcpu: u32) -> Result<(), SeatError> {
        if let Seat::Running(_) = self.seat_of(vcpu)? {
            self.end(group, vcpu)?;
        }
        match self.seat_of(vcpu)? {
            Seat::Vacant(ended) => Ok(ended.reset().map_err(BuildError::from)?),
            _ => Err(SeatError::Lost(vcpu)),
        }
    }

    /// Makes a vCPU for a slot that has none, or takes the one that was retired, and gives it a thread.
    pub(super) fn plug(
        &mut self,
        home: Home<'_>,
        vcpu: u32,
        make: impl FnOnce() -> Result<Vcpu, BuildError>,
    ) -> Result<(), SeatError> {
        self.make(vcpu, make)?;
        self.add(home, vcpu)
    }

    /// Makes a vCPU for a slot that has none.
    pub(super) fn make(
        &mut self,
        vcpu: u32,
        make: impl FnOnce() -> Result<Vcpu, BuildError>,
    ) -> Result<(), SeatError> {
        let vcpus = self.seats.len();
        let seat = self.seats.get_mut(vcpu as usize);
        let seat = seat.ok_or(SeatError::NoSuchVcpu { vcpu, vcpus })?;
        if let Seat::Empty = seat {
            *seat = Seat::Vacant(Box::new(make()?));
        }
        Ok(())
    }

    /// What there is of a vCPU.
    pub(super) fn occupancy(&self, vcpu: u32) -> Occupancy {
        match self.seats.get(vcpu as usize) {
            None | Some(Seat::Empty) => Occupancy::Empty,
            Some(Seat::Running(_)) => Occupancy::Running,
            Some(Seat::Vacant(_)) => Occupancy::Vacant,
            Some(Seat::Lost) => Occupancy::Lost,
        }
    }

    /// The way to a vCPU beside its thread, whether it has one or not.
    pub(super) fn handle(&self, vcpu: u32) -> Option<&Arc<VcpuHandle>> {
        match self.seats.get(vcpu as usize)? {
            Seat::Running(thread) => Some(thread.handle()),
            Seat::Vacant(vacant) => Some(vacant.handle()),
            Seat::Empty | Seat::Lost => None,
        }
    }

    /// The seat of a vCPU that there is, or was.
    fn seat_of(&mut self, vcpu: u32) -> Result<&mut Seat, SeatError> {
        let vcpus = self.seats.iter().filter(|seat| !matches!(seat, Seat::Empty)).count();
        let seat = self.seats.get_mut(vcpu as usize).filter(|seat| !matches!(seat, Seat::Empty));
        seat.ok_or(SeatError::NoSuchVcpu { vcpu, vcpus })
    }

    /// Kills the word of a vCPU that has a thread, and joins that.
    pub(super) fn end(&mut self, group: &Group, vcpu: u32) -> Result<(), SeatError> {
        let seat = self.seat_of(vcpu)?;
        match replace(seat, Seat::Lost) {
            Seat::Running(thread) => {
                group.kill(vcpu as usize);
                let ended = thread.join().ok_or(SeatError::Lost(vcpu))?;
                *seat = Seat::Vacant(Box::new(ended));
            }
            other => *seat = other,
        }
        Ok(())
    }

    /// Gives a vacant seat's vCPU a thread.
    fn occupy(&mut self, home: Home<'_>, vcpu: u32) -> Result<(), SeatError> {
        let index = vcpu as usize;
        // One that never had a thread is no new incarnation.
        if home.group.word(index).is_some_and(|word| word.any(Word::DEAD)) {
            home.group.reincarnate(index).map_err(|source| SeatError::Word { vcpu, source })?;
        }
        let seat = self.seat_of(vcpu)?;
        let vacant = match replace(seat, Seat::Lost) {
            Seat::Vacant(vacant) => vacant,
            other => {
                *seat = other;
                return Err(SeatError::Occupied(vcpu));
            }
        };
        let startup = Startup::new();
        match self.start(home, vcpu, *vacant, startup.expect()) {
            Ok(thread) => self.seats[index] = Seat::Running(thread),
            Err((error, vacant)) => {
                self.seats[index] = vacant.map_or(Seat::Lost, Seat::Vacant);
                return Err(error.into());
            }
        }
        startup.wait().map_err(|error| {
            // The thread has ended: the seat is vacant again.
            let _ = self.end(home.group, vcpu);
            error.into()
        })
    }

    /// Waits for every thread that there is; the caller has killed the words.
    pub(super) fn join(&mut self) {
        for seat in &mut self.seats {
            if let Seat::Running(thread) = replace(seat, Seat::Lost) {
                drop(thread.join());
            }
        }
    }
}
