//! Feature bits of a network card (virtio 1.2, 5.1.3), and which offloads they stand for.

use super::offloads::Offloads;
use crate::virtio::Features;

pub(super) const CSUM: u64 = 1 << 0;
pub(super) const GUEST_CSUM: u64 = 1 << 1;
pub(super) const MTU: u64 = 1 << 3;
pub(super) const MAC: u64 = 1 << 5;
pub(super) const GUEST_TSO4: u64 = 1 << 7;
pub(super) const GUEST_TSO6: u64 = 1 << 8;
pub(super) const GUEST_ECN: u64 = 1 << 9;
pub(super) const GUEST_UFO: u64 = 1 << 10;
pub(super) const HOST_TSO4: u64 = 1 << 11;
pub(super) const HOST_TSO6: u64 = 1 << 12;
pub(super) const HOST_ECN: u64 = 1 << 13;
pub(super) const HOST_UFO: u64 = 1 << 14;
pub(super) const MRG_RXBUF: u64 = 1 << 15;
pub(super) const STATUS: u64 = 1 << 16;
pub(super) const CTRL_VQ: u64 = 1 << 17;
pub(super) const MQ: u64 = 1 << 22;

/// Each offload, with the feature by which the guest may send such packets and the one by which it takes them.
const PAIRED: [(Offloads, u64, u64); 5] = [
    (Offloads::CHECKSUM, CSUM, GUEST_CSUM),
    (Offloads::TSO4, HOST_TSO4, GUEST_TSO4),
    (Offloads::TSO6, HOST_TSO6, GUEST_TSO6),
    (Offloads::ECN, HOST_ECN, GUEST_ECN),
    (Offloads::UFO, HOST_UFO, GUEST_UFO),
];

/// What every card offers.
const ALWAYS: u64 = MAC | MTU | MRG_RXBUF | STATUS;

/// What a card with these offloads and as many queue pairs offers.
pub(super) fn offered(offloads: Offloads, pairs: u16) -> u64 {
    let offloads = offloads.consistent();
    let with = PAIRED.iter().filter(|(offload, ..)| offloads.has(*offload));
    let features = with.fold(ALWAYS, |all, (_, sends, takes)| all | sends | takes);
    if pairs > 1 { features | CTRL_VQ | MQ } else { features }
}

/// The offloads that packets for the guest may use.
pub(super) fn taken(features: Features) -> Offloads {
    let with = PAIRED.iter().filter(|(.., takes)| features.has(*takes));
    with.fold(Offloads::NONE, |all, (offload, ..)| all | *offload).consistent()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn nothing_is_offered_that_lacks_what_it_depends_on() {
        // Virtio 1.2, 5.1.3.1.
        let without = offered(Offloads::ALL.without(Offloads::CHECKSUM), 1);
        assert_eq!(without, ALWAYS);
        let all = offered(Offloads::ALL, 1);
        assert_eq!(all & (MQ | CTRL_VQ), 0);
        assert_eq!(all & (HOST_TSO4 | GUEST_TSO4 | HOST_UFO), HOST_TSO4 | GUEST_TSO4 | HOST_UFO);
        assert_eq!(offered(Offloads::NONE, 2), ALWAYS | MQ | CTRL_VQ);
    }

    #[test]
    fn a_driver_that_takes_no_checksums_takes_no_large_packets() {
        assert_eq!(taken(Features(GUEST_TSO4 | GUEST_UFO)), Offloads::NONE);
        let taken = taken(Features(GUEST_CSUM | GUEST_TSO6 | HOST_UFO));
        assert_eq!(taken, Offloads::CHECKSUM | Offloads::TSO6);
    }
}
