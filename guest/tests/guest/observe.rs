//! Decoding of the control block and the lines.

use stillpoint_guest::{Control, ControlBytes, Line, LineBytes, Mode, ModeWord, Phase, layout};

#[expect(clippy::cast_possible_truncation, reason = "offsets are small constants")]
fn put(bytes: &mut [u8], offset: u64, value: &[u8]) {
    let offset = offset as usize;
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// A guest with three vCPUs, running, with this mode word.
fn control(mode: u64) -> ControlBytes {
    let mut bytes: ControlBytes = [0; _];
    put(&mut bytes, layout::CONTROL_MAGIC, &layout::MAGIC.to_le_bytes());
    put(&mut bytes, layout::CONTROL_PHASE, &Phase::Running.number().to_le_bytes());
    put(&mut bytes, layout::CONTROL_EXPECTED, &3u32.to_le_bytes());
    put(&mut bytes, layout::CONTROL_UP, &3u32.to_le_bytes());
    put(&mut bytes, layout::CONTROL_MODE, &mode.to_le_bytes());
    bytes
}

#[test]
fn a_guest_that_has_not_started_is_not_decoded() {
    assert_eq!(Control::parse(&[0; _]), None);
}

#[test]
fn a_mode_is_settled_when_every_vcpu_has_acknowledged_it() {
    let busy = u64::from(Mode::Busy.number()) << 16;
    let parsed = Control::parse(&control(7 << 32 | busy | 3)).unwrap();
    assert_eq!(parsed.mode.generation(), 7);
    assert_eq!(parsed.settled(), Some(Mode::Busy));
    assert_eq!(Control::parse(&control(7 << 32 | busy | 2)).unwrap().settled(), None);
}

#[test]
fn nothing_is_settled_while_booting() {
    let mut bytes = control(1 << 32 | 3);
    put(&mut bytes, layout::CONTROL_PHASE, &Phase::Booting.number().to_le_bytes());
    assert_eq!(Control::parse(&bytes).unwrap().settled(), None);
}

#[test]
fn the_crash_record_is_shown_only_after_a_crash() {
    let mut bytes = control(1 << 32 | 3);
    put(&mut bytes, layout::CONTROL_CRASH_VECTOR, &14u64.to_le_bytes());
    put(&mut bytes, layout::CONTROL_CRASH_CR2, &layout::UNMAPPED.to_le_bytes());
    assert_eq!(Control::parse(&bytes).unwrap().crash, None);
    put(&mut bytes, layout::CONTROL_PHASE, &Phase::Crashed.number().to_le_bytes());
    let crash = Control::parse(&bytes).unwrap().crash.unwrap();
    assert_eq!((crash.vector, crash.cr2), (14, layout::UNMAPPED));
}

#[test]
fn an_unknown_mode_number_is_none() {
    assert_eq!(ModeWord(0x1_FFFF_0000).mode(), None);
    for mode in Mode::ALL {
        assert_eq!(ModeWord(u64::from(mode.number()) << 16).mode(), Some(mode));
    }
}

#[test]
fn each_field_of_a_line_has_its_own_place() {
    let fields: Vec<u8> = (1..=7u64).flat_map(u64::to_le_bytes).collect();
    let ids: Vec<u8> = [8u32, 9].into_iter().flat_map(u32::to_le_bytes).collect();
    let bytes: LineBytes = [fields, ids].concat().try_into().unwrap();
    let line = Line::parse(&bytes);
    assert_eq!((line.heartbeat, line.pio, line.mmio, line.interrupts), (1, 2, 3, 4));
    assert_eq!((line.nmis, line.ticks, line.bad_reads), (5, 6, 7));
    assert_eq!((line.apic_id, line.acknowledged), (8, 9));
}
