//! The driver guest's shared memory: where the host writes commands, and where each vCPU answers.
//!
//! ```text
//!   host:   arguments, then COMMAND = number of the command | sequence << 32
//!   vCPU:   sees a new sequence ─▶ carries it out ─▶ results, then DONE = sequence
//! ```
//!
//! One file for both sides, as with [`crate::layout`].

/// Where the driver program is loaded and entered at CPL 3: rdi = the vCPU's index, rsp = its stack.
pub const CODE: u64 = 0x80_0000;
/// End (exclusive) of the program and of a page table.
pub const CODE_LIMIT: u64 = 0x90_0000;
/// vCPUs that can run it at once.
pub const MAX_VCPUS: u64 = 32;
/// The lowest stack; each vCPU's grows down from the end of its own.
pub const STACKS: u64 = 0x90_0000;
/// Bytes of one stack.
pub const STACK_SIZE: u64 = 0x2_0000;
/// The lines of commands, one a vCPU.
pub const LINES: u64 = 0xD0_0000;
/// Bytes of one line.
pub const LINE_SIZE: u64 = 256;
/// u32, behind the lines: the APIC id of a vCPU that whoever takes the next NMI is to start by INIT and SIPI; 0: none. It runs the program as
/// the next one in order of arrival.
pub const START: u64 = LINES + LINE_SIZE * MAX_VCPUS;
/// Rings and buffers: an area for each vCPU.
pub const ARENAS: u64 = 0x100_0000;
/// Bytes of one area.
pub const ARENA_SIZE: u64 = 0x80_0000;
/// End (exclusive) of all memory that the driver guest uses.
pub const MEMORY_END: u64 = ARENAS + ARENA_SIZE * MAX_VCPUS;

/// Memory that may be plugged, as far as the driver can reach it, where the VMM has it.
pub const HOT: u64 = 4 << 30;
/// Bytes of it.
pub const HOT_SIZE: u64 = 1 << 30;
/// The page table that maps it.
pub const HOT_TABLE: u64 = CODE_LIMIT - 0x1000;

/// First address of PCI functions' registers that the driver can reach.
pub const PCI_START: u64 = 0xC000_0000;
/// PCI configuration space of bus 0 (ECAM), where the VMM has it.
pub const ECAM: u64 = 0xF000_0000;
/// The registers of PCI hotplug (`devices::pci::PciHotplug`), where the VMM has them.
pub const PCI_HOTPLUG: u64 = 0xF010_0000;
/// The register that says what has happened (`devices::ged::Ged`), where the VMM has it.
pub const GED: u64 = 0xF010_1000;
/// The registers of CPU hotplug (`devices::cpu_hotplug::CpuHotplugController`), where the VMM has them.
pub const CPU_HOTPLUG: u64 = 0xF010_2000;
/// End (exclusive) of what is mapped of PCI.
pub const PCI_END: u64 = 0xF020_0000;

/// Line, u64: the command: its number, and its sequence in the upper half.
pub const COMMAND: u64 = 0;
/// Line, u64: the sequence of the command that was carried out last.
pub const DONE: u64 = 8;
/// Line, u64: not zero: a command that goes on until it is told to stop stops.
pub const STOP: u64 = 16;
/// Line, u64: rounds of the command so far.
pub const PROGRESS: u64 = 24;
/// Line, u64: where a vCPU is that does something together with another one.
pub const MEETING: u64 = 32;
/// Line, u64s: arguments.
pub const ARGUMENTS: u64 = 64;
/// Line, u64s: results.
pub const RESULTS: u64 = 128;

/// The argument of [`Command::Receive`] by which the host lets a round begin.
pub const RECEIVE_GO: u64 = 7;

/// A command's number, in the lower half of [`COMMAND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Looks for virtio functions. Result 1: how many; then from 2 on slot << 16 | device id.
    Probe = 1,
    /// Block requests of a device.
    /// Arguments: slot, requests, bytes of each, depth, sectors of the disk, pattern ([`Pattern`]), seed.
    /// Results: outcome, requests done, TSC ticks, bad data.
    Block = 2,
    /// Sends Ethernet frames. Arguments: slot, packets, bytes of each, how many are offered at once.
    /// Results: outcome, packets, TSC ticks.
    Transmit = 3,
    /// Receives Ethernet frames of one length in rounds. Before each, with no buffer given to the card, it is at
    /// [`MEETING`] = the round, from 1 on, and goes on when argument [`RECEIVE_GO`] has come to that.
    /// Arguments: slot, packets of a round, bytes of each, rounds. Results: outcome, packets, TSC ticks within rounds.
    Receive = 4,
    /// Resets, negotiates, activates and uses a device over and over, until stopped.
    /// Arguments: slot, what is done besides ([`storm`]), seed.
    /// Results: outcome, activations, requests, moves of BARs.
    Storm = 5,
    /// Reads an MMIO register over and over. Arguments: address, rounds. Results: outcome, TSC ticks.
    ReadLoop = 6,
    /// Resets, negotiates and activates a device once. Arguments: slot. Results: outcome, status afterwards.
    Activate = 7,
    /// With another vCPU that gets the same command: both activate a device at once, both reset it at once, over and
    /// over, until the first of them is stopped. Arguments: slot, the other vCPU, what is done besides ([`storm`]), seed.
    /// Results: outcome, activations, -, moves of BARs.
    Together = 8,
    /// Lets go of functions. Arguments: their slots, a bit each.
    Eject = 9,
    /// Accesses the registers of CPU hotplug, PCI hotplug and events at random, until stopped.
    /// Arguments: what is done besides ([`hammer`]), vCPUs that the VM can have, seed. Results: outcome, accesses.
    Hammer = 10,
    /// Lets go of a vCPU, which may be the one that does it. Arguments: the vCPU's number. Results: outcome, its status afterwards.
    EjectVcpu = 11,
    /// Takes what has happened to vCPUs. Results: outcome, how much; then from 2 on vCPU << 8 | status.
    ScanVcpus = 12,
    /// One request of a memory device, which is reset before. Arguments: slot, type of the request, address, blocks.
    /// Results: outcome, type of the answer, state, `plugged_size`, `requested_size`.
    Memory = 13,
    /// Writes what depends on place and seed to each 512 bytes of memory that was plugged. Arguments: address, bytes, seed.
    Fill = 14,
    /// Reads whether that is there; with seed 0: zeros. Arguments: address, bytes, seed. Results: outcome, where it is not.
    Compare = 15,
    /// Reads a port over and over, a byte each. Arguments: port, rounds. Results: outcome, TSC ticks.
    PortLoop = 16,
    /// Resets the first queue of a disk with reads in flight and sets it up again, over and over; the device stays active.
    /// Arguments: slot, rounds, seed. Results: outcome, rounds, reads awaited.
    ResetQueue = 17,
    /// Fills memory behind [`ARENAS`] (not its own arena's use of it), each page with something else; then writes the time over and over, until
    /// stopped. Arguments: address, bytes. Results while it goes on: -, TSC ticks of the longest break between two writes, the TSC.
    Clock = 18,
    /// Holds a lease in the first sector of a disk and renews it, until stopped ([`lease`]). Arguments: slot, vCPUs to tell of.
    /// Results: outcome, sequence.
    Lease = 19,
    /// Rewrites pages of the vCPU's own memory at random and checks them all, over and over, until stopped. Arguments: pages, seed, pauses
    /// (`pause` instructions) after each round. Results: outcome; where a page is wrong: the address, what is there, what has to be
    /// (or the sum of the sequences, and what it has to be). Progress: rounds, each of which has checked every page.
    Patrol = 20,
}

