//! What may be asked for, and what is told of what may not.

use super::*;

#[test]
fn what_is_left_out_is_as_usual_and_nonsense_is_told() {
    let json = br#"{"destination_url": "unix:/x"}"#;
    let usual = SendMigrationConfig::from_json(json).unwrap();
    assert_eq!(usual, SendMigrationConfig::to("unix:/x"));
    usual.validate().unwrap();
    let wrong = [
        (SendMigrationConfig { downtime_ms: 0, ..usual.clone() }, "downtime_ms"),
        (SendMigrationConfig { timeout_s: 0, ..usual.clone() }, "timeout_s"),
        (SendMigrationConfig { connections: 0, ..usual.clone() }, "connections 0"),
        (SendMigrationConfig { connections: 65, ..usual.clone() }, "1 to 64"),
        (SendMigrationConfig::to("/x"), "destination_url"),
        (SendMigrationConfig { tls_dir: Some("/x".into()), ..usual.clone() }, "tcp:host:port"),
        (SendMigrationConfig { local: true, ..SendMigrationConfig::to("tcp:h:1") }, "unix:/path"),
        (SendMigrationConfig { local: true, connections: 2, ..usual.clone() }, "connections 2"),
        (
            SendMigrationConfig { local: true, compression: PageCompression::Lz4, ..usual.clone() },
            "compression",
        ),
    ];
    for (config, named) in wrong {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let later = br#"{"destination_url": "unix:/x", "memory_mode": "postcopy", "connections": 61}"#;
    let later = SendMigrationConfig::from_json(later).unwrap();
    later.validate().unwrap();
    assert_eq!((later.precopy_rounds, later.all_connections()), (1, 64));
    let error = SendMigrationConfig { connections: 62, ..later }.validate().unwrap_err();
    assert!(error.to_string().contains("1 to 61"), "{error}");
    let idle = br#"{"destination_url": "unix:/x", "local": false}"#;
    assert_eq!(SendMigrationConfig::from_json(idle).unwrap(), usual);
    let json = br#"{"destination_url": "tcp:h:1", "tls_dir": "/x"}"#;
    let tls =
        SendMigrationConfig { tls_dir: Some("/x".into()), ..SendMigrationConfig::to("tcp:h:1") };
    assert_eq!(SendMigrationConfig::from_json(json).unwrap(), tls);
    tls.validate().unwrap();
    let json = br#"{"receiver_url": "unix:/x", "tls_dir": "/x"}"#;
    let receive = ReceiveMigrationConfig::from_json(json).unwrap();
    assert!(receive.validate().unwrap_err().to_string().contains("TLS is for tcp"));
}
