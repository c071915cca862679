//! Which path does what. Paths, methods and status codes are those of Cloud Hypervisor's
//! `vmm/src/api/openapi/cloud-hypervisor.yaml`.
use serde::Serialize;

use super::bodies;
use super::response::{Response, Status};
use crate::control::{ControlError, VmmControl};
use crate::sched;

const ROOT: &str = "/api/v1/";

/// What an endpoint does with the request.
enum Action {
    /// GET: the answer is a document.
    Get(fn(&dyn VmmControl) -> Result<Response, ControlError>),
    /// PUT without a body that takes no processor for long.
    Prompt(fn(&dyn VmmControl) -> Result<(), ControlError>),
    /// PUT without a body.
    Put(fn(&dyn VmmControl) -> Result<(), ControlError>),
    /// `vm.resume`: the vCPUs wake after the client has been told.
    Resume,
    /// PUT with a JSON object.
    Body(bodies::Endpoint),
}

impl Action {
    const fn method(&self) -> &'static str {
        match self {
            Self::Get(_) => "GET",
            Self::Prompt(_) | Self::Put(_) | Self::Resume | Self::Body(_) => "PUT",
        }
    }
}

const ENDPOINTS: [(&str, Action); 27] = [
    ("vm.pause", Action::Prompt(|control| control.pause())),
    ("vm.resume", Action::Resume),
    ("vm.info", Action::Get(|control| control.info().map(|info| Response::json(&info)))),
    (
        "vm.counters",
        Action::Get(|control| control.counters().map(|counters| Response::json(&counters))),
    ),
    ("vm.create", Action::Body(bodies::CREATE)),
    ("vm.boot", Action::Put(|control| control.boot())),
    ("vm.shutdown", Action::Put(|control| control.shutdown())),
    ("vm.reboot", Action::Put(|control| control.reboot())),
    ("vm.delete", Action::Put(|control| control.delete())),
    ("vm.nmi", Action::Put(|control| control.nmi())),
    // Cloud Hypervisor serves `vm.nmi`, but versions of its OpenAPI description say `vmm.nmi`, and
    // so do the clients that are generated from those.
    ("vmm.nmi", Action::Put(|control| control.nmi())),
    ("vm.power-button", Action::Put(|control| control.power_button())),
    ("vm.add-disk", Action::Body(bodies::ADD_DISK)),
    ("vm.add-net", Action::Body(bodies::ADD_NET)),
    ("vm.add-vsock", Action::Body(bodies::ADD_VSOCK)),
    ("vm.remove-device", Action::Body(bodies::REMOVE_DEVICE)),
    ("vm.resize-disk", Action::Body(bodies::RESIZE_DISK)),
    ("vm.resize", Action::Body(bodies::RESIZE)),
    ("vm.snapshot", Action::Body(bodies::SNAPSHOT)),
    ("vm.restore", Action::Body(bodies::RESTORE)),
    ("vm.send-migration", Action::Body(bodies::SEND_MIGRATION)),
    ("vm.receive-migration", Action::Body(bodies::RECEIVE_MIGRATION)),
    (
        "vm.migration-progress",
        Action::Get(|control| control.migration_progress().map(|info| Response::json(&info))),
    ),
    ("vm.migration-cancel", Action::Put(|control| control.migration_cancel())),
    ("vm.migration-resolve", Action::Body(bodies::RESOLVE)),
    ("vmm.ping", Action::Get(|_| Ok(Response::json(&Ping::of_this_process())))),
    ("vmm.shutdown", Action::Put(|control| control.vmm_shutdown())),
];

/// What `vmm.ping` answers.
#[derive(Serialize)]
struct Ping {
    build_version: &'static str,
    version: &'static str,
    pid: u32,
    features: [&'static str; 1],
}

impl Ping {
    fn of_this_process() -> Self {
        Self {
            build_version: concat!("v", env!("CARGO_PKG_VERSION")),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            features: ["kvm"],
        }
    }
}

/// Does what the request asks for and answers when it is done.
pub(super) fn dispatch(
    control: &dyn VmmControl,
    method: &str,
    path: &str,
    body: &[u8],
) -> Response {
    let endpoint =
        path.strip_prefix(ROOT).and_then(|name| ENDPOINTS.iter().find(|(known, _)| *known == name));
    let Some((name, action)) = endpoint else {
        return Response::message(Status::NotFound, &format!("no such endpoint: {path}"));
    };
    if method != action.method() {
        let message = format!("{name} is a {} request, not {method}", action.method());
        let response = Response::message(Status::MethodNotAllowed, &message);
        return Response { allow: Some(action.method()), ..response };
    }
    let result = match action {
        Action::Get(get) => sched::at_leisure(|| get(control)),
        Action::Prompt(_) | Action::Put(_) | Action::Resume if !body.is_empty() => {
            return Response::message(Status::BadRequest, &format!("{name} takes no body"));
        }
        Action::Prompt(put) => put(control).map(|()| Response::done()),
        Action::Put(put) => sched::at_leisure(|| put(control)).map(|()| Response::done()),
        Action::Resume => control.resume().map(|wake| Response { wake, ..Response::done() }),
        Action::Body(endpoint) => {
            return sched::at_leisure(|| endpoint.serve(control, name, body));
        }
    };
    result.unwrap_or_else(|error| refuse(&error, action.method()))
}

pub(super) fn refuse(error: &ControlError, method: &'static str) -> Response {
    match error {
        ControlError::NotCreated
        | ControlError::NoSuchDevice { .. }
        | ControlError::NoTransfer
        | ControlError::Moved(_) => Response::error(Status::NotFound, error),
        // What Cloud Hypervisor answers while an unplug is pending.
        ControlError::UnplugPending(_) => Response::error(Status::TooManyRequests, error),
        ControlError::IdTaken(_)
        | ControlError::IdLeaving(_)
        | ControlError::Busy(_)
        | ControlError::InDoubt
        | ControlError::NotInDoubt
        | ControlError::TooLate => Response::error(Status::Conflict, error),
        ControlError::WrongPhase { .. } => {
            let response = Response::error(Status::MethodNotAllowed, error);
            Response { allow: Some(method), ..response }
        }
        ControlError::InvalidConfig(_) => Response::error(Status::BadRequest, error),
        _ => Response::error(Status::InternalServerError, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unplug_that_is_pending_is_too_many_requests() {
        let error = ControlError::UnplugPending("the guest has not let go".to_owned());
        let response = refuse(&error, "PUT");
        assert_eq!(response.status, Status::TooManyRequests);
        let wire = String::from_utf8(response.encode(super::super::response::After::KeepAlive));
        assert!(wire.is_ok_and(|wire| wire.starts_with("HTTP/1.1 429 Too Many Requests\r\n")));
    }
}
