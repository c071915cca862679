//! The terminal's escape sequences: the pieces in which keys come do not matter, and the guest
//! gets every byte that is not part of a command, in order.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../../cli/src/escape.rs"]
mod escape;

use escape::{Command, EscapeFilter};

/// What a session of keys comes to, said in another way: pairs that begin with Ctrl-A.
fn model(input: &[u8]) -> (Vec<u8>, Vec<Command>) {
    let (mut guest, mut commands) = (Vec::new(), Vec::new());
    let mut rest = input;
    loop {
        rest = match rest {
            [] | [1] => return (guest, commands),
            [1, 1, rest @ ..] => {
                guest.push(1);
                rest
            }
            [1, b'x' | b'X', rest @ ..] => {
                commands.push(Command::End);
                rest
            }
            [1, b'h' | b'H' | b'?', rest @ ..] => {
                commands.push(Command::Help);
                rest
            }
            [1, other, rest @ ..] => {
                guest.extend([1, *other]);
                rest
            }
            [other, rest @ ..] => {
                guest.push(*other);
                rest
            }
        };
    }
}

fuzz_target!(|pieces: Vec<&[u8]>| {
    let mut filter = EscapeFilter::default();
    let (mut guest, mut commands) = (Vec::new(), Vec::new());
    for piece in &pieces {
        commands.extend(filter.feed(piece, &mut guest));
    }
    assert_eq!((guest, commands), model(&pieces.concat()));
});
