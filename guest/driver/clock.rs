//! A guest that sees for itself how long it stands still.

use crate::io::{Address, Line, ticks};
use crate::shared::{ARENAS, OUTCOME_DATA};

/// Fills memory, then writes the time over and over, and how long the longest break between two writes was.
pub fn run(line: &Line) -> Result<(), u64> {
    let (start, bytes) = (line.argument(0), line.argument(1));
    // The host says how much memory there is; below the arenas is the program.
    if bytes > 0 && (start < ARENAS || start % 8 != 0) {
        return Err(OUTCOME_DATA);
    }
    for at in (start..start + bytes).step_by(8) {
        // No two pages are alike.
        Address(at).write64((at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
    let (mut rounds, mut longest) = (0, 0);
    let mut before = ticks();
    while !line.stopped() {
        let now = ticks();
        longest = longest.max(now.wrapping_sub(before));
        before = now;
        rounds += 1;
        line.result(1, longest);
        line.result(2, now);
        line.progress(rounds);
    }
    Ok(())
}
