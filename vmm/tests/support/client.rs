//! The crate `cloud-hypervisor-client` against an empty VMM behind a socket.
use std::path::Path;

use cloud_hypervisor_client::apis::{DefaultApi, Error};
use cloud_hypervisor_client::models::{
    BalloonConfig, CpusConfig, DiskConfig, MemoryConfig, MemoryRestoreMode, NetConfig,
    PayloadConfig, ReceiveMigrationData, RestoreConfig, RngConfig, SendMigrationData, VmConfig,
    VmRemoveDevice, VmResize, VmResizeDisk, VmSnapshotConfig, VmState, VsockConfig,
};
use cloud_hypervisor_client::{SocketBasedApiClient, socket_based_api_client};

/// Drives every request of the API, those that are right and those that are not, on a VMM that
/// has no VM, and ends the VMM.
pub fn drive_every_request(socket: &Path) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(drive(&socket_based_api_client(socket)));
}

fn code(result: Result<(), Error>) -> u16 {
    match result {
        Ok(()) => 204,
        Err(Error::Api(error)) => {
            let chain: Vec<String> = serde_json::from_str(&error.body).expect("array of strings");
            assert!(!chain.is_empty() && !chain[0].is_empty(), "{chain:?}");
            error.code.as_u16()
        }
        Err(error) => panic!("{error:?}"),
    }
}

async fn state(client: &SocketBasedApiClient) -> VmState {
    client.vm_info_get().await.expect("vm.info").state
}

async fn drive(client: &SocketBasedApiClient) {
    let ping = client.vmm_ping_get().await.expect("vmm.ping");
    assert!(!ping.version.is_empty());
    assert!(ping.build_version.is_some_and(|version| version.contains(&ping.version)));
    assert!(ping.pid.is_some_and(|pid| pid > 0));
    assert!(ping.features.is_some());

    // Nothing was created yet.
    assert_eq!(code(client.vm_info_get().await.map(drop)), 404);
    assert_eq!(code(client.vm_counters_get().await.map(drop)), 404);
    assert_eq!(code(client.boot_vm().await), 404);
    assert_eq!(code(client.pause_vm().await), 404);
    assert_eq!(code(client.resume_vm().await), 404);
    assert_eq!(code(client.shutdown_vm().await), 404);
    assert_eq!(code(client.reboot_vm().await), 404);
    assert_eq!(code(client.delete_vm().await), 404);
    assert_eq!(code(client.vmm_nmi_put().await), 404);
    assert_eq!(code(client.power_button_vm().await), 404);

    let mut config = VmConfig::new(PayloadConfig::new());
    config.cpus = Some(CpusConfig::new(1, 2));
    config.memory = Some(MemoryConfig::new(64 << 20));
    let mut with_disk = config.clone();
    with_disk.disks = Some(vec![DiskConfig::new()]);
    assert_eq!(code(client.create_vm(with_disk).await), 400);
    let mut without_vcpus = config.clone();
    without_vcpus.cpus = Some(CpusConfig::new(0, 2));
    assert_eq!(code(client.create_vm(without_vcpus).await), 400);
    client.create_vm(config.clone()).await.expect("vm.create");
    assert_eq!(code(client.create_vm(config).await), 500);
    assert_eq!(state(client).await, VmState::Created);
    assert_eq!(code(client.power_button_vm().await), 405);
    assert_eq!(code(client.pause_vm().await), 405);
    assert_eq!(code(client.resume_vm().await), 405);

    client.boot_vm().await.expect("vm.boot");
    assert_eq!(code(client.boot_vm().await), 405);
    let info = client.vm_info_get().await.expect("vm.info");
    assert_eq!(info.state, VmState::Running);
    assert_eq!(info.memory_actual_size, Some(64 << 20));
    let cpus = info.config.cpus.expect("cpus");
    assert_eq!((cpus.boot_vcpus, cpus.max_vcpus), (1, 2));
    assert!(!client.vm_counters_get().await.expect("vm.counters").is_empty());

    assert_eq!(code(client.resume_vm().await), 405);
    client.pause_vm().await.expect("vm.pause");
    assert_eq!(state(client).await, VmState::Paused);
    client.power_button_vm().await.expect("vm.power-button of a paused VM");
    client.pause_vm().await.expect("vm.pause of a paused VM, which is done already");
    assert_eq!(state(client).await, VmState::Paused);
    client.resume_vm().await.expect("vm.resume");
    assert_eq!(state(client).await, VmState::Running);
    client.vmm_nmi_put().await.expect("vm.nmi");
    client.power_button_vm().await.expect("vm.power-button");
    client.reboot_vm().await.expect("vm.reboot");
    assert_eq!(state(client).await, VmState::Running);
    client.shutdown_vm().await.expect("vm.shutdown");
    assert_eq!(state(client).await, VmState::Shutdown);
    assert_eq!(code(client.shutdown_vm().await), 405);
    client.boot_vm().await.expect("vm.boot after vm.shutdown");
    client.delete_vm().await.expect("vm.delete of a running VM");
    assert_eq!(code(client.vm_info_get().await.map(drop)), 404);
    client.shutdown_vmm().await.expect("vmm.shutdown");
}

