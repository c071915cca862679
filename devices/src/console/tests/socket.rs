use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.sock");
    Place { _folder: folder, path }
}

fn start(path: &Path) -> Result<HostConsole, ConsoleError> {
    HostConsole::start("con-socket", Backend::Socket(path.to_owned()), None)
}

#[test]
fn one_client_after_the_other() {
    let place = place();
    let console = start(&place.path).unwrap();
    let (_device, input) = taker(&console);
    print(&console, b"before anybody came");
    let mut first = UnixStream::connect(&place.path).unwrap();
    expect_output(&first, b"before anybody came");
    first.write_all(b"one").unwrap();
    expect_input(&input, b"one");
    // The second waits until the first has gone.
    let mut second = UnixStream::connect(&place.path).unwrap();
    second.write_all(b"two").unwrap();
    print(&console, b"to the first");
    expect_output(&first, b"to the first");
    drop(first);
    expect_input(&input, b"two");
    print(&console, b"to the second");
    expect_output(&second, b"to the second");
    assert_eq!(counter(&console, "clients"), 2);
    console.stop();
    assert!(!place.path.exists());
    // The client sees the end.
    expect_end(&second);
}

fn expect_end(mut stream: &UnixStream) {
    wait_readable(stream);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_client_that_only_sends() {
    let place = place();
    let console = start(&place.path).unwrap();
    let (_device, input) = taker(&console);
    let mut client = UnixStream::connect(&place.path).unwrap();
    client.write_all(b"script").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    expect_input(&input, b"script");
    // It still listens.
    print(&console, b"answer");
    expect_output(&client, b"answer");
    drop(client);
    let next = UnixStream::connect(&place.path).unwrap();
    print(&console, b"next");
    expect_output(&next, b"next");
    console.stop();
}

#[test]
fn what_a_client_sent_before_it_left_arrives() {
    let place = place();
    let console = start(&place.path).unwrap();
    let text: Vec<u8> = (0..250).cycle().take(50_000).collect();
    // No device takes input yet, so that it has to wait in the console.
    let mut client = UnixStream::connect(&place.path).unwrap();
    client.write_all(&text).unwrap();
    drop(client);
    // The next one is let in once the first is done with.
    let next = UnixStream::connect(&place.path).unwrap();
    print(&console, b"next");
    expect_output(&next, b"next");
    let (_device, input) = taker(&console);
    expect_input(&input, &text);
    console.stop();
}

#[test]
fn a_client_that_does_not_read() {
    let place = place();
    let console = start(&place.path).unwrap();
    let (_device, input) = taker(&console);
    let mut client = UnixStream::connect(&place.path).unwrap();
    print(&console, &vec![b'x'; FLOOD]);
    client.write_all(b"keys").unwrap();
    expect_input(&input, b"keys");
    let port = Arc::clone(console.port());
    console.stop();
    assert_all_counted(&port, FLOOD);
}

#[test]
fn a_live_socket_is_not_stolen() {
    let place = place();
    let first = start(&place.path).unwrap();
    let error = start(&place.path).err().unwrap().to_string();
    let path = place.path.display();
    assert_eq!(error, format!("the socket {path} is in use by another process"));
    // It still works.
    print(&first, b"alive");
    expect_output(UnixStream::connect(&place.path).unwrap(), b"alive");
    first.stop();
}

#[test]
fn a_live_socket_with_a_full_queue_is_not_stolen() {
    let place = place();
    let _busy = UnixListener::bind(&place.path).unwrap();
    let mut waiting = Vec::new();
    // Nobody accepts; at some point a connection would have to wait.
    loop {
        match super::super::socket::connect_now(&place.path) {
            Ok(client) => waiting.push(client),
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                break;
            }
        }
    }
    assert!(matches!(start(&place.path), Err(ConsoleError::SocketInUse { .. })));
}

#[test]
fn a_dead_socket_is_taken_over() {
    let place = place();
    drop(UnixListener::bind(&place.path).unwrap());
    assert!(place.path.exists());
    let console = start(&place.path).unwrap();
    drop(UnixStream::connect(&place.path).unwrap());
    console.stop();
    assert!(!place.path.exists());
}

#[test]
fn a_file_in_its_place_is_left_alone() {
    let place = place();
    fs::write(&place.path, "precious").unwrap();
    let error = start(&place.path).err().unwrap().to_string();
    assert!(error.ends_with("exists and is not a socket; name a path that is free"), "{error}");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
}

#[test]
fn a_path_that_is_not_ours_any_more_is_left_alone() {
    let place = place();
    let console = start(&place.path).unwrap();
    fs::remove_file(&place.path).unwrap();
    fs::write(&place.path, "somebody else's").unwrap();
    console.stop();
    assert!(place.path.exists());
}

#[test]
fn a_path_that_is_too_long_is_an_error() {
    let place = place();
    let path = place.path.with_file_name("x".repeat(200));
    assert!(matches!(start(&path), Err(ConsoleError::Socket { .. })));
    assert!(!path.exists());
}

/// Of many that want the same path at once, where a dead socket lies, one gets it.
#[test]
fn only_one_takes_a_dead_socket_over() {
    for _ in 0..20 {
        let place = place();
        drop(UnixListener::bind(&place.path).unwrap());
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| start(&place.path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    }
}
