//! How far a transfer is, for those who look: read without asking anybody, from a few atomics of its own.

use std::time::Duration;

use migration::engine::phase::SourcePhase;
use migration::engine::{Progress, Report};
use migration::memory::PAGE_SIZE;
use serde::{Deserialize, Serialize};

use super::Transfer;
use super::transfer::Result;

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferKind {
    /// A snapshot is taken.
    Snapshot,
    /// A VM is restored from a snapshot.
    Restore,
    /// The VM is sent to another VMM.
    Send,
    /// A VM is received from another VMM.
    Receive,
}

/// Where a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum TransferState {
    /// It waits for the other end, or has just begun.
    Connecting,
    /// Memory is compared with that of the base of a snapshot.
    Comparing,
    /// Memory is copied; a VM that is sent or saved is as it was, unless the copy needs it to stand still.
    Copying,
    /// The VM stands still for its last pages and its state.
    Stopped,
    /// The other end makes ready.
    HandingOver,
    /// The VM is being given away, or what was written made to last.
    Committing,
    /// It is done.
    Completed,
    /// It failed; a VM that was to go is as it was.
    Failed,
    /// It was ended before it was done; a VM that was to go is as it was.
    Cancelled,
    /// Nobody here can know whose the VM is; it stands still here, intact.
    InDoubt,
    /// The VM runs at the other end, and memory that is still here is sent there.
    Serving,
    /// The VM ran at the other end before it had all of its memory, and may not have got the rest; it stands still here, and must not go on.
    Stranded,
    /// The VM runs, and memory that is still at the other end comes.
    Filling,
}

impl TransferState {
    const ALL: [Self; 13] = [
        Self::Connecting,
        Self::Comparing,
        Self::Copying,
        Self::Stopped,
        Self::HandingOver,
        Self::Committing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::InDoubt,
        Self::Serving,
        Self::Stranded,
        Self::Filling,
    ];

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::InDoubt | Self::Stranded
        )
    }
}

/// Where the time of the downtime went, as the source saw it, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DowntimeInfo {
    /// All of it.
    pub total_us: u64,
    /// From the request to the VM standing still.
    pub pause_us: u64,
    /// The last pages, the saving of the state meanwhile.
    pub pages_us: u64,
    /// The state, and the destination's making ready.
    pub state_us: u64,
    /// Of it, the destination's work.
    pub setup_us: u64,
    /// The disks, the commit, and the destination's start.
    pub commit_us: u64,
}

