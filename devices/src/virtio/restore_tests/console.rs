//! A console: every byte once and in order, in both directions.

use std::sync::mpsc::{Receiver, Sender, channel};

use proptest::prelude::*;

use super::*;
use crate::console::{ConsoleInput, ConsoleOutput, ConsoleSize};
use crate::virtio::console::VirtioConsole;
use crate::virtio::testing::{Buffers, Sent};

struct Screen(Sender<u8>);

impl ConsoleOutput for Screen {
    fn send(&self, byte: u8) {
        self.0.send(byte).unwrap();
    }
    fn input_has_room(&self) {}
}

#[derive(Clone, Debug)]
enum Op {
    /// The user types so many bytes.
    Type(u16),
    /// The guest gives a buffer for input.
    Give(u8),
    /// The guest prints so many bytes.
    Print(u8),
    Move,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..600_u16).prop_map(Op::Type),
        3 => (1..=200_u8).prop_map(Op::Give),
        3 => (1..=200_u8).prop_map(Op::Print),
        2 => Just(Op::Move),
    ]
}

struct Terminal {
    machine: Machine,
    console: Arc<VirtioConsole>,
    screen: Sender<u8>,
    shown: Receiver<u8>,
    given: Vec<Sent>,
    typed: usize,
    received: Vec<u8>,
    printed: usize,
}

/// The byte at a place of an endless text without repetitions nearby.
fn text(place: usize) -> u8 {
    u8::try_from(place * 7 % 251).unwrap()
}

impl Terminal {
    fn new() -> Self {
        let (screen, shown) = channel();
        let console = Self::device(&screen);
        console.resized(ConsoleSize { columns: 80, rows: 25 });
        let mut machine = Machine::new(Arc::clone(&console) as _, Driver::queues(2, 64));
        machine.start(1);
        let (given, received) = (Vec::new(), Vec::new());
        Self { machine, console, screen, shown, given, typed: 0, received, printed: 0 }
    }

    fn device(screen: &Sender<u8>) -> Arc<VirtioConsole> {
        Arc::new(VirtioConsole::new("con0", Arc::new(Screen(screen.clone()))).unwrap())
    }

    fn moved(self) -> Self {
        let console = Self::device(&self.screen);
        let machine = self.machine.moved(|| Arc::clone(&console) as _);
        assert_eq!(console.size(), ConsoleSize { columns: 80, rows: 25 });
        Self { machine, console, ..self }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            // No more than is saved.
            Op::Type(count) if self.typed + usize::from(count) <= self.received.len() + 8192 => {
                let text: Vec<u8> = (self.typed..).take(count.into()).map(text).collect();
                self.typed += self.console.offer(&text);
            }
            Op::Give(room) if self.given.len() < 32 => {
                let buffers = Buffers { readable: vec![], writable: vec![room.into()] };
                self.given.push(self.machine.drivers[0].send(&buffers));
            }
            Op::Print(count) => {
                let text: Vec<u8> = (self.printed..).take(count.into()).map(text).collect();
                let buffers = Buffers { readable: vec![&text], writable: vec![] };
                self.machine.drivers[1].send(&buffers);
                self.printed += usize::from(count);
                while self.machine.drivers[1].used().is_some() {}
            }
            Op::Type(_) | Op::Give(_) | Op::Move => {}
        }
        self.receive();
    }

    fn receive(&mut self) {
        while let Some((head, len)) = self.machine.drivers[0].used() {
            let place = self.given.iter().position(|sent| sent.head == head);
            let sent = self.given.remove(place.expect("a buffer that was given, once"));
            self.received.extend(self.machine.drivers[0].read(sent.writable[0].0, len));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_console_passes_every_byte_on_once_wherever_its_machine_is(
        ops in proptest::collection::vec(op(), 1..40),
    ) {
        let mut terminal = Terminal::new();
        for op in &ops {
            match op {
                Op::Move => terminal = terminal.moved(),
                op => terminal.run(op),
            }
        }
        // All that was typed comes, if there are buffers, and all that was printed.
        while terminal.received.len() < terminal.typed {
            terminal.run(&Op::Give(200));
            thread::yield_now();
        }
        let expected: Vec<u8> = (0..terminal.typed).map(text).collect();
        prop_assert_eq!(&terminal.received, &expected);
        let shown: Vec<u8> = (0..terminal.printed).map(|_| terminal.shown.recv().unwrap()).collect();
        let expected: Vec<u8> = (0..terminal.printed).map(text).collect();
        prop_assert_eq!(shown, expected);
        drop(terminal.machine);
        prop_assert!(terminal.shown.try_recv().is_err(), "nothing came twice");
    }
}
