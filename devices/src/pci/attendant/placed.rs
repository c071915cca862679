//! A BAR as the attendant knows it: where it answers, and which of its doorbells are registered.

use std::sync::Arc;

use super::World;
use crate::bus::{BusDevice, Written};
use crate::event::Event;
use crate::pci::config::BarSpace;
use crate::pci::function::{BarIndex, PciFunction};
use crate::pci::segment::{PciSegment, count};

/// A BAR as a device on a bus.
struct Window {
    function: Arc<dyn PciFunction>,
    bar: BarIndex,
}

impl BusDevice for Window {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.function.read_bar(self.bar, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        self.function.write_bar(self.bar, offset, data)
    }
}

/// Where a doorbell is in its BAR, and whether the hypervisor knows it.
struct Doorbell {
    offset: u64,
    event: Arc<Event>,
    registered_at: Option<u64>,
}

/// What the registers want of a BAR.
pub(super) enum Course {
    /// That it stays where it is, or nowhere.
    Stay,
    /// That it answers elsewhere.
    To(u64),
    /// That it answers nowhere.
    Away,
}

/// A BAR.
pub(super) struct Placed {
    window: Arc<Window>,
    space: BarSpace,
    len: u64,
    doorbells: Vec<Doorbell>,
    /// Where it answers.
    at: Option<u64>,
    /// Where it should and cannot, as counted.
    refused_at: Option<u64>,
}

impl Placed {
    /// The BARs of a function, none of which answers yet.
    pub(super) fn of(function: &Arc<dyn PciFunction>) -> Vec<Self> {
        let all = function.doorbells();
        let bars = function.config().bars();
        bars.map(|(bar, state)| Self {
            window: Arc::new(Window { function: Arc::clone(function), bar }),
            space: state.space,
            len: state.len,
            doorbells: all
                .iter()
                // A doorbell is a GPA; writes to ports exit.
                .filter(|doorbell| doorbell.bar == bar && state.space != BarSpace::Io)
                .map(|doorbell| Doorbell {
                    offset: doorbell.offset,
                    event: Arc::clone(&doorbell.event),
                    registered_at: None,
                })
                .collect(),
            at: None,
            refused_at: None,
        })
        .collect()
    }

    /// Where the registers say it should answer.
    fn wanted(&self) -> Option<u64> {
        self.window.function.config().bar(self.window.bar)?.answers_at()
    }

    /// What the registers want of it.
    pub(super) fn course(&self) -> Course {
        match self.wanted() {
            wanted if wanted == self.at => Course::Stay,
            Some(to) => Course::To(to),
            None => Course::Away,
        }
    }

    pub(super) fn is_placed(&self) -> bool {
        self.at.is_some()
    }

    /// Moves it in one step. True if it was somewhere, and there is room where it goes.
    pub(super) fn relocate(&mut self, world: &World, to: u64) -> bool {
        let Some(from) = self.at else { return false };
        let moved = world.buses.relocate(self.space, from, to, self.len).is_ok();
        if moved {
            self.at = Some(to);
            self.refused_at = None;
        }
        moved
    }

    /// Lets it answer nowhere.
    pub(super) fn retire(&mut self, world: &World) {
        self.silence(world);
        if let Some(at) = self.at.take() {
            world.buses.retire(self.space, at, self.len);
        }
    }

    /// Lets it answer, if there is room; what is refused is counted once for every place.
    pub(super) fn publish(&mut self, world: &World, segment: &PciSegment, to: u64) {
        let window = Arc::clone(&self.window);
        if world.buses.publish(self.space, to, self.len, window).is_ok() {
            self.at = Some(to);
            self.refused_at = None;
        } else if self.refused_at != Some(to) {
            self.refused_at = Some(to);
            count(&segment.bars_refused);
            let (name, bar) = (self.window.function.name(), self.window.bar.0);
            tracing::warn!(name, bar, at = format_args!("{to:#x}"), "a BAR has no room");
        }
    }

    /// Removes its doorbells: writes exit, and reach the bus.
    pub(super) fn silence(&mut self, world: &World) {
        for doorbell in &mut self.doorbells {
            if let Some(gpa) = doorbell.registered_at.take()
                && let Err(error) = world.platform.remove_doorbell(gpa, &doorbell.event)
            {
                tracing::warn!(%error, gpa = format_args!("{gpa:#x}"), "a doorbell stays");
            }
        }
    }

    /// Registers its doorbells where it answers. One that the hypervisor refuses is none: writes reach the bus.
    pub(super) fn listen(&mut self, world: &World, segment: &PciSegment) {
        let Some(at) = self.at else { return };
        for doorbell in &mut self.doorbells {
            if doorbell.registered_at.is_some() {
                continue;
            }
            let gpa = at.saturating_add(doorbell.offset);
            match world.platform.add_doorbell(gpa, &doorbell.event) {
                Ok(()) => doorbell.registered_at = Some(gpa),
                Err(error) => {
                    count(&segment.doorbells_refused);
                    tracing::warn!(%error, gpa = format_args!("{gpa:#x}"), "no doorbell");
                }
            }
        }
    }
}
