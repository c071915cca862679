//! How the register file changes: one pure function from a word and an event to the next word
//! and what must then be done outside it.
//!
//! The interrupt line of a 16550 is a level: high while an enabled interrupt is pending. Here it
//! is carried by edges (an ISA interrupt through an irqfd). An edge is due
//! - when the set of pending interrupts changes and is not empty: a new cause came, or the guest
//!   has dealt with one and others are left (a guest that handles one cause per interrupt needs
//!   to be called again; one that loops until IIR says "none", as Linux does, sees at most one
//!   interrupt too many);
//! - when a byte is sent while "THR empty" is enabled: the line fell with the write, and rose
//!   again because the byte was gone at once. The set is the same before and after.
use super::registers::{
    DELTA, DLL, DLM, FIFO, IER, LCR, LOOP, LOOPED, MCR, OVERRUN, RX, RX_DEPTH, Registers, SCR,
    THR_EMPTY, THRE, TRIGGER, WAITS,
};

/// What happens to the register file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The guest reads the register at an offset (0 to 7).
    Read(u8),
    /// The guest writes the register at an offset (0 to 7).
    Write(u8, u8),
    /// A byte from the host has been put into the queue behind the FIFO.
    Received,
    /// The host has a byte and found no room for it.
    Full,
}

/// What follows from an event.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// The register file afterwards.
    pub(super) next: Registers,
    /// What must be done, once `next` is in place.
    pub(super) effects: Effects,
}

/// What an event is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// This value; 0 where none is asked for.
    Value(u8),
    /// The first byte of the receive queue, which is taken out.
    FirstReceived,
    /// `Full` was wrong: there is room by now.
    Room,
}

/// What must be done outside the register file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effects {
    /// The answer.
    pub(super) reply: Reply,
    /// Bytes to throw away from the receive queue.
    pub(super) discard: u8,
    /// A byte to send to the host.
    pub(super) send: Option<u8>,
    /// Raise the interrupt.
    pub(super) raise: bool,
    /// Tell the host's input that there is room.
    pub(super) wake_input: bool,
}

const NOTHING: Effects =
    Effects { reply: Reply::Value(0), discard: 0, send: None, raise: false, wake_input: false };

const fn step(next: Registers, effects: Effects) -> Step {
    Step { next, effects }
}

/// Applies an event. It is total: there is no event that a register file refuses.
pub(super) const fn transition(now: Registers, event: Event) -> Step {
    let mut step = match event {
        Event::Read(offset) => read(now, offset),
        Event::Write(offset, value) => write(now, offset, value),
        Event::Received => received(now),
        Event::Full if now.room() => step(now, Effects { reply: Reply::Room, ..NOTHING }),
        Event::Full => step(now.with(WAITS, 1), NOTHING),
    };
    if step.next.has(WAITS) && step.next.roomy() {
        step.next = step.next.with(WAITS, 0);
        step.effects.wake_input = true;
    }
    let (before, after) = (now.pending(), step.next.pending());
    let line_changes = after != before && after != 0;
    step.effects.raise = step.effects.raise || line_changes;
    step
}

const fn read(now: Registers, offset: u8) -> Step {
    let (next, value) = match offset {
        0 if now.divisor_selected() => (now, now.get(DLL)),
        0 => return read_data(now),
        1 if now.divisor_selected() => (now, now.get(DLM)),
        1 => (now, now.get(IER)),
        2 => {
            let iir = now.iir();
            // Naming this cause is what ends it.
            let named = iir & 0x0F == 0x02;
            (if named { now.with(THRE, 0) } else { now }, iir)
        }
        3 => (now, now.get(LCR)),
        4 => (now, now.get(MCR)),
        5 => (now.with(OVERRUN, 0), now.lsr()),
        6 => (now.with(DELTA, 0), now.msr()),
        _ => (now, now.get(SCR)),
    };
    step(next, Effects { reply: Reply::Value(value), ..NOTHING })
}

/// The receiver buffer: first what the guest sent to itself, then what came from the host.
const fn read_data(now: Registers) -> Step {
    if now.has(LOOP) {
        return step(
            now.with(LOOP, 0),
            Effects { reply: Reply::Value(now.get(LOOPED)), ..NOTHING },
        );
    }
    match now.get(RX) {
        0 => step(now, NOTHING),
        held => step(now.with(RX, held - 1), Effects { reply: Reply::FirstReceived, ..NOTHING }),
    }
}

const fn write(now: Registers, offset: u8, value: u8) -> Step {
    match offset {
        0 if now.divisor_selected() => step(now.with(DLL, value), NOTHING),
        0 => write_data(now, value),
        1 if now.divisor_selected() => step(now.with(DLM, value), NOTHING),
        1 => {
            // Enabling "THR empty" makes it pending, since THR is empty; disabling ends it.
            let enabled = value & THR_EMPTY;
            let was_enabled = now.get(IER) & THR_EMPTY;
            let thre = (enabled != 0 && (was_enabled == 0 || now.has(THRE))) as u8;
            step(now.with(IER, value).with(THRE, thre), NOTHING)
        }
        2 => write_fcr(now, value),
        3 => step(now.with(LCR, value), NOTHING),
        4 => step(now.with_mcr(value), NOTHING),
        // LSR and MSR are for the factory.
        5 | 6 => step(now, NOTHING),
        _ => step(now.with(SCR, value), NOTHING),
    }
}

/// The transmitter holding register.
const fn write_data(now: Registers, value: u8) -> Step {
    let notify = now.get(IER) & THR_EMPTY != 0;
    let next = now.with(THRE, notify as u8);
    if !now.loopback() {
        return step(next, Effects { send: Some(value), raise: notify, ..NOTHING });
    }
    // One byte can be under way to oneself. Without FIFOs the next one takes its place, with
    // FIFOs the next one is lost; either is an overrun.
    let overrun = now.has(LOOP) as u8;
    let looped = if now.has(LOOP) && now.has(FIFO) { now.get(LOOPED) } else { value };
    let next = next.with(LOOP, 1).with(LOOPED, looped).with(OVERRUN, now.get(OVERRUN) | overrun);
    step(next, Effects { raise: notify, ..NOTHING })
}

/// FIFO control. Switching the FIFOs on or off empties them.
const fn write_fcr(now: Registers, value: u8) -> Step {
    let enable = value & 0x01;
    let switched = enable != now.get(FIFO);
    let clear = switched || (enable != 0 && value & 0x02 != 0);
    let trigger = if enable != 0 { value >> 6 } else { 0 };
    let next = now.with(FIFO, enable).with(TRIGGER, trigger);
    if clear {
        step(next.with(RX, 0).with(LOOP, 0), Effects { discard: now.get(RX), ..NOTHING })
    } else {
        step(next, NOTHING)
    }
}

/// A byte from the host. The host asks for room first, and only one thread sends, so the FIFO is
/// full only when that rule was broken: then the byte is thrown away.
const fn received(now: Registers) -> Step {
    match now.get(RX) {
        RX_DEPTH => step(now.with(OVERRUN, 1), Effects { discard: 1, ..NOTHING }),
        held => step(now.with(RX, held + 1), NOTHING),
    }
}
