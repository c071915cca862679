//! Whatever guest and host do in turns: streams arrive whole, in order and once; no credit is exceeded; all connections end.

mod moves;

use std::collections::HashMap;
use std::net::Shutdown;

use proptest::prelude::*;

use super::*;

/// The port on which the host listens.
const HOST_PORT: u32 = 9;
const CONNECTIONS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// The guest, or a client of the host, connects.
    Open {
        by_guest: bool,
    },
    GuestSends {
        who: usize,
        len: usize,
    },
    /// The guest reads all that it has, and says so or not.
    GuestReads {
        who: usize,
        tells: bool,
    },
    GuestShuts {
        who: usize,
        flags: u32,
    },
    HostSends {
        who: usize,
        len: usize,
    },
    HostReads {
        who: usize,
        most: usize,
    },
    HostShuts {
        who: usize,
    },
    HostCloses {
        who: usize,
    },
    /// Receive buffers.
    Post {
        count: usize,
        payload: usize,
    },
    Pause,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..CONNECTIONS;
    let step = prop_oneof![
        3 => any::<bool>().prop_map(|by_guest| Step::Open { by_guest }),
        6 => (who(), 1_usize..20_000).prop_map(|(who, len)| Step::GuestSends { who, len }),
        6 => (who(), 1_usize..20_000).prop_map(|(who, len)| Step::HostSends { who, len }),
        4 => (who(), any::<bool>()).prop_map(|(who, tells)| Step::GuestReads { who, tells }),
        4 => (who(), 1_usize..40_000).prop_map(|(who, most)| Step::HostReads { who, most }),
        1 => (who(), 1_u32..4).prop_map(|(who, flags)| Step::GuestShuts { who, flags }),
        1 => who().prop_map(|who| Step::HostShuts { who }),
        1 => who().prop_map(|who| Step::HostCloses { who }),
        6 => (1_usize..12, 1_usize..5000)
            .prop_map(|(count, payload)| Step::Post { count, payload }),
        1 => Just(Step::Pause),
    ];
    prop::collection::vec(step, 1..60)
}

/// One connection, as an honest guest and its host see it.
#[expect(clippy::struct_excessive_bools, reason = "facts about a connection, in no order")]
struct End {
    key: Key,
    host: Option<UnixStream>,
    /// The guest's half of the credit.
    sent: u32,
    peer_alloc: u32,
    peer_forwarded: u32,
    received: u32,
    read: u32,
    told: u32,
    alloc: u32,
    guest_done: u32,
    host_done: u32,
    agreed: bool,
    /// The guest was sent a reset, or sent one.
    over: bool,
    /// The host's half.
    host_sent: usize,
    host_read: usize,
    host_shut: bool,
    host_closed: bool,
    /// The host closed before it had read everything.
    host_lost: bool,
}

impl End {
    fn header(&mut self, op: Op, flags: u32, len: usize) -> Header {
        self.told = self.read;
        Header {
            buf_alloc: self.alloc,
            fwd_cnt: self.read,
            ..super::header(self.key, op, flags, len)
        }
    }

    fn credit(&self) -> usize {
        (self.peer_alloc - self.sent.wrapping_sub(self.peer_forwarded)) as usize
    }
}

struct World {
    bed: Bed,
    listener: UnixListener,
    ends: Vec<End>,
    by_key: HashMap<Key, usize>,
    next_port: u32,
}

impl World {
    fn new() -> Self {
        let bed = Bed::new();
        let listener = bed.listen(HOST_PORT);
        Self { bed, listener, ends: Vec::new(), by_key: HashMap::new(), next_port: 100 }
    }

    fn say(&mut self, who: usize, op: Op, flags: u32, payload: &[u8]) {
        let header = self.ends[who].header(op, flags, payload.len());
        self.bed.guest.send(&header, payload);
    }

