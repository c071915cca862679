//! All connections of a device, by slot, by key, and in the order in which they have something to say.
//!
//! Invariants: at most [`MAX_CONNECTIONS`] slots are taken; a slot is in the line at most once, whoever is in it; a key
//! names the connection that is in its slot.

use std::collections::{HashMap, VecDeque};

use super::connection::Connection;
use super::greeting::Greeting;
use super::packet::Key;
use crate::virtio::Interest;

/// Connections at a time, those that are only being greeted included.
pub(super) const MAX_CONNECTIONS: usize = 1023;
/// Host ports for clients of the host are taken from here on, up to [`LAST_PORT`].
const FIRST_PORT: u32 = 1 << 30;
const LAST_PORT: u32 = (1 << 31) - 1;

/// Who is in a slot.
pub(super) enum Peer {
    /// A client of the host that has not said yet what it wants.
    Greeting(Greeting),
    /// A connection.
    Connection(Box<Connection>),
}

/// One place of the table.
pub(super) struct Slot {
    pub(super) peer: Peer,
    /// What is listened for at its socket.
    pub(super) registered: Option<Interest>,
}

pub(super) struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
    line: VecDeque<u32>,
    in_line: Vec<bool>,
    next_port: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            line: VecDeque::new(),
            in_line: Vec::new(),
            next_port: FIRST_PORT,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_CONNECTIONS
    }

    /// Takes somebody in. The table is not full, and the key is free.
    pub(super) fn insert(&mut self, peer: Peer) -> u32 {
        let key = key_of(&peer);
        let slot = Some(Slot { peer, registered: None });
        let index = if let Some(index) = self.free.pop() {
            self.slots[index as usize] = slot;
            index
        } else {
            self.slots.push(slot);
            self.in_line.push(false);
            // Below the greatest number of connections.
            u32::try_from(self.slots.len() - 1).unwrap_or_default()
        };
        if let Some(key) = key {
            self.by_key.insert(key, index);
        }
        index
    }

    /// Whoever is greeted in this slot wants to be connected with this port of the guest.
    pub(super) fn promote(&mut self, index: u32, guest_port: u32) {
        let key = self.free_key(guest_port);
        let Some(place) = self.slots.get_mut(index as usize) else { return };
        *place = match place.take() {
            Some(Slot { peer: Peer::Greeting(greeting), registered }) => {
                let connection = Connection::requested(key, greeting.socket);
                self.by_key.insert(key, index);
                Some(Slot { peer: Peer::Connection(Box::new(connection)), registered })
            }
            other => other,
        };
    }

    /// Lets somebody go.
    pub(super) fn remove(&mut self, index: u32) -> Option<Slot> {
        let slot = self.slots.get_mut(index as usize)?.take()?;
        if let Some(key) = key_of(&slot.peer) {
            self.by_key.remove(&key);
        }
        self.free.push(index);
        Some(slot)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// The connection in a slot, if there is one.
    pub(super) fn connection(&mut self, index: u32) -> Option<&mut Connection> {
        match &mut self.get_mut(index)?.peer {
            Peer::Connection(connection) => Some(connection),
            Peer::Greeting(_) => None,
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    /// A port of the host that has no connection with this one of the guest.
    fn free_key(&mut self, guest_port: u32) -> Key {
        // Ends: there are more ports than connections.
        loop {
            let host_port = self.next_port;
            self.next_port = if host_port == LAST_PORT { FIRST_PORT } else { host_port + 1 };
            let key = Key { host_port, guest_port };
            if !self.by_key.contains_key(&key) {
                return key;
            }
        }
    }

    /// Puts a slot into the line of those who have something to say, unless it is in it.
    pub(super) fn line_up(&mut self, index: u32) {
        if let Some(in_line) = self.in_line.get_mut(index as usize)
            && !std::mem::replace(in_line, true)
        {
            self.line.push_back(index);
        }
    }

    pub(super) fn line_is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Who is next. Its slot may be empty by now, or somebody else's.
    pub(super) fn next_in_line(&mut self) -> Option<u32> {
        let index = self.line.pop_front()?;
        self.in_line[index as usize] = false;
        Some(index)
    }
}

fn key_of(peer: &Peer) -> Option<Key> {
    match peer {
        Peer::Connection(connection) => Some(connection.key),
        Peer::Greeting(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn client() -> Peer {
        // The other end may be gone: nobody looks.
        Peer::Greeting(Greeting::new(UnixStream::pair().unwrap().0.into()))
    }

    #[test]
    fn it_is_full_at_its_limit_and_a_slot_is_used_again() {
        // One socket stands for all: there need not be as many descriptors.
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut table = Table::new();
        for index in 0..MAX_CONNECTIONS {
            assert!(!table.is_full());
            let Ok(socket) = socket.try_clone() else { return assert!(index > 100) };
            let slot = table.insert(Peer::Greeting(Greeting::new(socket.into())));
            assert_eq!(slot as usize, index);
        }
        assert!(table.is_full());
        assert!(table.remove(5).is_some() && table.remove(5).is_none());
        assert!(!table.is_full());
        assert_eq!(table.insert(client()), 5);
        assert!(table.is_full());
    }

    #[test]
    fn ports_go_round_and_leave_out_those_that_are_taken() {
        let mut table = Table::new();
        table.next_port = LAST_PORT;
        let first = table.insert(client());
        let second = table.insert(client());
        table.promote(first, 9);
        table.next_port = LAST_PORT;
        table.promote(second, 9);
        let key = |host_port| Key { host_port, guest_port: 9 };
        assert_eq!(table.find(key(LAST_PORT)), Some(first));
        assert_eq!(table.find(key(FIRST_PORT)), Some(second));
        table.remove(first);
        assert_eq!(table.find(key(LAST_PORT)), None);
    }

    /// However often slots change hands while nobody is served, the line is no longer than the table.
    #[test]
    fn nobody_is_in_line_twice() {
        let mut table = Table::new();
        for _ in 0..10 {
            let index = table.insert(client());
            table.line_up(index);
            table.line_up(index);
            table.remove(index);
        }
        assert_eq!([table.next_in_line(), table.next_in_line()], [Some(0), None]);
        assert!(table.line_is_empty());
    }
}
