//! The crate `cloud-hypervisor-client` against an empty VMM behind a socket.
use std::path::Path;

use cloud_hypervisor_client::apis::{DefaultApi, Error};
use cloud_hypervisor_client::models::{
    CpusConfig, DiskConfig, MemoryConfig, PayloadConfig, VmConfig, VmState,
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
    client.pause_vm().await.expect("vm.pause of a paused VM, which is done already");
    assert_eq!(state(client).await, VmState::Paused);
    client.resume_vm().await.expect("vm.resume");
    assert_eq!(state(client).await, VmState::Running);
    client.vmm_nmi_put().await.expect("vm.nmi");
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