/// Adds, resizes and removes devices of a VM that `image` can be a disk of, on a VMM that has no VM.
pub fn drive_devices(socket: &Path, image: &Path) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(devices(&socket_based_api_client(socket), image));
}

async fn devices(client: &SocketBasedApiClient, image: &Path) {
    let image = image.to_str().map(str::to_owned);
    let disk = DiskConfig { path: image.clone(), ..DiskConfig::new() };
    assert_eq!(code(client.vm_add_disk_put(disk.clone()).await.map(drop)), 404, "no VM");
    let mut config = VmConfig::new(PayloadConfig::new());
    config.balloon = Some(BalloonConfig::new(0));
    config.rng = Some(RngConfig::new("/dev/urandom".to_owned()));
    config.net = Some(vec![NetConfig { tap: Some("tap-a".to_owned()), ..NetConfig::new() }]);
    client.create_vm(config).await.expect("vm.create");
    client.boot_vm().await.expect("vm.boot");

    let added = client.vm_add_disk_put(disk.clone()).await.expect("vm.add-disk");
    assert_eq!((added.id.as_str(), added.bdf.as_str()), ("_disk1", "0000:00:05.0"));
    assert_eq!(code(client.vm_add_disk_put(disk.clone()).await.map(drop)), 400, "shared");
    assert_eq!(code(client.vm_add_disk_put(DiskConfig::new()).await.map(drop)), 400, "no path");
    let net = NetConfig { id: Some("lan".to_owned()), ..NetConfig::new() };
    assert_eq!(client.vm_add_net_put(net.clone()).await.expect("vm.add-net").id, "lan");
    assert_eq!(code(client.vm_add_net_put(net).await.map(drop)), 409, "the id is taken");
    let vsock = VsockConfig::new(3, "/nowhere/vsock".to_owned());
    let added = client.vm_add_vsock_put(vsock.clone()).await.expect("vm.add-vsock");
    assert_eq!(added.id, "_vsock2");
    assert_eq!(code(client.vm_add_vsock_put(vsock).await.map(drop)), 400, "the second one");

    let info = client.vm_info_get().await.expect("vm.info");
    assert_eq!(info.config.disks.map(|disks| disks[0].path.clone()), Some(image));
    let mut ids: Vec<String> = info.device_tree.expect("a tree").into_keys().collect();
    ids.sort();
    assert_eq!(ids, ["__balloon", "__rng", "_disk1", "_net0", "_vsock2", "lan"]);

    let size = |id: &str| VmResizeDisk { id: Some(id.to_owned()), desired_size: Some(1 << 30) };
    client.vm_resize_disk_put(size("_disk1")).await.expect("vm.resize-disk");
    assert_eq!(code(client.vm_resize_disk_put(size("_net0")).await), 404, "no disk");
    let resize = |vcpus: Option<i32>, balloon: Option<i64>| VmResize {
        desired_vcpus: vcpus,
        desired_balloon: balloon,
        ..VmResize::new()
    };
    client.vm_resize_put(resize(None, Some(1 << 20))).await.expect("vm.resize");
    assert_eq!(code(client.vm_resize_put(resize(Some(7), None)).await), 400, "too many");
    let remove = |id: &str| VmRemoveDevice { id: Some(id.to_owned()) };
    client.vm_remove_device_put(remove("_disk1")).await.expect("vm.remove-device");
    assert_eq!(code(client.vm_remove_device_put(remove("_disk1")).await), 404, "it is gone");
    assert_eq!(code(client.vm_remove_device_put(remove("__rng")).await), 400, "it stays");
    let info = client.vm_info_get().await.expect("vm.info");
    assert_eq!(info.config.disks, None);
    assert_eq!(info.config.balloon.map(|balloon| balloon.size), Some(1 << 20));
}

