//! A whole path: host, console, serial port, guest.
use std::io::Write;

use super::*;
use crate::bus::ByteRegisters;
use crate::interrupt::Interrupt;
use crate::serial::Serial;

struct Line(Sender<()>);

impl Interrupt for Line {
    fn raise(&self) {
        // After the test, nobody listens.
        let _ = self.0.send(());
    }
}

fn port_of(console: &HostConsole) -> (Arc<Serial>, Receiver<()>) {
    let (sender, interrupts) = channel();
    let output: Arc<dyn ConsoleOutput> = Arc::<ConsolePort>::clone(console.port());
    let serial = Arc::new(Serial::new(Box::new(Line(sender)), output));
    console.port().attach(&serial);
    serial.write_register(2, 0x81);
    serial.write_register(1, 0x01);
    (serial, interrupts)
}

/// A paste that is far longer than any buffer arrives whole at a guest that reads it by
/// interrupt and echoes it.
#[test]
fn a_long_paste_is_echoed() {
    let (console, mut keys, screen) = on_pipes(None);
    let (serial, interrupts) = port_of(&console);
    let text: Vec<u8> = (0..250).cycle().take(300_000).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| keys.write_all(&text).unwrap());
        scope.spawn(|| expect_output(&screen, &text));
        let mut echoed = 0;
        while echoed < text.len() {
            interrupts.recv_timeout(NEVER).expect("an interrupt was lost");
            while serial.read_register(5) & 1 != 0 {
                let byte = serial.read_register(0);
                serial.write_register(0, byte);
                echoed += 1;
            }
            // A guest that prints faster than a person reads waits for the screen.
            while (echoed as u64) > counter(&console, "output_bytes") + 60_000 {
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(counter(&console, "output_dropped"), 0);
    console.stop();
}

/// After a reboot, a new port takes the place of the old one.
#[test]
fn a_new_port_takes_over() {
    let (console, mut keys, screen) = on_pipes(None);
    for round in *b"123" {
        let (serial, interrupts) = port_of(&console);
        serial.write_register(0, round);
        expect_output(&screen, &[round]);
        keys.write_all(&[round]).unwrap();
        interrupts.recv_timeout(NEVER).unwrap();
        assert_eq!(serial.read_register(0), round);
    }
    console.stop();
}
