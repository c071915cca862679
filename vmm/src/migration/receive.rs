//! Receiving a VM from another VMM.

use migration::engine::{self, MigrationError};
use vcpu_state::sync::Arc;

use super::destination::Arrival;
use super::listener::Listener;
use super::progress::TransferKind;
use super::snapshot::settle;
use super::{PATIENCE, Transfer};
use crate::config::{LinkUrl, ReceiveMigrationConfig};
use crate::control::{ControlError, Line};

/// Waits for a VM. Connections that bring none do not end the wait; a VM that was described and then did not come does.
pub(crate) fn receive(
    line: &Line,
    config: &ReceiveMigrationConfig,
    listening: &(dyn Fn(&LinkUrl) + Sync),
) -> Result<(), ControlError> {
    let url = config.validate()?;
    let transfer = Transfer::new(TransferKind::Receive, url.to_string());
    let transfer = Arc::new(transfer.map_err(|error| ControlError::Failed(error.to_string()))?);
    let mut arrival = Arrival::expect(line, &transfer, &config.net_fds)?;
    let received = Listener::bind(&url, config.tls_dir.as_deref())
        .map_err(|error| ControlError::Failed(error.to_string()))
        .and_then(|listener| {
            listening(listener.url());
            wait(&transfer, &mut arrival, &listener)
        });
    drop(arrival);
    transfer.forget_connections();
    settle(&transfer, received)
}

fn wait(
    transfer: &Arc<Transfer>,
    arrival: &mut Arrival,
    listener: &Listener,
) -> Result<(), ControlError> {
    loop {
        let mut party = listener.party(transfer);
        let came = engine::receive(arrival, || party.accept(), PATIENCE);
        let Err(error) = came else { return Ok(()) };
        if arrival.is_given_up() || transfer.why_ended().is_some() {
            return Err(failure(&error));
        }
        if let Some(why) = party.broken() {
            return Err(ControlError::Failed(format!("no VM can come: {why}")));
        }
        tracing::warn!("somebody connected to {} and brought no VM: {error}", listener.url());
    }
}

fn failure(error: &MigrationError) -> ControlError {
    ControlError::Failed(format!("no VM has come: {error}"))
}
