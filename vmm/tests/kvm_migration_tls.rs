//! Migrations over TLS between two VMMs of one process, on real KVM. What each end says of a handshake that fails is tested in `migration`.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use embedded::TestVm;
use migration_bed::state;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use stillpoint_guest::layout;
use vmm::config::{ReceiveMigrationConfig, SendMigrationConfig};
use vmm::control::{VmState, VmmControl};

/// The files of both roles, for this host.
fn tls_directory(directory: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca-cert.pem"), issuer.pem()).unwrap();
    for (role, purpose) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(format!("{role}-cert.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{role}-key.pem")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn a_vm_goes_over_tls_with_one_connection_or_four_and_others_are_not_let_in() {
    let (directory, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tls_directory(directory.path());
    tls_directory(others.path());
    for connections in [1, 4] {
        let vm = TestVm::boot(1, "mode=busy quiet");
        let arrived = TestVm::none_yet(1);
        let config = ReceiveMigrationConfig {
            tls_dir: Some(directory.path().to_owned()),
            ..ReceiveMigrationConfig::on("tcp:127.0.0.1:0")
        };
        let (listens, listening) = channel();
        let vmm = Arc::clone(&arrived.vmm);
        let received = std::thread::spawn(move || {
            vmm.receive_migration(config, &|url| drop(listens.send(url.to_string())))
        });
        let url = listening.recv().unwrap();
        let to = |tls_dir: Option<&Path>, url: &str| SendMigrationConfig {
            connections,
            tls_dir: tls_dir.map(Path::to_owned),
            ..SendMigrationConfig::to(url)
        };
        // Each of these leaves the VM here, and the destination waiting.
        let elsewhere = url.replace("127.0.0.1", "localhost");
        let missing = directory.path().join("missing");
        for (config, told) in [
            (to(None, &url), "it demands TLS"),
            (to(Some(others.path()), &url), "ca-cert.pem"),
            (to(Some(directory.path()), &elsewhere), "it is not for the host localhost"),
            (to(Some(&missing), &url), "missing/ca-cert.pem: No such file"),
        ] {
            let error = vm.vmm.send_migration(config).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(state(&vm), Some(VmState::Running));
        }
        vm.vmm.send_migration(to(Some(directory.path()), &url)).unwrap();
        received.join().unwrap().unwrap();
        assert_eq!((state(&vm), state(&arrived)), (None, Some(VmState::Running)));
        arrived.await_progress(layout::LINE_HEARTBEAT);
        assert_eq!(arrived.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
    }
}
