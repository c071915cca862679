use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::*;

#[test]
fn both_ways() {
    let (console, mut keys, screen) = on_pipes(None);
    let (_device, input) = taker(&console);
    print(&console, b"hello");
    expect_output(&screen, b"hello");
    keys.write_all(b"world").unwrap();
    expect_input(&input, b"world");
    console.stop();
}

#[test]
fn a_stop_writes_what_is_left() {
    let (console, _keys, mut screen) = on_pipes(None);
    let text: Vec<u8> = (0..250).cycle().take(80_000).collect();
    // A pipe takes at least half of its 65,536 bytes, in whatever pieces they come, and no
    // more than all. So the first part goes out and some of the second waits for a reader.
    let (first, second) = text.split_at(20_000);
    print(&console, first);
    while counter(&console, "output_bytes") < first.len() as u64 {
        std::thread::yield_now();
    }
    print(&console, second);
    let port = Arc::clone(console.port());
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        screen.read_to_end(&mut got).unwrap();
        got
    });
    console.stop();
    assert!(reader.join().unwrap() == text);
    assert_eq!(counter(&*port, "output_dropped"), 0);
}

#[test]
fn stuck_output_does_not_stop_the_escape() {
    let (escape, escaped) = channel();
    let (console, mut keys, _screen) = on_pipes(Some(Box::new(Escape(escape))));
    let (_device, input) = taker(&console);
    print(&console, &vec![b'x'; FLOOD]);
    assert!(counter(&console, "output_dropped") > 0);
    keys.write_all(b"a!b").unwrap();
    escaped.recv_timeout(NEVER).unwrap();
    expect_input(&input, b"ab");
    let port = Arc::clone(console.port());
    console.stop();
    assert_all_counted(&port, FLOOD);
}

#[test]
fn a_stuck_guest_does_not_stop_the_escape() {
    let (escape, escaped) = channel();
    let (console, mut keys, _screen) = on_pipes(Some(Box::new(Escape(escape))));
    let device = Arc::new(Stuck);
    console.port().attach(&device);
    keys.write_all(&vec![b'k'; 200_000]).unwrap();
    keys.write_all(b"!").unwrap();
    escaped.recv_timeout(NEVER).unwrap();
    let port = Arc::clone(console.port());
    console.stop();
    assert_eq!(counter(&*port, "input_dropped"), 200_000 - (64 << 10));
}

#[test]
fn input_waits_for_a_device_and_survives_a_reboot() {
    let (console, mut keys, _screen) = on_pipes(None);
    keys.write_all(b"early").unwrap();
    let (first, input) = taker(&console);
    expect_input(&input, b"early");
    drop(first);
    // While the machine is down.
    keys.write_all(b"between").unwrap();
    let (_second, input) = taker(&console);
    expect_input(&input, b"between");
    let port = Arc::clone(console.port());
    console.stop();
    assert_eq!(counter(&*port, "input_bytes"), 12);
}

#[test]
fn the_end_of_input_is_not_the_end_of_output() {
    let (console, keys, screen) = on_pipes(None);
    drop(keys);
    for _ in 0..3 {
        print(&console, b"still here");
        expect_output(&screen, b"still here");
    }
    console.stop();
}

#[test]
fn nobody_reads_any_more() {
    let (console, mut keys, screen) = on_pipes(None);
    let (_device, input) = taker(&console);
    drop(screen);
    print(&console, &vec![b'x'; FLOOD]);
    keys.write_all(b"keys").unwrap();
    expect_input(&input, b"keys");
    let port = Arc::clone(console.port());
    console.stop();
    assert_eq!(counter(&*port, "output_bytes"), 0);
    assert_eq!(counter(&*port, "output_dropped"), FLOOD as u64);
}

/// Pipes are opened anew, so whoever shares them never sees them non-blocking. A socket cannot
/// be, so it is afterwards as it was before.
#[test]
fn descriptors_that_others_share_are_not_changed() {
    let (input, _keys) = std::io::pipe().unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    let shared = (input.try_clone().unwrap(), here.try_clone().unwrap());
    let backend = Backend::Terminal { input: input.into(), output: here.into(), resized: None };
    let console = HostConsole::start("con-test", backend, None).unwrap();
    assert!(!fcntl_getfl(&shared.0).unwrap().contains(OFlags::NONBLOCK));
    print(&console, b"through a socket");
    expect_output(&there, b"through a socket");
    console.stop();
    assert!(!fcntl_getfl(&shared.1).unwrap().contains(OFlags::NONBLOCK));
}

/// A regular file keeps the position that it was handed in with.
#[test]
fn output_to_a_regular_file_goes_on_where_it_was() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before ").unwrap();
    let backend = Backend::Terminal {
        input: std::fs::File::open("/dev/null").unwrap().into(),
        output: file.try_clone().unwrap().into(),
        resized: None,
    };
    let console = HostConsole::start("con-test", backend, None).unwrap();
    print(&console, b"and after");
    console.stop();
    let mut text = [0; 16];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut text, 0).unwrap();
    assert_eq!(&text, b"before and after");
}

/// Output that comes at any instant while the console is about to fall asleep: every byte is
/// written without another one pushing it out.
#[test]
fn no_wake_up_is_lost() {
    let console = HostConsole::start("con-test", Backend::File("/dev/null".into()), None).unwrap();
    for round in 1..=100_000_u64 {
        let start = Instant::now();
        print(&console, b"x");
        while counter(&console, "output_bytes") < round {
            assert!(start.elapsed() < NEVER, "byte {round} was forgotten");
            std::thread::yield_now();
        }
        // A delay of another length each time.
        for _ in 0..round % 256 {
            std::hint::spin_loop();
        }
    }
    console.stop();
}

#[test]
fn its_size_is_told_when_a_sign_comes() {
    let (master, slave) = terminal();
    let (resized, mut sign) = std::io::pipe().unwrap();
    let (input, output) = (slave.try_clone().unwrap(), slave.try_clone().unwrap());
    let backend = Backend::Terminal { input, output, resized: Some(resized.into()) };
    let console = HostConsole::start("con-test", backend, None).unwrap();
    let (_device, sizes) = sized(&console);
    for (columns, rows) in [(80, 24), (132, 50)] {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
        sign.write_all(b"!").unwrap();
        expect_size(&sizes, columns, rows);
    }
    // Without anybody who could give a sign the console goes on.
    drop(sign);
    print(&console, b"still here");
    expect_output(&master, b"still here");
    console.stop();
}

/// A person's end of a terminal, and the program's.
fn terminal() -> (std::fs::File, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    (master.into(), slave)
}
