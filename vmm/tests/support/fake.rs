//! A VMM without a VM: the phases and their rules, nothing behind them. For the API's tests, and for its fuzz target.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use vmm::config::{
    ConfigError, DiskConfig, LinkUrl, NetConfig, ReceiveMigrationConfig, Removal, ResizeConfig,
    ResizeDiskConfig, ResolveConfig, RestoreConfig, SendMigrationConfig, SnapshotConfig, VmConfig,
    VsockConfig, file_url, link_url,
};
use vmm::control::{
    Added, ControlError, Counters, PciBdf, PciDeviceInfo, VcpuInfo, VmInfo, VmState, VmmControl,
    Wake, device_tree,
};
use vmm::migration::{TransferInfo, TransferKind, TransferState};

/// Shared by the API under test and the test.
#[derive(Default)]
pub struct FakeVmm {
    vm: ArcSwap<Option<(VmConfig, VmState)>>,
    /// Requests for the end of the VMM.
    pub shutdowns: AtomicU64,
    /// NMIs sent.
    pub nmis: AtomicU64,
    /// Presses of the power button.
    pub power_buttons: AtomicU64,
    /// Pauses that succeeded.
    pub pauses: AtomicU64,
    /// Requests about a VM.
    pub calls: AtomicU64,
    /// A command line at which the creation of a VM panics.
    forbidden: Option<&'static str>,
}

impl FakeVmm {
    /// One at which the creation of a VM with this command line panics.
    pub fn with_forbidden(cmdline: &'static str) -> Self {
        Self { forbidden: Some(cmdline), ..Self::default() }
    }

    /// The configuration of the VM, if there is one.
    pub fn config(&self) -> Option<VmConfig> {
        Option::clone(&self.vm.load()).map(|(config, _)| config)
    }

    fn vm(&self) -> Result<(VmConfig, VmState), ControlError> {
        // Each request looks once.
        self.calls.fetch_add(1, Ordering::SeqCst);
        Option::clone(&self.vm.load()).ok_or(ControlError::NotCreated)
    }

    /// Moves from one of the phases `from` to `to`.
    fn change(
        &self,
        action: &'static str,
        from: &[VmState],
        needed: &'static str,
        to: VmState,
    ) -> Result<(), ControlError> {
        let (config, state) = self.vm()?;
        if !from.contains(&state) {
            return Err(ControlError::WrongPhase { action, state, needed });
        }
        self.vm.store(Arc::new(Some((config, to))));
        Ok(())
    }

    /// Adds a device; a VM that runs has it in slot 5.
    fn add(
        &self,
        change: impl FnOnce(&VmConfig) -> Result<(VmConfig, String), ConfigError>,
    ) -> Result<Added, ControlError> {
        let (config, state) = self.vm()?;
        let (config, id) = change(&config)?;
        assert!(config.device_ids().contains(&id), "{id} is not in {config:?}");
        self.vm.store(Arc::new(Some((config, state))));
        Ok(match state {
            VmState::Created | VmState::Shutdown => Added::Configured,
            VmState::Running | VmState::Paused => {
                let bdf = PciBdf { segment: 0, bus: 0, device: 5, function: 0 };
                Added::Plugged(PciDeviceInfo { id, bdf })
            }
        })
    }
}

impl VmmControl for FakeVmm {
    fn create(&self, mut config: VmConfig) -> Result<(), ControlError> {
        let forbidden =
            self.forbidden.is_some() && config.payload.cmdline.as_deref() == self.forbidden;
        assert!(!forbidden, "asked to panic");
        config.validate().expect("the API has validated it");
        if self.vm().is_ok() {
            return Err(ControlError::AlreadyCreated);
        }
        config.name_devices();
        self.vm.store(Arc::new(Some((config, VmState::Created))));
        Ok(())
    }

    fn boot(&self) -> Result<(), ControlError> {
        let from = [VmState::Created, VmState::Shutdown];
        self.change("boot", &from, "Created or Shutdown", VmState::Running)
    }

