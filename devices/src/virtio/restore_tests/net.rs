//! A network card: of what the guest sends every packet arrives once and in order; what it uses stays in use.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::virtio::net::{Backend, MacAddress, Net, NetOptions, Offloads};
use crate::virtio::testing::Buffers;

/// The host's side of a card.
struct Wire {
    near: Vec<OwnedFd>,
    active: AtomicU16,
}

impl Wire {
    fn new(pairs: u16) -> (Arc<Self>, Vec<OwnedFd>) {
        let pair = |_| {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
        };
        let (near, far) = (0..pairs).map(pair).unzip();
        (Arc::new(Self { near, active: AtomicU16::new(pairs) }), far)
    }
}

impl Backend for Wire {
    fn name(&self) -> &'static str {
        "wire"
    }
    fn queues(&self) -> &[OwnedFd] {
        &self.near
    }
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }
    fn set_offloads(&self, _: Offloads) -> io::Result<()> {
        Ok(())
    }
    fn set_active(&self, pairs: u16) -> io::Result<()> {
        self.active.store(pairs, Ordering::SeqCst);
        Ok(())
    }
}

fn card(pairs: u16, mac: Option<MacAddress>) -> (Arc<Net>, Arc<Wire>, Vec<OwnedFd>) {
    let (wire, far) = Wire::new(pairs);
    let options =
        NetOptions { num_queues: 2 * pairs, queue_size: 64, mac, ..NetOptions::default() };
    let backend = Arc::clone(&wire) as Arc<dyn Backend>;
    (Arc::new(Net::with_backend("net0".into(), &options, backend).unwrap()), wire, far)
}

/// What has arrived, by the first byte behind the header, until there is no more or the other end is gone.
fn packets(far: &OwnedFd) -> Vec<u8> {
    let mut packet = [0; 2048];
    std::iter::from_fn(|| {
        let len = rustix::io::read(far, &mut packet).ok()?;
        (len > 0).then(|| packet[12])
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_packet_of_the_guest_arrives_once_and_in_order_wherever_its_machine_is(
        bursts in proptest::collection::vec(1..12_u8, 1..8),
        events: bool,
    ) {
        let (net, _, mut far) = card(1, None);
        let mac = net.mac();
        let mut machine = Machine::new(net, Driver::queues(2, 64));
        machine.start(if events { Features::EVENT_IDX } else { 0 });
        let (mut sent, mut arrived, mut done) = (0_u8, Vec::new(), 0);
        for burst in bursts {
            for _ in 0..burst {
                let mut packet = [0; 12 + 64];
                packet[12] = sent;
                machine.drivers[1].send(&Buffers { readable: vec![&packet], writable: vec![] });
                sent += 1;
            }
            // In the middle of it.
            let (net, _, next) = card(1, None);
            let old = std::mem::replace(&mut far, next);
            machine = machine.moved(|| Arc::clone(&net) as _);
            prop_assert_eq!(net.mac(), mac, "the guest's address");
            arrived.extend(packets(&old[0]));
            while done < sent {
                machine.await_interrupt(1);
                while machine.take(1).is_some() {
                    done += 1;
                }
            }
            arrived.extend(packets(&far[0]));
        }
        prop_assert_eq!(arrived, (0..sent).collect::<Vec<u8>>());
        prop_assert_eq!(machine.drivers[1].used(), None);
    }
}

#[test]
fn packets_for_the_guest_come_into_the_buffers_that_it_gave_before() {
    let (net, ..) = card(1, None);
    let mut machine = Machine::new(net, Driver::queues(2, 64));
    machine.start(0);
    let sent = machine.drivers[0].send(&Buffers { readable: vec![], writable: vec![2048] });
    let (net, _, far) = card(1, None);
    let mut machine = machine.moved(|| net as _);
    machine.await_state(State::Active);
    drop(machine.pause());
    let mut packet = [0; 12 + 64];
    packet[12] = 7;
    assert_eq!(rustix::io::write(&far[0], &packet), Ok(packet.len()));
    let used = machine.await_used(0);
    assert_eq!(used.0, sent.head);
    assert_eq!(machine.drivers[0].read(sent.writable[0].0, 13)[12], 7);
}

#[test]
fn queue_pairs_in_use_stay_in_use() {
    const MQ: u64 = 1 << 22 | 1 << 17;
    let (net, ..) = card(2, None);
    let mut machine = Machine::new(net, Driver::queues(5, 64));
    machine.start(MQ);
    let command = [4, 0, 2, 0];
    machine.drivers[4].send(&Buffers { readable: vec![&command], writable: vec![1] });
    machine.await_interrupt(4);
    assert!(machine.drivers[4].used().is_some());
    let (net, wire, _far) = card(2, None);
    let machine = machine.moved(|| net as _);
    machine.await_state(State::Active);
    assert_eq!(wire.active.load(Ordering::SeqCst), 2);
    machine.write(STATUS, 1, 0);
    assert_eq!(wire.active.load(Ordering::SeqCst), 1, "a driver that begins uses one");
}
