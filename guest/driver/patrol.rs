//! Memory that checks itself: pages whose every word follows from the page's place and from how often it was rewritten.
//!
//! A page that is torn, foreign or zero does not hold its words; one that is old holds those of an earlier sequence, which the table
//! beside the pages knows better; and if the table were as old as the page, the sum of all sequences would not be the number of
//! rewrites, which is kept in the vCPU's registers or on its stack.

use crate::arena::Arena;
use crate::io::{Address, Line, Random};
use crate::shared::{ARENA_SIZE, OUTCOME_DATA};

const PAGE: u64 = 4096;

struct Patrol<'a> {
    line: &'a Line,
    memory: Address,
    /// A word for each page.
    sequences: Address,
    seed: u64,
}

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let (pages, seed, rest) = (line.argument(0), line.argument(1), line.argument(2));
    // Half of the arena: the table has to fit, too.
    if pages == 0 || pages > ARENA_SIZE / PAGE / 2 {
        return Err(OUTCOME_DATA);
    }
    let mut arena = Arena::of(vcpu);
    let sequences = arena.take(8 * pages);
    let memory = arena.take(PAGE * pages);
    let patrol = Patrol { line, memory, sequences, seed };
    (0..pages).for_each(|page| patrol.fill(page, 0));
    let mut random = Random::new(seed);
    let (mut rewrites, mut rounds) = (0, 0);
    while !line.stopped() {
        let mut sum = 0;
        for page in 0..pages {
            let sequence = patrol.sequence(page).read64();
            patrol.check(page, sequence)?;
            sum += sequence;
        }
        if sum != rewrites {
            line.result(1, sum);
            line.result(2, rewrites);
            return Err(OUTCOME_DATA);
        }
        for _ in 0..pages / 4 + 1 {
            let page = random.below(pages);
            let sequence = patrol.sequence(page).read64();
            patrol.check(page, sequence)?;
            patrol.sequence(page).write64(sequence + 1);
            patrol.fill(page, sequence + 1);
            rewrites += 1;
        }
        rounds += 1;
        line.progress(rounds);
        for _ in 0..rest {
            core::hint::spin_loop();
        }
    }
    Ok(())
}

impl Patrol<'_> {
    fn sequence(&self, page: u64) -> Address {
        self.sequences.at(8 * page)
    }

    fn word(&self, at: u64, sequence: u64) -> u64 {
        (at ^ sequence << 32 ^ self.seed << 56).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn words(&self, page: u64) -> impl Iterator<Item = Address> {
        let start = self.memory.0 + PAGE * page;
        (start..start + PAGE).step_by(8).map(Address)
    }

    fn fill(&self, page: u64, sequence: u64) {
        self.words(page).for_each(|word| word.write64(self.word(word.0, sequence)));
    }

    fn check(&self, page: u64, sequence: u64) -> Result<(), u64> {
        for word in self.words(page) {
            let (found, expected) = (word.read64(), self.word(word.0, sequence));
            if found != expected {
                self.line.result(1, word.0);
                self.line.result(2, found);
                self.line.result(3, expected);
                return Err(OUTCOME_DATA);
            }
        }
        Ok(())
    }
}
