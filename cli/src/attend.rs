//! A request that saves or sends a VM, attended: a progress bar on a terminal and lines elsewhere.
//!
//! One connection to the API waits for its end, another asks how far it is. Ctrl-C cancels it and waits for what that
//! comes to, so that the exit status is always that of the request.
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGINT, SIGTERM};
use vmm::migration::TransferInfo;

use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::target::Found;
pub use view::{View, line, rough, take_away};

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(100);

/// Asks for it, and returns when it is done, with what there is to tell.
pub fn attend<T: DeserializeOwned + Send>(
    found: Found,
    endpoint: &str,
    body: &(impl Serialize + Sync),
) -> Result<Option<T>, Failure> {
    let looks = Client::connect(&found.socket)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| Failure::of("signals", &error))?;
    }
    let (done, ended) = channel();
    let Found { mut client, name, .. } = found;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The other side waits for it.
            let _ = done.send(client.send(endpoint, body));
        });
        watch(looks, &ended, &interrupted).map_err(|error| Failure::of(name, &error))
    })
}

/// Shows how far it is until it has ended.
fn watch<T>(
    mut client: Client,
    ended: &Receiver<Result<Option<T>, ClientError>>,
    interrupted: &AtomicBool,
) -> Result<Option<T>, ClientError> {
    let mut view = View::new();
    let result = loop {
        match ended.recv_timeout(LOOK) {
            Ok(result) => break result,
            // The thread has panicked, and the scope says so.
            Err(RecvTimeoutError::Disconnected) => break Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // SeqCst: as the handler stores it; once in a while.
        if interrupted.swap(false, Ordering::SeqCst) {
            match client.put("vm.migration-cancel") {
                Ok(()) => view.note("cancelling"),
                Err(error) => view.note(&error.to_string()),
            }
        }
        // The VMM may be gone, which the other connection finds out about.
        match client.get::<TransferInfo>("vm.migration-progress") {
            // One that has ended is an older one, or its end is on its way.
            Ok(info) if !info.state.is_final() => view.show(&info),
            _ => {}
        }
    };
    view.clear();
    result
}
