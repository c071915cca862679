//! The host's view of the guest: the lease that it renews in the first sector of its disk's image, whichever process runs it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use stillpoint_guest::driver::lease::{
    CHECKSUM, COMPLAINT, LINE_DONE, LINE_OUTCOME, LINE_PROGRESS, LINE_WORDS, MAGIC, SEQUENCE, TIME,
    TOLD, VCPU_LINES, WORDS, checksum,
};

const SECTOR: usize = 8 * WORDS;

/// What a vCPU has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Whether its command has ended, which is its failure.
    pub is_done: bool,
    pub rounds: u64,
    pub outcome: u64,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub sequence: u64,
    pub time: u64,
    pub vcpus: Vec<Vcpu>,
}

/// What a guest says that did not find its own lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Sequence and time that it had written.
    pub mine: (u64, u64),
    /// What is there: whether that is a lease, its sequence and time.
    pub found: (bool, u64, u64),
}

/// The disk's image.
pub struct Image {
    pub path: PathBuf,
    file: File,
}

impl Image {
    pub fn new(path: &Path) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.expect("image");
        file.set_len(1 << 20).expect("its length");
        Self { path: path.to_owned(), file }
    }

    /// None before the first. A read that comes in the middle of a write is done again.
    pub fn lease(&self) -> Option<Lease> {
        let whole = (0..1000).find_map(|_| {
            let words = self.sector(0);
            (words[CHECKSUM] == checksum(words.iter().copied().take(CHECKSUM))).then_some(words)
        });
        let words = whole.or_else(|| {
            let words = self.sector(0);
            assert!(words.iter().all(|word| *word == 0), "no lease any more: {words:x?}");
            None
        })?;
        assert_eq!(words[MAGIC.0], MAGIC.1, "{words:x?}");
        let vcpus = words[VCPU_LINES..].chunks_exact(LINE_WORDS);
        let vcpus = vcpus.take(usize::try_from(words[TOLD]).expect("few")).map(|line| Vcpu {
            is_done: line[LINE_DONE] != 0,
            rounds: line[LINE_PROGRESS],
            outcome: line[LINE_OUTCOME],
        });
        Some(Lease { sequence: words[SEQUENCE], time: words[TIME], vcpus: vcpus.collect() })
    }

    pub fn complaint(&self) -> Option<Complaint> {
        let words = self.sector(1);
        (words[MAGIC.0] == COMPLAINT).then(|| Complaint {
            mine: (words[SEQUENCE], words[TIME]),
            found: (words[VCPU_LINES] == MAGIC.1, words[VCPU_LINES + 1], words[VCPU_LINES + 2]),
        })
    }

    /// Forgets a complaint.
    pub fn settle(&self) {
        self.file.write_all_at(&[0; SECTOR], SECTOR as u64).expect("written");
    }

    fn sector(&self, number: u64) -> [u64; WORDS] {
        let mut bytes = [0; SECTOR];
        self.file.read_exact_at(&mut bytes, number * SECTOR as u64).expect("read");
        let word = |at: usize| bytes[8 * at..8 * at + 8].try_into().expect("eight");
        std::array::from_fn(|at| u64::from_le_bytes(word(at)))
    }
}
