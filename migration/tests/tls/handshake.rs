//! Both ends of a handshake, and what each says of one that fails.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use migration::tls::{TlsClient, TlsError, TlsServer, TlsStream};

use crate::directories::{Authority, Directory, Odd};

pub const PATIENCE: Duration = Duration::from_mins(1);

type Shaken = Result<TlsStream<UnixStream>, TlsError>;

/// Shakes hands over a pair of sockets; the source calls the destination `host`.
pub fn shake(client: &TlsClient, server: &TlsServer, host: &str) -> (Shaken, Shaken) {
    let (here, there) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let accepted = scope.spawn(|| server.accept(there, PATIENCE));
        let connected = client.connect(here, host).and_then(|mut stream| {
            stream.complete(PATIENCE)?;
            Ok(stream)
        });
        (connected, accepted.join().unwrap())
    })
}

/// What the source and the destination say.
fn said((client, server): (Shaken, Shaken)) -> (String, String) {
    (client.unwrap_err().to_string(), server.unwrap_err().to_string())
}

#[test]
fn two_ends_of_one_authority_know_each_other() {
    let authority = Authority::new("ours");
    // Two hosts: neither has the other's files.
    let (source, destination) = (Directory::of(&authority), Directory::of(&authority));
    let client = TlsClient::load(source.path()).unwrap();
    let server = TlsServer::load(destination.path()).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let (client, server) = shake(&client, &server, host);
        let (client, server) = (client.unwrap(), server.unwrap());
        assert!(!client.peer().is_empty() && !server.peer().is_empty());
        assert_ne!(client.peer(), server.peer());
    }
}

#[test]
fn a_host_that_the_certificate_is_not_for_is_refused_with_those_that_it_is_for() {
    let directory = Directory::of(&Authority::new("ours"));
    let client = TlsClient::load(directory.path()).unwrap();
    let server = TlsServer::load(directory.path()).unwrap();
    for host in ["other", "10.1.2.3"] {
        let (source, destination) = said(shake(&client, &server, host));
        let told = format!("it is not for the host {host}; it is for: ");
        assert!(source.contains(&told) && source.contains("localhost"), "{source}");
        assert!(destination.contains("does not accept this end's certificate"), "{destination}");
        assert!(destination.contains("not valid for that host"), "{destination}");
    }
}

#[test]
fn an_issuer_that_the_other_end_does_not_know_is_told_at_both_ends() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (source, destination) = (Directory::of(&ours), Directory::of(&theirs));
    let client = TlsClient::load(source.path()).unwrap();
    let server = TlsServer::load(destination.path()).unwrap();
    let (here, there) = said(shake(&client, &server, "localhost"));
    assert!(here.contains("it was not issued by any of those in ca-cert.pem"), "{here}");
    assert!(there.contains("its ca-cert.pem is not of who issued this one"), "{there}");
    // The source accepts the destination, which does not accept the source.
    let both = Directory::of(&theirs);
    both.client(&ours, Odd::Nothing);
    let trusted = [Directory::of(&ours), Directory::of(&theirs)]
        .map(|directory| std::fs::read_to_string(directory.file("ca-cert.pem")).unwrap());
    both.put("ca-cert.pem", &trusted.concat());
    let client = TlsClient::load(both.path()).unwrap();
    let (here, there) = said(shake(&client, &server, "localhost"));
    assert!(here.contains("its ca-cert.pem is not of who issued this one"), "{here}");
    assert!(there.contains("it was not issued by any of those in ca-cert.pem"), "{there}");
}
