//! Which VM a command is for.
use std::path::PathBuf;

use crate::args::Target;
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::names;

/// A VM that a command was given for.
#[derive(Debug)]
pub struct Found {
    /// Its name, or its socket's.
    pub name: String,
    /// Where its API is.
    pub socket: PathBuf,
    /// A connection to it.
    pub client: Client,
}

impl Found {
    /// Puts the VM's name before what it refused.
    pub fn failure(&self, error: &ClientError) -> Failure {
        Failure::of(&self.name, error)
    }
}

/// Finds the VM and connects to it.
pub fn find(target: &Target) -> Result<Found, Failure> {
    let (name, socket) = match (&target.name, &target.api_socket) {
        (_, Some(socket)) => (socket.display().to_string(), socket.clone()),
        (Some(name), None) => (name.clone(), names::socket_of(name)?),
        (None, None) => return the_only_one(),
    };
    match Client::connect(&socket) {
        Ok(client) => Ok(Found { name, socket, client }),
        Err(ClientError::NotRunning(_)) if target.name.is_some() => {
            Err(Failure::Failed(format!("no VM named {name:?} runs; {}", those_that_run()?)))
        }
        Err(error) => Err(error.into()),
    }
}

fn live() -> Result<Vec<Found>, Failure> {
    let mut live = Vec::new();
    for socket in names::sockets()? {
        match Client::connect(&socket) {
            Ok(client) => live.push(Found { name: names::name_of(&socket), socket, client }),
            Err(ClientError::NotRunning(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(live)
}

fn the_only_one() -> Result<Found, Failure> {
    let mut live = live()?;
    match (live.pop(), live.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Failure::Failed("no VM runs".to_owned())),
        (Some(_), false) => {
            Err(Failure::Usage(format!("several VMs run, say which: {}", those_that_run()?)))
        }
    }
}

fn those_that_run() -> Result<String, Failure> {
    let names: Vec<String> = live()?.into_iter().map(|found| found.name).collect();
    Ok(if names.is_empty() {
        "none does".to_owned()
    } else {
        format!("running: {}", names.join(", "))
    })
}
