//! Directories that are not as they should be: the error names the file, and what would be right.

use migration::tls::{TlsClient, TlsServer};

use crate::directories::{Authority, Directory, Odd};

/// What each end says of a directory, or nothing.
fn said(directory: &Directory) -> (Option<String>, Option<String>) {
    let client = TlsClient::load(directory.path()).err().map(|error| error.to_string());
    let server = TlsServer::load(directory.path()).err().map(|error| error.to_string());
    (client, server)
}

#[test]
fn a_file_that_is_missing_is_named_with_those_that_are_needed_by_the_end_that_needs_it() {
    let authority = Authority::new("ours");
    for (name, client_needs, server_needs) in [
        ("ca-cert.pem", true, true),
        ("client-cert.pem", true, false),
        ("client-key.pem", true, false),
        ("server-cert.pem", false, true),
        ("server-key.pem", false, true),
    ] {
        let directory = Directory::of(&authority);
        std::fs::remove_file(directory.file(name)).unwrap();
        let (client, server) = said(&directory);
        assert_eq!((client.is_some(), server.is_some()), (client_needs, server_needs), "{name}");
        for (error, needs) in [(client, "client-key.pem"), (server, "server-key.pem")] {
            let Some(error) = error else { continue };
            assert!(error.contains(&format!("/{name}: No such file")), "{error}");
            assert!(error.contains(needs), "{error}");
        }
    }
}

#[test]
fn a_file_with_something_else_in_it_is_named() {
    let authority = Authority::new("ours");
    for (name, what) in [
        ("ca-cert.pem", "no certificate in it"),
        ("client-cert.pem", "no certificate in it"),
        ("client-key.pem", "no private key in it"),
    ] {
        let directory = Directory::of(&authority);
        directory.put(name, "hello\n");
        let error = said(&directory).0.unwrap();
        assert!(error.contains(&format!("/{name}: there is {what}")), "{error}");
        let damaged = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        directory.put(name, damaged);
        let error = said(&directory).0.unwrap();
        assert!(error.contains(name), "{error}");
    }
    let directory = Directory::of(&authority);
    directory.put("server-cert.pem", &"x".repeat((1 << 20) + 1));
    let error = said(&directory).1.unwrap();
    assert!(error.contains("server-cert.pem: it is longer than 1 MiB"), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_told_with_both_names() {
    let authority = Authority::new("ours");
    let (directory, other) = (Directory::of(&authority), Directory::of(&authority));
    for name in ["client-key.pem", "server-key.pem"] {
        std::fs::copy(other.file(name), directory.file(name)).unwrap();
    }
    let (client, server) = said(&directory);
    for (error, role) in [(client.unwrap(), "client"), (server.unwrap(), "server")] {
        assert!(error.contains(&format!("/{role}-key.pem cannot be used with ")), "{error}");
        assert!(error.contains(&format!("/{role}-cert.pem: ")), "{error}");
    }
}

#[test]
fn a_certificate_that_nobody_would_accept_is_told_before_anything_is_sent() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    for (odd, told) in [(Odd::Expired, "it has expired "), (Odd::Early, "it is valid in ")] {
        let directory = Directory::of(&authority);
        directory.client(&authority, odd);
        directory.server(&authority, &["localhost"], odd);
        let (client, server) = said(&directory);
        for (error, role) in [(client.unwrap(), "client"), (server.unwrap(), "server")] {
            assert!(error.contains(&format!("/{role}-cert.pem: {told}")), "{error}");
        }
    }
    let directory = Directory::of(&authority);
    directory.trust(&other);
    let (client, server) = said(&directory);
    for (error, role) in [(client.unwrap(), "client"), (server.unwrap(), "server")] {
        assert!(error.contains(&format!("/{role}-cert.pem: it was not issued by")), "{error}");
        assert!(error.contains("/ca-cert.pem"), "{error}");
    }
    // Each for the other's purpose.
    let directory = Directory::of(&authority);
    for kind in ["cert", "key"] {
        let [client, server] = ["client", "server"].map(|role| format!("{role}-{kind}.pem"));
        std::fs::rename(directory.file(&client), directory.file("kept")).unwrap();
        std::fs::rename(directory.file(&server), directory.file(&client)).unwrap();
        std::fs::rename(directory.file("kept"), directory.file(&server)).unwrap();
    }
    let (client, server) = said(&directory);
    for error in [client.unwrap(), server.unwrap()] {
        assert!(error.contains("made for another purpose"), "{error}");
    }
}
