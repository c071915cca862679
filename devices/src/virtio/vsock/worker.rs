//! Moves packets between the queues and the connections.
//!
//! Of packets that belong to no connection, at most [`STRAYS`] answers wait for receive buffers; then transmission stops until
//! the guest provides some ("virtqueue flow control", virtio 1.2, 5.10.6.2). All else that waits for them is state of a connection.

use std::collections::VecDeque;
use std::sync::Arc;

use super::events::Owed;
use super::host::{Clients, LISTENER};
use super::packet::{HEADER_LEN, Header, MAX_PAYLOAD};
use super::table::Table;
use super::{Counts, TRANSMIT_QUEUE, count};
use crate::console::Listener;
use crate::virtio::{
    Chain, Listening, Malformed, Progress, Token, Virtqueue, Wakeup, Worker, WorkerError,
};

/// Answers to packets without a connection that wait at most.
pub(super) const STRAYS: usize = 256;
/// Packets of one call at most, each way, and clients.
pub(super) const BATCH: usize = 32;

pub(super) struct VsockWorker {
    receive: Virtqueue,
    transmit: Virtqueue,
    pub(super) event: Option<Virtqueue>,
    /// What is to be told through it.
    pub(super) owed: Owed,
    pub(super) chain: Chain,
    pub(super) guest_cid: u64,
    pub(super) listener: Arc<Listener>,
    /// Whether the listening socket is listened to.
    pub(super) clients: Clients,
    pub(super) table: Table,
    /// Answers to packets without a connection.
    pub(super) strays: VecDeque<Header>,
    /// Transmission has stopped for want of room for those.
    stalled: bool,
    /// The payload of the packet in hand.
    pub(super) payload: Box<[u8]>,
    /// Slots that have changed in this call.
    pub(super) touched: Vec<u32>,
    pub(super) counts: Arc<Counts>,
}

impl VsockWorker {
    pub(super) fn new(
        (receive, transmit, event): (Virtqueue, Virtqueue, Option<Virtqueue>),
        guest_cid: u64,
        listener: Arc<Listener>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            receive,
            transmit,
            event,
            owed: Owed::Nothing,
            chain: Chain::new(),
            guest_cid,
            listener,
            clients: Clients::Unheard,
            table: Table::new(),
            strays: VecDeque::new(),
            stalled: false,
            payload: vec![0; MAX_PAYLOAD as usize].into(),
            touched: Vec::new(),
            counts,
        }
    }

    /// Takes the guest's packets.
    fn transmit(&mut self) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            self.stalled = self.strays.len() >= STRAYS;
            if self.stalled {
                return Ok(Progress::Idle);
            }
            if !self.transmit.pop(&mut self.chain)? {
                if self.transmit.enable_notifications()? {
                    continue;
                }
                return Ok(Progress::Idle);
            }
            let header = self.take_packet()?;
            self.dispatch(&header);
            self.transmit.push(self.chain.head(), 0)?;
        }
        Ok(Progress::More)
    }

    /// The header of a packet; its payload is put where there is room for it.
    fn take_packet(&mut self) -> Result<Header, WorkerError> {
        if self.chain.writable_len() > 0 {
            return Err(Malformed::Shape("a packet of the driver is a readable buffer").into());
        }
        let memory = self.transmit.memory();
        let mut header = [0; HEADER_LEN];
        self.chain.read_exact(memory, 0, &mut header)?;
        let header = Header::parse(&header);
        let Some(payload) = self.payload.get_mut(..header.len as usize) else {
            return Err(Malformed::Shape("a packet's payload is too long").into());
        };
        // A header is 44 bytes.
        self.chain.read_exact(memory, 44, payload)?;
        Ok(header)
    }

    /// Tells the guest what there is to tell, as far as it has buffers.
    fn receive(&mut self) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            if self.strays.is_empty() && self.table.line_is_empty() {
                return Ok(Progress::Idle);
            }
            if !self.receive.pop(&mut self.chain)? {
                if self.receive.enable_notifications()? {
                    continue;
                }
                return Ok(Progress::Idle);
            }
            let room = (self.chain.writable_len() as usize).saturating_sub(HEADER_LEN);
            if self.chain.readable_len() > 0 || room == 0 {
                let shape = "a receive buffer is writable, with room for a header and data";
                return Err(Malformed::Shape(shape).into());
            }
            let Some(header) = self.next_packet(room.min(self.payload.len())) else {
                self.receive.unpop();
                return Ok(Progress::Idle);
            };
            let memory = self.receive.memory();
            self.chain.write(memory, 0, &header.to_bytes())?;
            self.chain.write(memory, 44, &self.payload[..header.len as usize])?;
            self.receive.push(self.chain.head(), 44 + header.len)?;
        }
        Ok(Progress::More)
    }

    /// The next packet for the guest; its payload is at most `room` bytes.
    fn next_packet(&mut self, room: usize) -> Option<Header> {
        if let Some(stray) = self.strays.pop_front() {
            return Some(stray);
        }
        // Ends: whoever has said nothing does not line up again in here.
        while let Some(index) = self.table.next_in_line() {
            let Some(connection) = self.table.connection(index) else { continue };
            let packet = connection.packet(&mut self.payload[..room]);
            let header = packet.map(|packet| connection.header(self.guest_cid, packet));
            self.touched.push(index);
            if let Some(header) = header {
                // To the end of the line: the others have their turn.
                if connection.has_packet() {
                    self.table.line_up(index);
                }
                count(&self.counts.to_guest, header.len.into());
                return Some(header);
            }
        }
        None
    }
}

impl Worker for VsockWorker {
    fn label(&self) -> String {
        "vsock".to_owned()
    }

    fn start(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        self.settle(listening)
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        [&mut self.receive, &mut self.transmit].into_iter().chain(&mut self.event).collect()
    }

    fn handle(
        &mut self,
        wakeup: Wakeup,
        listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        let mut progress = Progress::Idle;
        if self.clients == Clients::Failed {
            self.clients = Clients::Unheard;
        }
        self.tell()?;
        match wakeup {
            Wakeup::Ready(LISTENER) => self.accept(listening)?,
            Wakeup::Ready(Token(token)) => self.ready(token - 1),
            Wakeup::Doorbell(TRANSMIT_QUEUE) | Wakeup::Again => progress = self.transmit()?,
            Wakeup::Doorbell(_) => {}
        }
        // Who has something to say now lines up before, who still has something afterwards.
        self.settle(listening)?;
        let received = self.receive()?;
        self.settle(listening)?;
        self.drain()?;
        let goes_on = self.stalled && self.strays.len() < STRAYS;
        let more = goes_on || received == Progress::More;
        Ok(if more { Progress::More } else { progress })
    }

    /// What connections hold stays; nothing of the rings is in flight between two calls.
    fn drain(&mut self) -> Result<(), WorkerError> {
        self.receive.flush()?;
        self.event.as_mut().map_or(Ok(()), Virtqueue::flush)?;
        Ok(self.transmit.flush()?)
    }
}