/// Makes a VM on the first VMM, saves it into `directory`, restores it on the second one, which has none, and sends it back to the first.
pub fn drive_transfers([here, there]: [&Path; 2], directory: &Path) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(transfers([here, there].map(socket_based_api_client), directory));
}

async fn transfers([here, there]: [SocketBasedApiClient; 2], directory: &Path) {
    let path = |name: &str| directory.join(name).to_str().expect("text").to_owned();
    let saved = format!("file://{}", path("snapshot"));
    let save = || VmSnapshotConfig { destination_url: Some(saved.clone()) };
    assert_eq!(code(here.vm_snapshot_put(save()).await), 404, "no VM");
    let mut config = VmConfig::new(PayloadConfig::new());
    config.memory = Some(MemoryConfig::new(64 << 20));
    here.create_vm(config).await.expect("vm.create");
    assert_eq!(code(here.vm_snapshot_put(save()).await), 405, "it does not run");
    here.boot_vm().await.expect("vm.boot");
    assert_eq!(code(here.vm_snapshot_put(VmSnapshotConfig::new()).await), 400, "no directory");
    here.pause_vm().await.expect("vm.pause");
    here.vm_snapshot_put(save()).await.expect("vm.snapshot");
    assert_eq!(state(&here).await, VmState::Paused);
    here.delete_vm().await.expect("vm.delete");

    let restore = RestoreConfig {
        memory_restore_mode: Some(MemoryRestoreMode::OnDemand),
        resume: Some(true),
        ..RestoreConfig::new(saved)
    };
    there.vm_restore_put(restore.clone()).await.expect("vm.restore");
    assert_eq!(state(&there).await, VmState::Running);
    assert_eq!(code(there.vm_restore_put(restore).await), 500, "there is one");

    let socket = path("link");
    let url = format!("unix:{socket}");
    let send = || SendMigrationData {
        downtime_ms: Some(100),
        timeout_s: Some(60),
        ..SendMigrationData::new(url.clone())
    };
    assert_eq!(code(there.vm_send_migration_put(send()).await), 500, "nobody waits");
    let local = SendMigrationData { local: Some(true), ..send() };
    assert_eq!(code(there.vm_send_migration_put(local).await), 500, "nor for its memory");
    let receive = here.vm_receive_migration_put(ReceiveMigrationData::new(url.clone()));
    let receive = tokio::spawn(receive);
    while !Path::new(&socket).exists() {
        tokio::task::yield_now().await;
    }
    there.vm_send_migration_put(send()).await.expect("vm.send-migration");
    receive.await.expect("joined").expect("vm.receive-migration");
    assert_eq!(state(&here).await, VmState::Running);
    assert_eq!(code(there.vm_info_get().await.map(drop)), 404, "it has gone");
}
