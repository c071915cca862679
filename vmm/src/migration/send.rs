//! Sending a VM to another VMM.

use std::time::Duration;

use migration::engine::{self, MigrationError, Options, Sent, Strategy, postcopy};
use migration::memory::SourceMemory;
use migration::wire::Compression;
use vcpu_state::sync::Arc;

use super::link::Way;
use super::progress::{TransferInfo, TransferKind};
use super::snapshot::settle;
use super::source::Departure;
use super::transfer::Result as Settled;
use super::{PATIENCE, Transfer};
use crate::config::{LinkUrl, MemoryMode, PageCompression, SendMigrationConfig, TimeoutStrategy};
use crate::control::{ControlError, Keep, Line, Outcome};

/// Sends the VM.
pub(crate) fn send(
    line: &Line,
    config: &SendMigrationConfig,
) -> Result<TransferInfo, ControlError> {
    let url = config.validate()?;
    let transfer = Transfer::new(TransferKind::Send, url.to_string());
    let transfer = Arc::new(transfer.map_err(|error| ControlError::Failed(error.to_string()))?);
    let (guard, begun) = super::begin(line, &transfer)?;
    let failed = |error: &dyn std::fmt::Display| ControlError::Failed(error.to_string());
    let ready = Departure::new(line, &transfer, begun).map_err(|error| failed(&error)).and_then(
        |departure| {
            use migration::engine::SourceVm;
            transfer.set_memory(departure.memory().layout().bytes());
            let way = Way::to(url.clone(), config.tls_dir.as_deref());
            let links = way.and_then(|way| way.connect(config.all_connections(), &transfer));
            let links = links.map_err(|error| failed(&error))?;
            Ok((departure, links))
        },
    );
    let (mut departure, mut links) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            drop(guard);
            transfer.forget_connections();
            return settle(&transfer, Err(error));
        }
    };
    let options = options(config);
    let handle = &transfer.handle;
    let sent = match (config.local, links.pop()) {
        (true, Some(link)) => engine::send_local(&mut departure, link, &options, handle),
        (_, last) => {
            links.extend(last);
            engine::send(&mut departure, links, &options, handle)
        }
    };
    transfer.forget_connections();
    match sent {
        Sent::Completed(report) => {
            transfer.settle(Settled::Completed(Some(Box::new(report))));
            departure.leave_behind();
            Ok(transfer.info())
        }
        Sent::Restored(error) => {
            drop(departure);
            drop(guard);
            if matches!(error, MigrationError::Cancelled) {
                // The engine may have heard of it before the transfer shows it.
                let why = transfer.reason().to_owned();
                transfer.settle(Settled::Cancelled(why.clone()));
                return Err(ControlError::Cancelled(why));
            }
            let error = ControlError::Failed(format!("the VM was not migrated: {error}"));
            settle(&transfer, Err(error))
        }
        Sent::InDoubt { still, error } => {
            let error = in_doubt(&url, &error);
            transfer.settle(Settled::InDoubt(error.clone()));
            drop(departure);
            if let Some(still) = still.into_still() {
                guard.end(Outcome::InDoubt { still, error: error.clone(), keep: Keep::Possible });
            }
            Err(ControlError::Failed(error))
        }
        Sent::Stranded { still, error } => {
            let error = stranded(&url, &error);
            transfer.settle(Settled::Stranded(error.clone()));
            drop(departure);
            if let Some(still) = still.into_still() {
                guard.end(Outcome::InDoubt { still, error: error.clone(), keep: Keep::TooLate });
            }
            Err(ControlError::Failed(error))
        }
    }
}

fn in_doubt(url: &LinkUrl, error: &MigrationError) -> String {
    format!(
        "the VM may be at {url}, or not: {error}. It stands still here. See whether it runs there, then resolve the \
         migration with keep (it does not) or drop (it does)"
    )
}

fn stranded(url: &LinkUrl, error: &MigrationError) -> String {
    format!(
        "the VM went on at {url} before all of its memory was there (post-copy), and perhaps the rest has not come: {error}. It stands still here and must not go on. \
         See whether it runs there; then, or if it has to be given up, resolve the migration with drop"
    )
}

fn options(config: &SendMigrationConfig) -> Options {
    Options {
        downtime: Duration::from_millis(config.downtime_ms),
        timeout: Duration::from_secs(config.timeout_s),
        strategy: match config.timeout_strategy {
            TimeoutStrategy::Cancel => Strategy::Cancel,
            TimeoutStrategy::Ignore => Strategy::Ignore,
            TimeoutStrategy::Throttle => Strategy::Throttle,
        },
        memory: match config.memory_mode {
            MemoryMode::Precopy => postcopy::MemoryMode::PreCopy,
            MemoryMode::Postcopy => {
                postcopy::MemoryMode::PostCopy { rounds: config.precopy_rounds }
            }
        },
        compression: match config.compression {
            PageCompression::None => Compression::None,
            PageCompression::Lz4 => Compression::Lz4,
            PageCompression::Zstd => Compression::Zstd,
        },
        patience: PATIENCE,
    }
}
