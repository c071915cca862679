//! Receiving a VM from another VMM.

use migration::engine::{self, MigrationError};
use vcpu_state::sync::Arc;

use super::destination::Arrival;
use super::link::Listener;
use super::progress::TransferKind;
use super::snapshot::settle;
use super::{PATIENCE, Transfer};
use crate::config::{LinkUrl, ReceiveMigrationConfig, link_url};
use crate::control::{ControlError, Line};

/// Waits for a VM. Connections that bring none do not end the wait; a VM that was described and then did not come does.
pub(crate) fn receive(
    line: &Line,
    config: &ReceiveMigrationConfig,
    listening: &(dyn Fn(&LinkUrl) + Sync),
) -> Result<(), ControlError> {
    let url = link_url("receiver_url", &config.receiver_url)?;
    let transfer = Transfer::new(TransferKind::Receive, url.to_string());
    let transfer = Arc::new(transfer.map_err(|error| ControlError::Failed(error.to_string()))?);
    let mut arrival = Arrival::expect(line, &transfer)?;
    let received = wait(&transfer, &mut arrival, &url, listening);
    drop(arrival);
    settle(&transfer, received)
}

fn wait(
    transfer: &Arc<Transfer>,
    arrival: &mut Arrival,
    url: &LinkUrl,
    listening: &(dyn Fn(&LinkUrl) + Sync),
) -> Result<(), ControlError> {
    let listener = Listener::bind(url).map_err(|error| ControlError::Failed(error.to_string()))?;
    listening(listener.url());
    loop {
        let came = engine::receive(arrival, || listener.accept(transfer), PATIENCE);
        let Err(error) = came else { return Ok(()) };
        if arrival.is_given_up() || transfer.why_ended().is_some() {
            return Err(failure(&error));
        }
        tracing::warn!("somebody connected to {url} and brought no VM: {error}");
    }
}

fn failure(error: &MigrationError) -> ControlError {
    ControlError::Failed(format!("no VM has come: {error}"))
}
