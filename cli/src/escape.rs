//! What of the keyboard's input is for the VMM and not for the guest.
//!
//! ```text
//!           Ctrl-A                  Ctrl-A: one Ctrl-A for the guest
//!   Plain ─────────▶ Escaped ─────▶ x:      Command::End
//!     ▲                 │           h, ?:   Command::Help
//!     └─────────────────┘           else:   both bytes for the guest
//! ```

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

/// What the person at the terminal wants of the VMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End the VM.
    End,
    /// Say which keys there are.
    Help,
}

/// The filter's memory of a Ctrl-A; input may come in any pieces.
#[derive(Clone, Debug, Default)]
pub struct EscapeFilter {
    escaped: bool,
}

impl EscapeFilter {
    /// Appends to `guest` what of `input` is for the guest, and tells the commands in it.
    pub fn feed(&mut self, input: &[u8], guest: &mut Vec<u8>) -> Vec<Command> {
        let mut commands = Vec::new();
        for &byte in input {
            if !std::mem::take(&mut self.escaped) {
                if byte == ESCAPE {
                    self.escaped = true;
                } else {
                    guest.push(byte);
                }
                continue;
            }
            match byte {
                ESCAPE => guest.push(ESCAPE),
                b'x' | b'X' => commands.push(Command::End),
                b'h' | b'H' | b'?' => commands.push(Command::Help),
                other => guest.extend([ESCAPE, other]),
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Command>) {
        let mut filter = EscapeFilter::default();
        let (mut guest, mut commands) = (Vec::new(), Vec::new());
        for piece in pieces {
            commands.extend(filter.feed(piece, &mut guest));
        }
        (guest, commands)
    }

    #[test]
    fn keys() {
        for (input, guest, commands) in [
            (b"abc".as_slice(), b"abc".as_slice(), vec![]),
            (b"a\x01xb", b"ab", vec![Command::End]),
            (b"\x01h\x01?", b"", vec![Command::Help, Command::Help]),
            (b"\x01\x01", b"\x01", vec![]),
            (b"\x01\x01x", b"\x01x", vec![]),
            (b"\x01\x01\x01x", b"\x01", vec![Command::End]),
            (b"\x01c", b"\x01c", vec![]),
            (b"\x01", b"", vec![]),
            (b"x\x03\x1c", b"x\x03\x1c", vec![]),
        ] {
            assert_eq!(all(&[input]), (guest.to_vec(), commands), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            input in prop::collection::vec(prop::sample::select(vec![1_u8, b'x', b'h', b'a']), 0..40),
            cut in 0_usize..40,
        ) {
            let cut = cut.min(input.len());
            prop_assert_eq!(all(&[&input]), all(&[&input[..cut], &input[cut..]]));
        }

        #[test]
        fn without_the_escape_all_is_for_the_guest(input: Vec<u8>) {
            let input: Vec<u8> = input.into_iter().filter(|byte| *byte != ESCAPE).collect();
            prop_assert_eq!(all(&[&input]), (input, vec![]));
        }
    }
}
