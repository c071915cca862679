//! What Linux's 8250 driver does to a port to find out what it is, as far as a 16550A must
//! answer in one way (drivers/tty/serial/8250/8250_port.c).
use super::{Out, drain, get, recorded, set};
use crate::console::ConsoleInput;

const RX: u8 = 0;
const IER: u8 = 1;
const IIR: u8 = 2;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;
const SCR: u8 = 7;

/// `autoconfig`: is there a chip at all?
#[test]
fn a_port_exists() {
    let (serial, _out) = recorded();
    set(&serial, IER, 0);
    assert_eq!(get(&serial, IER) & 0x0F, 0);
    set(&serial, IER, 0x0F);
    assert_eq!(get(&serial, IER), 0x0F);
    set(&serial, IER, 0xF0);
    assert_eq!(get(&serial, IER), 0, "no power-saving or XScale bits");
}

/// `autoconfig`: the loopback test.
#[test]
fn loopback_feeds_the_modem_lines() {
    let (serial, _out) = recorded();
    assert_eq!(get(&serial, MSR) & 0xF0, 0xB0, "connected and ready");
    set(&serial, MCR, 0x10 | 0x0A);
    assert_eq!(get(&serial, MSR) & 0xF0, 0x90);
}

/// `autoconfig` and `autoconfig_16550a`: a 16550A and nothing better.
#[test]
fn it_is_a_16550a() {
    let (serial, _out) = recorded();
    set(&serial, LCR, 0xBF);
    set(&serial, FCR, 0);
    set(&serial, LCR, 0);
    set(&serial, FCR, 0x01);
    assert_eq!(get(&serial, IIR) >> 6, 3, "working FIFOs");
    for conf_mode in [0x80, 0xBF] {
        set(&serial, LCR, conf_mode);
        assert_ne!(get(&serial, 2), 0, "no enhanced feature register");
    }
    // The National Semiconductor test: register 2 of bank 2 is not MCR.
    set(&serial, LCR, 0);
    let mcr = get(&serial, MCR);
    set(&serial, MCR, mcr ^ 0x10);
    set(&serial, LCR, 0xE0);
    let exc = get(&serial, 2);
    set(&serial, LCR, 0);
    set(&serial, MCR, mcr);
    assert_eq!((exc ^ mcr) & 0x10, 0);
    // The TI 16750 test: 64-byte mode does not exist, with DLAB or without.
    for lcr in [0, 0x80] {
        set(&serial, LCR, lcr);
        set(&serial, FCR, 0x01 | 0x20);
        assert_eq!(get(&serial, IIR) >> 5, 6);
        set(&serial, FCR, 0x01);
    }
    // The XScale test: bit 6 of IER does not stick.
    set(&serial, LCR, 0);
    set(&serial, IER, 0x40);
    assert_eq!(get(&serial, IER) & 0x40, 0);
    // The scratch register, which an 8250 lacks.
    set(&serial, SCR, 0xA5);
    assert_eq!(get(&serial, SCR), 0xA5);
}

/// `size_fifo`: not the 64 bytes of a U6 16550A.
#[test]
fn the_loopback_fifo_is_not_64_deep() {
    let (serial, out) = recorded();
    set(&serial, FCR, 0x07);
    set(&serial, MCR, 0x10);
    set(&serial, LCR, 0x83);
    set(&serial, 0, 1);
    set(&serial, 1, 0);
    set(&serial, LCR, 0x03);
    for byte in 0..=255 {
        set(&serial, RX, byte);
    }
    let mut depth = 0;
    while get(&serial, LSR) & 0x01 != 0 && depth < 255 {
        assert_eq!(get(&serial, RX), depth);
        depth += 1;
    }
    assert_eq!(depth, 1);
    assert_eq!(drain(&out), [], "nothing left the port");
}

/// `serial8250_do_startup`: THR empty is asserted again each time it is enabled, and comes as an
/// interrupt.
#[test]
fn enabling_thr_empty_asserts_it() {
    let (serial, out) = recorded();
    for _ in 0..2 {
        set(&serial, IER, 0x02);
        assert_eq!(drain(&out), [Out::Interrupt]);
        assert_eq!(get(&serial, LSR) & 0x40, 0x40);
        assert_eq!(get(&serial, IIR) & 0x0F, 0x02);
        assert_eq!(get(&serial, IIR) & 0x0F, 0x01, "reading IIR ends it");
        set(&serial, IER, 0);
    }
}

/// `serial8250_interrupt`: a handler that loops until IIR says "none" sends a whole buffer from
/// one interrupt, and the last byte is followed by another one.
#[test]
fn transmission_by_interrupt() {
    let (serial, out) = recorded();
    set(&serial, FCR, 0x01);
    set(&serial, IER, 0x05);
    set(&serial, IER, 0x07);
    let mut rest = 0..100_u8;
    while get(&serial, IIR) & 0x01 == 0 {
        match rest.next() {
            Some(byte) => set(&serial, RX, byte),
            None => set(&serial, IER, 0x05),
        }
    }
    let sent = drain(&out).into_iter().filter(|o| *o != Out::Interrupt);
    assert!(sent.eq((0..100).map(Out::Sent)));
}

/// A handler that never reads IIR gets one interrupt per byte it sends.
#[test]
fn transmission_without_iir() {
    let (serial, out) = recorded();
    set(&serial, IER, 0x02);
    for byte in 0..10 {
        assert!(drain(&out).contains(&Out::Interrupt));
        set(&serial, RX, byte);
    }
}

/// With the FIFOs off there is one byte at a time, and each comes with its interrupt.
#[test]
fn reception_without_fifos() {
    let (serial, out) = recorded();
    set(&serial, IER, 0x01);
    for byte in 0..10 {
        assert_eq!(serial.offer(&[byte, 99]), 1);
        assert_eq!(drain(&out), [Out::Interrupt]);
        assert_eq!(get(&serial, IIR), 0x04);
        assert_eq!(get(&serial, RX), byte);
        assert_eq!(drain(&out), [Out::Room]);
        assert_eq!(get(&serial, IIR), 0x01);
    }
}
