//! Tests of the serial port: the transition against a plain model, what Linux does to a port,
//! and two threads at once.
mod linux;
mod model;
mod saved;
mod threads;
mod transition;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::*;

/// What left the port, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Sent(u8),
    Interrupt,
    Room,
}

struct Recorder(Sender<Out>);

impl ConsoleOutput for Recorder {
    fn send(&self, byte: u8) {
        self.0.send(Out::Sent(byte)).unwrap();
    }
    fn input_has_room(&self) {
        self.0.send(Out::Room).unwrap();
    }
}

impl Interrupt for Recorder {
    fn raise(&self) {
        self.0.send(Out::Interrupt).unwrap();
    }
}

/// A port all of whose effects are recorded.
pub(super) fn recorded() -> (Serial, Receiver<Out>) {
    let (sender, receiver) = channel();
    let output = Arc::new(Recorder(sender.clone()));
    (Serial::new(Box::new(Recorder(sender)), output), receiver)
}

/// What was recorded since the last call.
pub(super) fn drain(receiver: &Receiver<Out>) -> Vec<Out> {
    let mut out = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(event) => out.push(event),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return out,
        }
    }
}

pub(super) fn get(serial: &Serial, offset: u8) -> u8 {
    serial.read_register(offset.into())
}

pub(super) fn set(serial: &Serial, offset: u8, value: u8) {
    serial.write_register(offset.into(), value);
}

#[test]
fn wide_accesses_touch_consecutive_registers() {
    use crate::bus::BusDevice;
    let (serial, _out) = recorded();
    // LCR and MCR, then SCR alone.
    let _ = serial.write(3, &[0x1B, 0x0F]);
    let _ = serial.write(7, &[0x5A]);
    let mut data = [0; 2];
    serial.read(3, &mut data);
    assert_eq!(data, [0x1B, 0x0F]);
    assert_eq!(get(&serial, 7), 0x5A);
}

#[test]
fn counters() {
    let (serial, out) = recorded();
    set(&serial, 2, 0x01);
    set(&serial, 0, b'x');
    assert_eq!(serial.offer(b"abc"), 3);
    assert_eq!(get(&serial, 0), b'a');
    set(&serial, 1, 0x01);
    set(&serial, 2, 0x03);
    assert_eq!(drain(&out), [Out::Sent(b'x'), Out::Interrupt]);
    let expected =
        [("bytes_sent", 1), ("bytes_received", 1), ("bytes_discarded", 2), ("interrupts", 1)];
    assert_eq!(serial.counters(), expected);
}