    fn pause(&self) -> Result<(), ControlError> {
        let from = [VmState::Running, VmState::Paused];
        self.change("pause", &from, "Running or Paused", VmState::Paused)?;
        self.pauses.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn resume(&self) -> Result<Wake, ControlError> {
        self.change("resume", &[VmState::Paused], "Paused", VmState::Running)?;
        Ok(Wake::none())
    }

    fn shutdown(&self) -> Result<(), ControlError> {
        let from = [VmState::Running, VmState::Paused];
        self.change("shut down", &from, "Running or Paused", VmState::Shutdown)
    }

    fn reboot(&self) -> Result<(), ControlError> {
        let from = [VmState::Running, VmState::Paused];
        self.change("reboot", &from, "Running or Paused", VmState::Running)
    }

    fn delete(&self) -> Result<(), ControlError> {
        self.vm()?;
        self.vm.store(Arc::new(None));
        Ok(())
    }

    fn nmi(&self) -> Result<(), ControlError> {
        self.change("send an NMI to", &[VmState::Running], "Running", VmState::Running)?;
        self.nmis.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn power_button(&self) -> Result<(), ControlError> {
        let (_, state) = self.vm()?;
        match state {
            VmState::Running | VmState::Paused => {
                self.power_buttons.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            VmState::Created | VmState::Shutdown => {
                let (action, needed) = ("press the power button of", "Running or Paused");
                Err(ControlError::WrongPhase { action, state, needed })
            }
        }
    }

    fn add_disk(&self, disk: DiskConfig) -> Result<Added, ControlError> {
        self.add(|config| config.with_disk(disk, &BTreeSet::new()))
    }

    fn add_net(&self, net: NetConfig) -> Result<Added, ControlError> {
        self.add(|config| config.with_net(net, &BTreeSet::new()))
    }

    fn add_vsock(&self, vsock: VsockConfig) -> Result<Added, ControlError> {
        self.add(|config| config.with_vsock(vsock, &BTreeSet::new()))
    }

    fn remove_device(&self, id: &str) -> Result<(), ControlError> {
        let (config, state) = self.vm()?;
        match config.without_device(id) {
            Removal::Removed(changed) => self.vm.store(Arc::new(Some((*changed, state)))),
            Removal::Fixed => return Err(ControlError::InvalidConfig(format!("{id} stays"))),
            Removal::Unknown => return Err(ControlError::no_device(id, config.device_ids())),
        }
        Ok(())
    }

    fn resize_disk(&self, resize: ResizeDiskConfig) -> Result<(), ControlError> {
        let (config, _) = self.vm()?;
        let known = config.disk(&resize.id).map(drop);
        known.ok_or_else(|| ControlError::no_device(&resize.id, config.device_ids()))
    }

    fn resize(&self, resize: ResizeConfig) -> Result<(), ControlError> {
        let (config, state) = self.vm()?;
        let config = config.resized(&resize)?;
        self.vm.store(Arc::new(Some((config, state))));
        Ok(())
    }

    fn info(&self) -> Result<VmInfo, ControlError> {
        let (config, state) = self.vm()?;
        let vcpu = |index| VcpuInfo {
            index,
            word: 3,
            state: "RUN|IN_GUEST epoch=0".to_owned(),
            hotplug: None,
        };
        Ok(VmInfo {
            memory_actual_size: config.memory.size,
            memory_missing_bytes: None,
            memory_hotplug: None,
            device_tree: device_tree(&config, &BTreeMap::new()),
            vcpus: (0..config.cpus.boot_vcpus).map(vcpu).collect(),
            config,
            state,
            name: None,
            last_error: None,
            last_pause_us: None,
            last_resume_us: None,
            boot_us: None,
            pid: std::process::id(),
        })
    }

    fn counters(&self) -> Result<Counters, ControlError> {
        self.vm()?;
        let exits = BTreeMap::from([("exits_hlt".to_owned(), 7), ("exits_io_in".to_owned(), 9)]);
        Ok(BTreeMap::from([("vcpus".to_owned(), exits)]))
    }

    fn snapshot(&self, config: SnapshotConfig) -> Result<(), ControlError> {
        let (_, state) = self.vm()?;
        if !matches!(state, VmState::Running | VmState::Paused) {
            let (action, needed) = ("take a snapshot of", "Running or Paused");
            return Err(ControlError::WrongPhase { action, state, needed });
        }
        file_url("destination_url", &config.destination_url)?;
        Ok(())
    }

    fn restore(&self, config: RestoreConfig) -> Result<(), ControlError> {
        if self.vm().is_ok() {
            return Err(ControlError::AlreadyCreated);
        }
        file_url("source_url", &config.source_url)?;
        let state = if config.resume { VmState::Running } else { VmState::Paused };
        self.vm.store(Arc::new(Some((VmConfig::default(), state))));
        Ok(())
    }

    fn send_migration(&self, config: SendMigrationConfig) -> Result<TransferInfo, ControlError> {
        self.vm()?;
        config.validate()?;
        self.vm.store(Arc::new(None));
        Ok(TransferInfo {
            kind: TransferKind::Send,
            state: TransferState::Completed,
            place: config.destination_url,
            elapsed_ms: 1,
            memory_bytes: 0,
            done_bytes: 0,
            iteration: 1,
            remaining_bytes: 0,
            bandwidth: 0,
            dirty_rate: 0,
            throttle_percent: 0,
            expected_downtime_us: None,
            eta_ms: None,
            downtime: None,
            error: None,
        })
    }

    fn receive_migration(
        &self,
        config: ReceiveMigrationConfig,
        listening: &(dyn Fn(&LinkUrl) + Sync),
    ) -> Result<(), ControlError> {
        if self.vm().is_ok() {
            return Err(ControlError::AlreadyCreated);
        }
        listening(&link_url("receiver_url", &config.receiver_url)?);
        self.vm.store(Arc::new(Some((VmConfig::default(), VmState::Running))));
        Ok(())
    }

    fn migration_progress(&self) -> Result<TransferInfo, ControlError> {
        Err(ControlError::NoTransfer)
    }

    fn migration_cancel(&self) -> Result<(), ControlError> {
        Err(ControlError::NoTransfer)
    }

    fn migration_resolve(&self, _: ResolveConfig) -> Result<(), ControlError> {
        Err(ControlError::NotInDoubt)
    }

    fn vmm_shutdown(&self) -> Result<(), ControlError> {
        self.shutdowns.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
