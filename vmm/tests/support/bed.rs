//! The real VMM behind its API.
use std::path::PathBuf;
use std::time::Duration;

use vmm::api::ApiServer;
use vmm::control::{Ended, Vmm, VmmOptions, VmmThread};

use super::raw::Client;

/// An answer that takes longer does not come.
const HANG: Duration = Duration::from_mins(2);

/// A VMM with its API.
pub struct Bed {
    pub directory: tempfile::TempDir,
    pub server: ApiServer,
    pub thread: VmmThread,
}

impl Bed {
    pub fn new() -> Self {
        Self::with(VmmOptions::default())
    }

    /// The same, of a VMM with these options.
    pub fn with(options: VmmOptions) -> Self {
        let directory = tempfile::tempdir().expect("a VMM");
        let (vmm, thread) = Vmm::start(options).expect("a VMM");
        let server = ApiServer::start(&directory.path().join("api.sock"), vmm).expect("a VMM");
        Self { directory, server, thread }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    pub fn client(&self) -> Client {
        let client = Client::connect(&self.socket());
        client.set_timeout(HANG);
        client
    }

    /// Ends it by its API.
    pub fn end(self) {
        let _ = self.client().request("PUT", "vmm.shutdown", "");
        assert_eq!(self.thread.wait(), Ended::Requested);
        self.server.stop();
        assert!(!self.directory.path().join("api.sock").exists());
    }
}

/// The embedded guest with this command line, as `vm.create` takes it.
pub fn create(vcpus: u32, cmdline: &str) -> String {
    format!(
        r#"{{"cpus": {{"boot_vcpus": {vcpus}, "max_vcpus": {vcpus}}},
            "memory": {{"size": 67108864}},
            "payload": {{"cmdline": "{cmdline}"}},
            "serial": {{"mode": "Null"}}, "console": {{"mode": "Off"}}}}"#
    )
}