/// What `vm.migration-progress` answers: the transfer that is under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferInfo {
    /// What it is.
    pub kind: TransferKind,
    /// Where it is.
    pub state: TransferState,
    /// The other end, or the directory.
    pub place: String,
    /// How long it has taken so far, or took in all, in milliseconds.
    pub elapsed_ms: u64,
    /// Bytes of guest memory.
    pub memory_bytes: u64,
    /// Bytes that were sent, or bytes of guest memory that are in their place.
    pub done_bytes: u64,
    /// Rounds over the memory that ended.
    pub iteration: u32,
    /// Bytes that are to be sent as it looks now.
    pub remaining_bytes: u64,
    /// What the link carries, in bytes of memory a second; 0 before it was measured.
    pub bandwidth: u64,
    /// What the guest writes, in bytes a second.
    pub dirty_rate: u64,
    /// For how many per cent of the time the guest is held.
    pub throttle_percent: u8,
    /// How long the guest would stand still if it were stopped now, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_downtime_us: Option<u64>,
    /// How long the rest would take if the guest wrote no more, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
    /// How long the VM stood still, when it is at the other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<DowntimeInfo>,
    /// Why it is not done, when it will not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Transfer {
    /// How far it is.
    pub(crate) fn info(&self) -> TransferInfo {
        let progress = self.handle.progress();
        let is_sent = self.kind() == TransferKind::Send;
        let result = self.result();
        let (state, error, report) = match result.as_deref().map(|(result, _)| result) {
            None if is_sent => (of_phase(progress.phase), None, None),
            None => {
                let stage = TransferState::ALL.get(usize::from(self.stage())).copied();
                (stage.unwrap_or(TransferState::Connecting), None, None)
            }
            Some(Result::Completed(report)) => (TransferState::Completed, None, report.as_deref()),
            Some(Result::Failed(error)) => (TransferState::Failed, Some(error), None),
            Some(Result::Cancelled(error)) => (TransferState::Cancelled, Some(error), None),
            Some(Result::InDoubt(error)) => (TransferState::InDoubt, Some(error), None),
            Some(Result::Stranded(error)) => (TransferState::Stranded, Some(error), None),
        };
        let took = result.as_deref().map_or_else(|| self.elapsed(), |(_, took)| *took);
        let Progress { rounds, remaining_pages, bandwidth, dirty_rate, throttle, .. } = progress;
        let memory_bytes = self.memory_bytes();
        let done_bytes = match report {
            Some(report) => report.sent_bytes,
            None if is_sent => progress.sent_bytes,
            None => self.done_bytes(),
        };
        let remaining_bytes = match (is_sent, state.is_final(), rounds) {
            (_, true, _) => 0,
            (true, false, 1..) => remaining_pages.saturating_mul(PAGE_SIZE as u64),
            (true, false, 0) => memory_bytes,
            (false, ..) => memory_bytes.saturating_sub(done_bytes),
        };
        TransferInfo {
            kind: self.kind(),
            state,
            place: self.place().to_owned(),
            elapsed_ms: millis(took),
            memory_bytes,
            done_bytes,
            iteration: report.map_or(rounds, |report| report.rounds),
            remaining_bytes,
            bandwidth,
            dirty_rate,
            throttle_percent: throttle,
            expected_downtime_us: progress.expected_downtime.map(micros),
            eta_ms: progress.eta().filter(|_| rounds > 0 && !state.is_final()).map(millis),
            downtime: report.map(downtime),
            error: error.cloned(),
        }
    }
}

const fn of_phase(phase: SourcePhase) -> TransferState {
    match phase {
        SourcePhase::Connecting => TransferState::Connecting,
        SourcePhase::Copying => TransferState::Copying,
        SourcePhase::Stopped => TransferState::Stopped,
        SourcePhase::Handing => TransferState::HandingOver,
        SourcePhase::Committing | SourcePhase::Completed => TransferState::Committing,
        SourcePhase::Restored => TransferState::Failed,
        SourcePhase::InDoubt => TransferState::InDoubt,
        SourcePhase::Serving => TransferState::Serving,
        SourcePhase::Stranded => TransferState::Stranded,
    }
}

fn downtime(report: &Report) -> DowntimeInfo {
    let spent = &report.downtime;
    DowntimeInfo {
        total_us: micros(spent.total()),
        pause_us: micros(spent.pause),
        pages_us: micros(spent.pages),
        state_us: micros(spent.state),
        setup_us: micros(spent.setup),
        commit_us: micros(spent.commit),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_is_what_is_shown() {
        let transfer = Transfer::new(TransferKind::Receive, "unix:/x".to_owned()).unwrap();
        for state in TransferState::ALL {
            transfer.reach(state);
            assert_eq!(transfer.info().state, state);
        }
        transfer.set_memory(100);
        transfer.add_done(40);
        transfer.reach(TransferState::Copying);
        let info = transfer.info();
        assert_eq!((info.done_bytes, info.remaining_bytes), (40, 60));
        transfer.settle(Result::Failed("no".to_owned()));
        let info = transfer.info();
        assert_eq!((info.state, info.error.as_deref()), (TransferState::Failed, Some("no")));
        assert_eq!(info.remaining_bytes, 0);
    }

    #[test]
    fn what_is_sent_shows_the_engines_progress() {
        let transfer = Transfer::new(TransferKind::Send, "unix:/x".to_owned()).unwrap();
        transfer.set_memory(100);
        let info = transfer.info();
        assert_eq!((info.state, info.remaining_bytes), (TransferState::Connecting, 100));
        assert_eq!((info.expected_downtime_us, info.eta_ms), (None, None));
    }
}
