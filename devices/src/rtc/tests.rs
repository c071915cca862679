use std::sync::Arc;

use super::*;
use crate::bus::BusDevice;

/// 2024-02-29 13:45:59, a Thursday.
const AFTERNOON: u64 = 1_709_214_359;

fn at(seconds: u64, micros: u64) -> Rtc {
    let now = Duration::from_secs(seconds) + Duration::from_micros(micros);
    Rtc::with_clock(MemorySizes::default(), move || now)
}

fn get(rtc: &Rtc, index: u8) -> u8 {
    let mut data = [0];
    let _ = rtc.write(0, &[index]);
    rtc.read(1, &mut data);
    data[0]
}

fn set(rtc: &Rtc, index: u8, value: u8) {
    let _ = rtc.write(0, &[index]);
    let _ = rtc.write(1, &[value]);
}

fn time(rtc: &Rtc) -> [u8; 8] {
    [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS].map(|index| get(rtc, index))
}

#[test]
fn the_time_in_every_format() {
    let rtc = at(AFTERNOON, 0);
    assert_eq!(time(&rtc), [0x20, 0x24, 2, 0x29, 5, 0x13, 0x45, 0x59]);
    set(&rtc, STATUS_B, HOURS_24 | BINARY);
    assert_eq!(time(&rtc), [20, 24, 2, 29, 5, 13, 45, 59]);
    set(&rtc, STATUS_B, BINARY);
    assert_eq!(get(&rtc, HOURS), 1 | PM);
    set(&rtc, STATUS_B, 0);
    assert_eq!(get(&rtc, HOURS), 0x01 | PM);
    let midnight = at(AFTERNOON - AFTERNOON % 86_400, 0);
    set(&midnight, STATUS_B, 0);
    assert_eq!(get(&midnight, HOURS), 0x12);
}

#[test]
fn update_in_progress_just_before_the_second_ends() {
    let uip = |micros| get(&at(AFTERNOON, micros), STATUS_A) & UIP;
    assert_eq!([uip(0), uip(500_000), uip(997_771)], [0; 3]);
    assert_eq!([uip(997_772), uip(999_756), uip(999_999)], [UIP; 3]);
    let halted = at(AFTERNOON, 999_999);
    set(&halted, STATUS_B, HALTED | HOURS_24);
    assert_eq!(get(&halted, STATUS_A), DIVIDER_AND_RATE);
}

/// The promise behind UIP: once it reads 0, the time stands still for 244 µs.
#[test]
fn no_update_within_244_microseconds_of_a_clear_uip() {
    for micros in 990_000..1_000_000 {
        if get(&at(AFTERNOON, micros), STATUS_A) & UIP == 0 {
            assert_eq!(get(&at(AFTERNOON, micros + 244), SECONDS), 0x59, "{micros}");
        }
    }
}

#[test]
fn the_clock_cannot_be_set_and_the_rest_is_memory() {
    let rtc = at(AFTERNOON, 0);
    let before = time(&rtc);
    for index in 0..128 {
        set(&rtc, index, 0x55);
    }
    set(&rtc, STATUS_B, HOURS_24);
    assert_eq!(time(&rtc), before);
    assert_eq!([get(&rtc, STATUS_C), get(&rtc, STATUS_D)], [0, VALID]);
    for index in (0x0E..128).filter(|index| *index != CENTURY).chain([1, 3, 5]) {
        assert_eq!(get(&rtc, index), 0x55, "{index:#x}");
    }
    assert_eq!(rtc.counters()[1], ("ignored_writes", 11));
}

#[test]
fn the_nmi_bit_is_not_part_of_the_index() {
    let rtc = at(AFTERNOON, 0);
    assert_eq!(get(&rtc, 0x80 | STATUS_D), VALID);
    let mut index = [0];
    rtc.read(0, &mut index);
    assert_eq!(index, [0xFF]);
}

#[test]
fn memory_sizes() {
    let bytes = |below_4g, above_4g| {
        let rtc = Rtc::with_clock(MemorySizes { below_4g, above_4g }, || Duration::ZERO);
        [0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x34, 0x35, 0x5B, 0x5C, 0x5D].map(|i| get(&rtc, i))
    };
    let full = 0xFF;
    // 512 KiB; 8 MiB; 3 GiB and 5 GiB.
    assert_eq!(bytes(512 << 10, 0), [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes(8 << 20, 0), [0x80, 2, 0, 0x1C, 0, 0x1C, 0, 0, 0, 0, 0]);
    assert_eq!(bytes(3 << 30, 5 << 30), [0x80, 2, full, full, full, full, 0, 0xBF, 0, 0x40, 1]);
    assert_eq!(bytes(u64::MAX, u64::MAX)[8..], [full; 3]);
}

#[test]
fn the_host_clock_is_read() {
    let rtc = Rtc::new(MemorySizes::default());
    assert!(get(&rtc, CENTURY) >= 0x20);
}

#[test]
fn any_index_from_any_thread() {
    let rtc = Arc::new(at(AFTERNOON, 0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for index in 0..=u8::MAX {
                    get(&rtc, index);
                    set(&rtc, index, index);
                }
            });
        }
    });
    set(&rtc, STATUS_B, HOURS_24);
    assert_eq!(time(&rtc), time(&at(AFTERNOON, 0)));
}
