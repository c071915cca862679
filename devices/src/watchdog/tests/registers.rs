//! The function as a driver sees it.

use super::*;
use crate::counters::CounterSource;

#[test]
fn it_is_what_linux_looks_for() {
    let (watchdog, _) = watchdog(Past::Other);
    let mut id = [0; 4];
    watchdog.config().read(0, &mut id);
    assert_eq!(u32::from_le_bytes(id), 0x25AB_8086);
    let (index, bar) = watchdog.config().bars().next().unwrap();
    assert_eq!((index, bar.len), (BarIndex(0), 16));
    assert_eq!(watchdog.config().bars().count(), 1);
}

#[test]
fn a_write_needs_to_be_opened_each_time_and_by_both_values_in_order() {
    let (watchdog, _) = watchdog(Past::Other);
    let preload = |watchdog: &Watchdog| read(watchdog, 0);
    write(&watchdog, 0, &5_u32.to_le_bytes());
    assert_eq!(preload(&watchdog), 0xF_FFFF, "closed");
    for wrong in [[0x86_u16, 0x80], [0x80, 0x87], [0x80, 0x100]] {
        for value in wrong {
            write(&watchdog, 0xC, &value.to_le_bytes());
        }
        write(&watchdog, 0, &5_u32.to_le_bytes());
        assert_eq!(preload(&watchdog), 0xF_FFFF, "{wrong:x?}");
    }
    unlock(&watchdog);
    write(&watchdog, 0, &u32::MAX.to_le_bytes());
    write(&watchdog, 4, &7_u32.to_le_bytes());
    assert_eq!((preload(&watchdog), read(&watchdog, 4)), (0xF_FFFF, 0xF_FFFF), "closed again");
    unlock(&watchdog);
    write(&watchdog, 4, &7_u32.to_le_bytes());
    assert_eq!(read(&watchdog, 4), 7);
    for (offset, len) in [(0, 2), (0, 1), (8, 4), (0xC, 1), (1, 4), (0, 8)] {
        unlock(&watchdog);
        write(&watchdog, offset, &vec![1; len]);
        write(&watchdog, 4, &9_u32.to_le_bytes());
        assert_eq!(
            read(&watchdog, 4),
            7,
            "a write of {len} bytes at {offset} closes and does nothing"
        );
    }
    let mut wide = [0xAA; 8];
    watchdog.read_bar(BarIndex(0), 0, &mut wide);
    assert_eq!((wide, read(&watchdog, 8)), ([0; 8], 0));
}

#[test]
fn the_lock_register_locks_itself() {
    let (watchdog, _) = watchdog(Past::Other);
    assert_eq!(config(&watchdog, 0x68), 0);
    set_config(&watchdog, 0x68, 0xFE);
    assert_eq!(config(&watchdog, 0x68), 6, "enabled, and free to run; the rest is no register");
    set_config(&watchdog, 0x68, 0);
    assert_eq!(config(&watchdog, 0x68), 0);
    set_config(&watchdog, 0x68, 3);
    for value in 0..=u8::MAX {
        set_config(&watchdog, 0x68, value);
        assert_eq!(config(&watchdog, 0x68), 3);
    }
}

#[test]
fn the_configuration_register_keeps_the_bits_that_there_are() {
    let (watchdog, _) = watchdog(Past::Other);
    for value in 0..=u8::MAX {
        set_config(&watchdog, 0x60, value);
        assert_eq!(config(&watchdog, 0x60), value & 0x27);
    }
    // Linux writes 16 bits; wider accesses reach it, too, and what is around it reads as the space has it.
    let data = 0x0003_u16.to_le_bytes();
    assert!(matches!(watchdog.config_written(0x60, &data), Written::Done));
    let mut word = [0xAA; 4];
    assert!(watchdog.read_config_window(0x60, &mut word));
    assert_eq!(word, [3, 0, 0, 0]);
    for (offset, len) in [(0x61, 1), (0x62, 2), (0x64, 4), (0x69, 1), (0x5C, 4)] {
        assert!(!watchdog.read_config_window(offset, &mut vec![0; len]), "{offset:#x}");
        assert!(matches!(watchdog.config_written(offset, &vec![0xFF; len]), Written::Done));
    }
    assert_eq!((config(&watchdog, 0x60), config(&watchdog, 0x68)), (3, 0));
}

#[test]
fn that_it_has_expired_is_read_until_it_is_written() {
    let (watchdog, _) = watchdog(Past::Expired);
    assert_eq!(read(&watchdog, 0xC), 0x200);
    write(&watchdog, 0xC, &0x200_u16.to_le_bytes());
    assert_eq!(read(&watchdog, 0xC), 0x200, "closed");
    unlock(&watchdog);
    write(&watchdog, 0xC, &0x300_u16.to_le_bytes());
    assert_eq!(read(&watchdog, 0xC), 0);
}

#[test]
fn reloads_count_when_it_is_enabled() {
    let (watchdog, _) = watchdog(Past::Other);
    reload(&watchdog);
    set_config(&watchdog, 0x68, 2);
    reload(&watchdog);
    reload(&watchdog);
    assert_eq!(watchdog.counters(), [("enabled", 1), ("reloads", 2), ("expiries", 0)]);
}