/// The lease: a sector of u64s.
pub mod lease {
    /// u64s of a sector.
    pub const WORDS: usize = 64;
    /// Where the mark of a lease is, and what it is.
    pub const MAGIC: (usize, u64) = (0, u64::from_le_bytes(*b"SP-LEASE"));
    /// Instead of the mark, in the second sector: the lease was not what had been written last. Sequence and time are those that were
    /// written; mark, sequence and time that were found are at [`VCPU_LINES`].
    pub const COMPLAINT: u64 = u64::from_le_bytes(*b"SP-WRONG");
    /// Rises by one with each renewal.
    pub const SEQUENCE: usize = 1;
    /// The guest's time-stamp counter: no two leases are alike.
    pub const TIME: usize = 2;
    /// How many vCPUs are told of.
    pub const TOLD: usize = 3;
    /// Where they are.
    pub const VCPU_LINES: usize = 4;
    /// u64s of one.
    pub const LINE_WORDS: usize = 3;
    /// Of a vCPU: sequence of the command that it has done last; 0 while it is at its first.
    pub const LINE_DONE: usize = 0;
    /// Of a vCPU: rounds of its command.
    pub const LINE_PROGRESS: usize = 1;
    /// Of a vCPU: what its command came to.
    pub const LINE_OUTCOME: usize = 2;
    /// The most that are told of.
    pub const MOST_VCPUS: u64 = 16;
    /// The last word.
    pub const CHECKSUM: usize = WORDS - 1;

    /// Of all words but the last.
    pub fn checksum(words: impl Iterator<Item = u64>) -> u64 {
        words.fold(0x5349_4C4C, |sum, word| {
            (sum.rotate_left(7) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
    }
}

/// What a hammer does besides: a union.
pub mod hammer {
    /// Selects vCPUs, too. Who ejects one meanwhile may eject another.
    pub const SELECT: u64 = 1;
}

/// How a command's requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pattern {
    /// Reads at random places.
    RandomRead = 0,
    /// Writes at random places.
    RandomWrite = 1,
    /// Reads one after the other.
    SequentialRead = 2,
    /// Writes one after the other.
    SequentialWrite = 3,
    /// Writes what depends on place and seed, reads it back and compares.
    Verify = 4,
}

/// What a storm does besides: a union.
pub mod storm {
    /// Uses the `PCI_CFG` window instead of the BAR for some of the accesses.
    pub const WINDOW: u64 = 1;
    /// Moves the BAR between activations.
    pub const MOVE_BAR: u64 = 2;
    /// Block requests between activation and reset.
    pub const REQUESTS: u64 = 4;
    /// Lets go of whatever functions the host wants back. If the stormed one is among them, in use as it is, that is the
    /// end of the storm.
    pub const EJECT: u64 = 8;
}

/// Result 0 of most commands: went well.
pub const OUTCOME_DONE: u64 = 0;
/// No virtio function in the slot, or not of the type.
pub const OUTCOME_NO_DEVICE: u64 = 1;
/// The device does not take the features.
pub const OUTCOME_FEATURES: u64 = 2;
/// The device asked to be reset.
pub const OUTCOME_NEEDS_RESET: u64 = 3;
/// A request failed by its status.
pub const OUTCOME_REQUEST: u64 = 4;
/// A request of which the device gave back something else than was asked.
pub const OUTCOME_DATA: u64 = 5;
/// A register has not the value that it must have: result 1 says where, result 2 what.
pub const OUTCOME_REGISTER: u64 = 6;
/// The program panicked.
pub const OUTCOME_PANIC: u64 = 7;
/// There is no such command.
pub const OUTCOME_UNKNOWN: u64 = 8;
/// The device wrote to memory after its reset was done.
pub const OUTCOME_LATE_WRITE: u64 = 9;
