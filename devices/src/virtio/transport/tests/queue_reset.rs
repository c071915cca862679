//! The register `queue_reset` (virtio 1.2, 4.1.4.3).

use super::*;
use crate::virtio::Features;

#[test]
fn a_queue_is_reset_and_set_up_again_by_its_registers() {
    const ENABLE: u64 = 0x1c;
    const RESET: u64 = 0x3a;
    let bed = Bed::new();
    bed.negotiate();
    bed.write(0x1a, 2, 1);
    assert_eq!(bed.write(STATUS, 1, 15), Outcome::Done);
    // Not negotiated.
    bed.write(RESET, 2, 1);
    assert_eq!([bed.read(RESET, 2), bed.read(ENABLE, 2), bed.read(0x1a, 2)], [0, 1, 1]);

    bed.write(STATUS, 1, 0);
    bed.negotiate_with(Features::RING_RESET);
    bed.write(0x1a, 2, 1);
    assert_eq!(bed.write(STATUS, 1, 15), Outcome::Done);
    let set_up = [0x18, 0x20, 0x28, 0x30].map(|field| (field, bed.read(field, 4)));
    for value in [0, 2, 0xffff] {
        bed.write(RESET, 2, value);
        assert_eq!([bed.read(RESET, 2), bed.read(ENABLE, 2)], [0, 1], "only 1 resets");
    }
    bed.write(RESET, 2, 1);
    while bed.read(RESET, 2) == 1 {
        std::thread::yield_now();
    }
    assert_eq!(
        [ENABLE, 0x18, 0x1a, 0x20, 0x28, 0x30].map(|field| bed.read(field, 2)),
        [0, 8, 0xffff, 0, 0, 0]
    );
    for (field, value) in set_up {
        bed.write(field, if field == 0x18 { 2 } else { 4 }, value);
    }
    bed.write(ENABLE, 2, 1);
    assert_eq!(bed.read(ENABLE, 2), 1);
    bed.write(0x20, 4, 0);
    assert_eq!(bed.read(0x20, 4), set_up[1].1, "it stands still again");
    assert_eq!(bed.read(STATUS, 1), 15);
}
