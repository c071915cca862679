//! Links over both kinds of sockets.

use std::os::unix::net::UnixListener;

use super::*;
use crate::migration::TransferKind;
use crate::migration::listener::Listener;

fn connect(url: &LinkUrl, transfer: &Transfer) -> Result<Link, LinkError> {
    let links = Way::to(url.clone(), None)?.connect(1, transfer)?;
    Ok(links.into_iter().next().unwrap())
}

fn transfer() -> Transfer {
    Transfer::new(TransferKind::Receive, String::new()).unwrap()
}

#[test]
fn bytes_go_both_ways_over_either_kind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    for url in [LinkUrl::Unix(path.clone()), LinkUrl::Tcp("127.0.0.1:0".to_owned())] {
        let (transfer, listener) = (transfer(), Listener::bind(&url, None).unwrap());
        let mut here = connect(listener.url(), &transfer).unwrap();
        let mut there = listener.party(&transfer).accept().unwrap();
        for (from, to) in [(1, 2), (3, 4)] {
            here.write_all(&[from]).unwrap();
            there.write_all(&[to]).unwrap();
            let mut byte = [0];
            there.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [from]);
            here.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [to]);
        }
    }
    assert!(!path.exists(), "a listener leaves nothing behind");
}

#[test]
fn a_wait_for_connections_and_for_bytes_ends_with_the_transfer() {
    let listener = Listener::bind(&LinkUrl::Tcp("127.0.0.1:0".to_owned()), None).unwrap();
    let transfer = transfer();
    let mut here = connect(listener.url(), &transfer).unwrap();
    let mut party = listener.party(&transfer);
    let mut there = party.accept().unwrap();
    std::thread::scope(|scope| {
        let accept = scope.spawn(|| party.accept().map(drop));
        let read = scope.spawn(|| there.read(&mut [0]).map(|read| (read, there)));
        transfer.end("enough").unwrap();
        assert_eq!(accept.join().unwrap().unwrap_err().to_string(), "enough");
        let (read, mut there) = read.join().unwrap().unwrap();
        assert_eq!(read, 0);
        // The other end is still told why.
        there.write_all(b"why").unwrap();
    });
    let mut told = [0; 3];
    here.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"why");
}

#[test]
fn a_dead_socket_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let url = LinkUrl::Unix(path.clone());
    drop(UnixListener::bind(&path).unwrap());
    let live = Listener::bind(&url, None).unwrap();
    assert!(matches!(Listener::bind(&url, None), Err(LinkError::Exists(_))));
    drop(live);
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(Listener::bind(&url, None), Err(LinkError::Exists(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let error = connect(&LinkUrl::Unix(directory.path().join("nobody")), &transfer()).unwrap_err();
    assert!(error.to_string().contains("is a VMM waiting there?"), "{error}");
}
