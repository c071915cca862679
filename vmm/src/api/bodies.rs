//! The requests that have a body: read strictly, checked, handed over.
use super::response::{Response, Status};
use super::routes::refuse;
use crate::config::{
    ConfigError, DiskConfig, LinkUrl, NetConfig, ReceiveMigrationConfig, RemoveDeviceConfig,
    ResizeConfig, ResizeDiskConfig, ResolveConfig, RestoreConfig, SendMigrationConfig,
    SnapshotConfig, VmConfig, VsockConfig,
};
use crate::control::{Added, ControlError, VmmControl};

/// A request with a body.
#[derive(Clone, Copy)]
pub(super) struct Endpoint {
    /// What the body is, for those who send none.
    needs: &'static str,
    serve: fn(&dyn VmmControl, &[u8]) -> Result<Response, Refusal>,
}

/// The body is wrong, or what it asks for is refused.
enum Refusal {
    Body(ConfigError),
    Control(ControlError),
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Body(error)
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl Endpoint {
    /// Answers one request.
    pub(super) fn serve(self, control: &dyn VmmControl, name: &str, body: &[u8]) -> Response {
        if body.is_empty() {
            let message = format!("{name} needs {}", self.needs);
            return Response::message(Status::BadRequest, &message);
        }
        (self.serve)(control, body).unwrap_or_else(|refusal| match refusal {
            Refusal::Body(error) => Response::error(Status::BadRequest, &error),
            Refusal::Control(error) => refuse(&error, "PUT"),
        })
    }
}

pub(super) const CREATE: Endpoint = Endpoint {
    needs: "the configuration of the VM as its body, at least {}",
    serve: |control, body| {
        let config = VmConfig::from_json(body)?;
        config.validate()?;
        done(control.create(config))
    },
};

pub(super) const ADD_DISK: Endpoint = Endpoint {
    needs: "the configuration of the disk as its body, at least {\"path\": …}",
    serve: |control, body| added(control.add_disk(DiskConfig::from_json(body)?)),
};

pub(super) const ADD_NET: Endpoint = Endpoint {
    needs: "the configuration of the network device as its body, at least {}",
    serve: |control, body| added(control.add_net(NetConfig::from_json(body)?)),
};

pub(super) const ADD_VSOCK: Endpoint = Endpoint {
    needs: "the configuration of the vsock as its body: {\"cid\": …, \"socket\": …}",
    serve: |control, body| added(control.add_vsock(VsockConfig::from_json(body)?)),
};

pub(super) const REMOVE_DEVICE: Endpoint = Endpoint {
    needs: "the id of the device as its body: {\"id\": …}",
    serve: |control, body| done(control.remove_device(&RemoveDeviceConfig::from_json(body)?.id)),
};

pub(super) const RESIZE_DISK: Endpoint = Endpoint {
    needs: "disk and size as its body: {\"id\": …, \"desired_size\": …}",
    serve: |control, body| {
        let resize = ResizeDiskConfig::from_json(body)?;
        resize.validate()?;
        done(control.resize_disk(resize))
    },
};

pub(super) const RESIZE: Endpoint = Endpoint {
    needs: "a size as its body: {\"desired_balloon\": …}",
    serve: |control, body| done(control.resize(ResizeConfig::from_json(body)?)),
};

pub(super) const SNAPSHOT: Endpoint = Endpoint {
    needs: "the directory as its body: {\"destination_url\": \"file:///…\"}",
    serve: |control, body| done(control.snapshot(SnapshotConfig::from_json(body)?)),
};

pub(super) const RESTORE: Endpoint = Endpoint {
    needs: "the snapshot as its body: {\"source_url\": \"file:///…\"}",
    serve: |control, body| done(control.restore(RestoreConfig::from_json(body)?)),
};

pub(super) const SEND_MIGRATION: Endpoint = Endpoint {
    needs: "where to as its body: {\"destination_url\": \"unix:/…\"}",
    serve: |control, body| {
        let config = SendMigrationConfig::from_json(body)?;
        config.validate()?;
        // The VMM may end with its VM: nobody could ask it afterwards.
        Ok(Response::json(&control.send_migration(config)?))
    },
};

pub(super) const RECEIVE_MIGRATION: Endpoint = Endpoint {
    needs: "where to wait as its body: {\"receiver_url\": \"unix:/…\"}",
    serve: |control, body| {
        let config = ReceiveMigrationConfig::from_json(body)?;
        let listening = |url: &LinkUrl| tracing::info!("waiting for a VM on {url}");
        done(control.receive_migration(config, &listening))
    },
};

pub(super) const RESOLVE: Endpoint = Endpoint {
    needs: "whose the VM is as its body: {\"resolution\": \"Keep\"} or \"Drop\"",
    serve: |control, body| done(control.migration_resolve(ResolveConfig::from_json(body)?)),
};

fn done(result: Result<(), ControlError>) -> Result<Response, Refusal> {
    result?;
    Ok(Response::done())
}

fn added(result: Result<Added, ControlError>) -> Result<Response, Refusal> {
    Ok(match result? {
        Added::Plugged(device) => Response::json(&device),
        Added::Configured => Response::done(),
    })
}
