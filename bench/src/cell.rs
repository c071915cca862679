//! What is measured: a guest, a number of vCPUs, a place to measure at.

use std::num::NonZeroU32;

use clap::ValueEnum;
use serde::Serialize;
use stillpoint_guest::{Mode, Options};

/// What the vCPUs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Guest {
    /// They halt. Of plain threads: they are blocked in a system call.
    Halted,
    /// They spin natively, at CPL 3.
    Spinning,
}

impl Guest {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Halted, Self::Spinning];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::Spinning => "spinning",
        }
    }

    /// The mode of the embedded guest.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Halted => Mode::Halt,
            Self::Spinning => Mode::Busy,
        }
    }

    /// The embedded guest's command line for so many vCPUs in this mode.
    pub fn cmdline(self, vcpus: NonZeroU32) -> String {
        Options { mode: self.mode(), quiet: true, ..Options::new(vcpus.get()) }.to_string()
    }
}

/// Where it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the API socket of a VMM process.
    Socket,
    /// At the control interface of a VMM in this process.
    InProcess,
    /// Plain threads, which nothing can be faster than.
    Threads,
}

/// How the client at the socket is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClientClass {
    /// Under SCHED_FIFO where that is allowed, else with short slices, as `stillpoint pause` is.
    Prompt,
    /// As any program is: beside spinning vCPUs it gets its share of a processor, and its share of the waits.
    Ordinary,
}

impl Place {
    /// All of them, outermost first.
    pub const ALL: [Self; 3] = [Self::Socket, Self::InProcess, Self::Threads];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "API socket",
            Self::InProcess => "in process",
            Self::Threads => "bare threads",
        }
    }
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// From the request to its answer, when all are quiescent.
    Pause,
    /// From the request to its answer, when none is held.
    Resume,
}

impl Verb {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pause, Self::Resume];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// A number of vCPUs and what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// vCPUs, or plain threads.
    pub vcpus: NonZeroU32,
    /// What they do.
    pub guest: Guest,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.vcpus, self.guest.name())
    }
}
