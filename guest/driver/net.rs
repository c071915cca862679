//! Packets, for the benchmark: sent as fast as the card takes them, and received in rounds that the host prepares.
//!
//! ```text
//!   Transmit: offer a batch ─▶ ring ─▶ take back what is sent ─▶ …
//!   Receive:  no buffer is with the card, MEETING = round ─▶ (the host fills the tap) ─▶ go ─▶ buffers ─▶ packets ─▶ …
//! ```
//!
//! Between two rounds the card has no buffer, so packets stay in the tap; what is timed is the way from there into the
//! guest, and not how fast a host makes packets. Both commands leave the card reset.

use crate::arena::Arena;
use crate::io::{Address, Line, ticks};
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::{OUTCOME_DATA, OUTCOME_NEEDS_RESET, OUTCOME_NO_DEVICE, RECEIVE_GO};
use crate::virtio::{Device, Queue, WRITE};

const DEVICE_ID: u16 = 0x1041;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// Descriptors of a queue, as many as there are by default.
const DEPTH: u16 = 256;
/// `struct virtio_net_hdr_v1` (virtio 1.2, 5.1.6).
const HEADER: u64 = 12;
/// EtherType of local experiments (IEEE 802), which no host listens to, and the place of the field in a frame.
const ETHERTYPE: u16 = 0x88B5;
const ETHERTYPE_AT: u64 = 12;
/// Buffers that are given back to the card at once.
const REFILL: u64 = 32;

/// A card with one buffer for each descriptor of the queue in use, in one piece with the header.
struct Card {
    device: Device,
    queue: Queue,
    buffers: Address,
    /// Bytes from one buffer to the next.
    stride: u64,
    /// Buffers that were made available, and that came back.
    offered: u64,
    back: u64,
    idle: u32,
}

impl Card {
    /// The card in this slot, activated, with buffers for frames of so many bytes in one of its queues.
    fn open(slot: u64, vcpu: u64, used: u16, bytes: u64) -> Result<Self, u64> {
        let function = Function::virtio(slot)?;
        if function.device_id() != DEVICE_ID {
            return Err(OUTCOME_NO_DEVICE);
        }
        let device = Device::open(function, Way::Bar)?;
        device.negotiate(0)?;
        let mut arena = Arena::of(vcpu);
        let [receive, transmit] = [RECEIVE, TRANSMIT].map(|queue| device.queue(queue, DEPTH, &mut arena));
        let queue = if used == RECEIVE { receive } else { transmit };
        let stride = (HEADER + bytes).next_multiple_of(64);
        let buffers = arena.take(stride * u64::from(queue.size));
        let flags = if used == RECEIVE { WRITE } else { 0 };
        for index in 0..queue.size {
            let buffer = buffers.at(stride * u64::from(index));
            queue.describe(index, buffer, (HEADER + bytes) as u32, flags);
        }
        device.driver_ok()?;
        Ok(Self { device, queue, buffers, stride, offered: 0, back: 0, idle: 0 })
    }

    fn outstanding(&self) -> u64 {
        self.offered - self.back
    }

    /// Makes the next so many buffers available, and rings.
    fn offer(&mut self, count: u64) {
        for _ in 0..count {
            self.queue.offer((self.offered % u64::from(self.queue.size)) as u16);
            self.offered += 1;
        }
        if count > 0 {
            self.queue.notify();
        }
    }

    /// The next buffer that the card has used: how many bytes it has written.
    fn used(&mut self) -> Result<Option<u32>, u64> {
        let Some((head, written)) = self.queue.used() else { return Ok(None) };
        // This card has one chain in hand at a time, so they come back in order.
        if u64::from(head) != self.back % u64::from(self.queue.size) {
            return Err(OUTCOME_DATA);
        }
        self.back += 1;
        Ok(Some(written))
    }

    /// Nothing has come back.
    fn wait(&mut self) -> Result<(), u64> {
        core::hint::spin_loop();
        self.idle = self.idle.wrapping_add(1);
        // Asking costs an exit, so it is asked seldom.
        if self.idle % 0x100_0000 == 0 && self.device.needs_reset() {
            return Err(OUTCOME_NEEDS_RESET);
        }
        Ok(())
    }
}

pub fn transmit(line: &Line, vcpu: u64) -> Result<(), u64> {
    let [packets, bytes, batch] = [1, 2, 3].map(|index| line.argument(index));
    let mut card = Card::open(line.argument(0), vcpu, TRANSMIT, bytes)?;
    let size = u64::from(card.queue.size);
    for index in 0..size {
        // To everybody, from a station of its own.
        let frame = card.buffers.at(card.stride * index + HEADER);
        frame.write64(0x0002_FFFF_FFFF_FFFF);
        frame.at(8).write32(0x0100_0000);
        frame.at(ETHERTYPE_AT).write16(ETHERTYPE.to_be());
    }
    let begun = ticks();
    while card.back < packets {
        let room = size - card.outstanding();
        card.offer(room.min(batch).min(packets - card.offered));
        let before = card.back;
        while card.used()?.is_some() {}
        if card.back == before {
            card.wait()?;
        }
        line.result(1, card.back);
    }
    line.result(2, ticks() - begun);
    card.device.reset()
}

pub fn receive(line: &Line, vcpu: u64) -> Result<(), u64> {
    let [packets, bytes, rounds] = [1, 2, 3].map(|index| line.argument(index));
    let mut card = Card::open(line.argument(0), vcpu, RECEIVE, bytes)?;
    let (mut all, mut spent) = (0, 0);
    for round in 1..=rounds {
        line.arrive(round);
        while line.argument(RECEIVE_GO) < round {
            if line.stopped() {
                return card.device.reset();
            }
            core::hint::spin_loop();
        }
        let begun = ticks();
        all += card.round(packets, bytes)?;
        spent += ticks() - begun;
        line.result(1, all);
        line.result(2, spent);
    }
    card.device.reset()
}

impl Card {
    /// Receives so many packets of this length, and whatever comes between them.
    fn round(&mut self, packets: u64, bytes: u64) -> Result<u64, u64> {
        let size = u64::from(self.queue.size);
        let mut got = 0;
        while got < packets {
            // No buffer may be left with the card at the end.
            let missing = packets - got - self.outstanding();
            let room = (size - self.outstanding()).min(missing);
            if room >= REFILL || room == missing {
                self.offer(room);
            }
            let before = self.back;
            while let Some(written) = self.used()? {
                got += u64::from(u64::from(written) == HEADER + bytes);
            }
            if self.back == before {
                self.wait()?;
            }
        }
        Ok(got)
    }
}