    fn open(&mut self, by_guest: bool) {
        if self.ends.len() == CONNECTIONS {
            return;
        }
        let who = self.ends.len();
        let guest_port = self.next_port;
        self.next_port += 1;
        let mut key = key(HOST_PORT, guest_port);
        let host = if by_guest {
            self.bed.guest.say(key, Op::Request, 0, &[]);
            self.listener.accept().unwrap().0
        } else {
            let client = self.bed.client(guest_port);
            self.bed.guest.step();
            // The guest's port is new, so this is the one.
            key = loop {
                let asked = |(header, _): &Heard| {
                    header.op == Op::Request as u16 && header.dst_port == guest_port
                };
                self.post(4, 100);
                let heard = self.bed.guest.hear();
                let found = heard.iter().find(|heard| asked(heard)).map(|(h, _)| h.key_of_host());
                heard.into_iter().filter(|heard| !asked(heard)).for_each(|heard| self.hear(heard));
                if let Some(key) = found {
                    break key;
                }
            };
            client
        };
        host.set_nonblocking(true).unwrap();
        self.by_key.insert(key, who);
        self.ends.push(End {
            key,
            host: Some(host),
            sent: 0,
            peer_alloc: 0,
            peer_forwarded: 0,
            received: 0,
            read: 0,
            told: 0,
            alloc: 30_000,
            guest_done: 0,
            host_done: 0,
            agreed: !by_guest,
            over: false,
            host_sent: 0,
            host_read: 0,
            host_shut: false,
            host_closed: false,
            host_lost: false,
        });
        // The request or the response brings the guest's credit; the device's comes with what it says next.
        if by_guest {
            self.say(who, Op::CreditUpdate, 0, &[]);
        } else {
            self.say(who, Op::Response, 0, &[]);
            self.say(who, Op::CreditRequest, 0, &[]);
            let host = self.ends[who].host.as_mut().unwrap();
            let ok = format!("OK {}\n", key.host_port);
            let mut line = vec![0; ok.len()];
            host.read_exact(&mut line).unwrap();
            assert_eq!(line, ok.as_bytes());
        }
    }

    fn post(&mut self, count: usize, payload: usize) {
        let count = count.min(60 - self.bed.guest.posted());
        self.bed.guest.post(count, payload);
    }

    fn listen(&mut self) {
        for heard in self.bed.guest.hear() {
            self.hear(heard);
        }
    }

    /// Both sides read until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let before: Vec<_> = self.ends.iter().map(|end| (end.received, end.over)).collect();
            let mut moved = 0;
            for who in 0..self.ends.len() {
                moved += self.host_reads(who, 1 << 20);
                self.guest_reads(who, true);
                self.post(8, 4096);
                self.listen();
            }
            let after: Vec<_> = self.ends.iter().map(|end| (end.received, end.over)).collect();
            if moved == 0 && before == after {
                return;
            }
        }
    }

    /// What has to be so when nothing moves any more.
    fn check_streams(&self) {
        for end in &self.ends {
            let cut_off = end.host_lost || end.over;
            if end.guest_done & done::RECEIVE == 0 && !cut_off {
                assert_eq!(end.received as usize, end.host_sent, "all of the host's bytes arrive");
            }
            if !end.host_closed {
                assert_eq!(end.host_read, end.sent as usize, "all of the guest's bytes arrive");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn random_guests_and_hosts(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.settle();
        world.check_streams();
        // All connections end when both sides have said so, and both see it.
        for who in 0..world.ends.len() {
            world.guest_shuts(who, done::BOTH);
        }
        world.settle();
        for (who, end) in world.ends.iter_mut().enumerate() {
            prop_assert!(end.over, "connection {who} is reset by its end");
            if let Some(host) = &mut end.host {
                prop_assert_eq!(read_now(host), (vec![], true));
            }
        }
        prop_assert_eq!(world.bed.counter("violations"), 0);
        prop_assert_eq!(world.bed.counter("connections"), world.ends.len() as u64);
    }
}
