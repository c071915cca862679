//! What TLS costs: the same migration over TCP on the loopback interface, in plain text and encrypted.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::{Value, json};

use super::vm::Process;
use super::{Doing, Plan, cell};
use crate::pace;
use crate::report::{Column, Table};

const LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_micros(200);

/// One migration: how long it took, and what was sent.
struct Turn {
    total: Duration,
    sent: f64,
}

pub(super) fn measure(plan: &Plan) -> Result<Table> {
    let directory = tempfile::tempdir().context("cannot make a directory for certificates")?;
    certify(directory.path())?;
    let mut table = Table::new(vec![
        Column::text("case"),
        Column::number("connections"),
        Column::number("in total").under("ms"),
        Column::number("MiB/s"),
    ]);
    for connections in [1, 2] {
        for (name, tls) in [("plain", None), ("TLS", Some(directory.path()))] {
            let turns = (0..plan.turns).map(|_| migrate(plan, connections, tls));
            let turns = turns.collect::<Result<Vec<_>>>()?;
            let of = |number: &dyn Fn(&Turn) -> f64| turns.iter().map(number).collect::<Vec<_>>();
            let speed = |turn: &Turn| turn.sent / f64::from(1 << 20) / turn.total.as_secs_f64();
            table.row(vec![
                format!("{}, {name}", Doing::Filled.name()),
                connections.to_string(),
                cell(of(&|turn| turn.total.as_secs_f64() * 1e3), 1),
                cell(of(&speed), 0),
            ]);
        }
    }
    Ok(table)
}

fn migrate(plan: &Plan, connections: u16, tls: Option<&Path>) -> Result<Turn> {
    let mut source = Process::run(&plan.stillpoint, Doing::Filled)?;
    let mut destination = Process::serve(&plan.stillpoint)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("tcp:127.0.0.1:{port}");
    let with_tls = |mut body: Value| {
        if let Some(directory) = tls {
            body["tls_dir"] = json!(directory);
        }
        body
    };
    let receiving = with_tls(json!({ "receiver_url": url }));
    let receiver =
        std::thread::spawn(move || destination.put("vm.receive-migration", &receiving).map(drop));
    pace::until("the destination to listen", LOOK, LIMIT, || Ok(is_open(port)?.then_some(())))?;
    let body = with_tls(json!({ "destination_url": url, "connections": connections }));
    let (total, answer) = source.put("vm.send-migration", &body)?;
    match receiver.join() {
        Ok(received) => received?,
        Err(_) => bail!("the receiver panicked"),
    }
    let sent = answer["done_bytes"].as_f64().context("the answer does not say what was sent")?;
    Ok(Turn { total, sent })
}

/// Whether somebody listens on a port, without connecting (proc(5), /proc/net/tcp).
fn is_open(port: u16) -> Result<bool> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").context("/proc/net/tcp")?;
    let place = format!(":{port:04X}");
    let mut fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(fields.any(|fields| fields.len() > 3 && fields[1].ends_with(&place) && fields[3] == "0A"))
}

/// A TLS directory for both ends.
fn certify(directory: &Path) -> Result<()> {
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(directory.join("ca-cert.pem"), issuer.pem())?;
    for (role, purpose) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        std::fs::write(directory.join(format!("{role}-cert.pem")), certificate.pem())?;
        std::fs::write(directory.join(format!("{role}-key.pem")), key.serialize_pem())?;
    }
    Ok(())
}
