use std::fs::{File, OpenOptions};
use std::io::Write;

use rustix::termios::{LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize};

use super::*;

fn start() -> (HostConsole, PathBuf) {
    let console = HostConsole::start("con-pty", Backend::Pty, None).unwrap();
    let path = console.location().unwrap().to_owned();
    (console, path)
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn both_ways_and_again_by_another_reader() {
    let (console, path) = start();
    let (_device, input) = taker(&console);
    print(&console, b"before anybody reads\r\n");
    for round in 0..3 {
        let mut terminal = open(&path);
        if round == 0 {
            expect_output(&terminal, b"before anybody reads\r\n");
        }
        print(&console, b"\x1b[1mbytes\n\xFF");
        expect_output(&terminal, b"\x1b[1mbytes\n\xFF");
        terminal.write_all(b"\x03keys\r").unwrap();
        expect_input(&input, b"\x03keys\r");
    }
    console.stop();
}

#[test]
fn it_is_raw() {
    let (console, path) = start();
    let mode = tcgetattr(open(&path)).unwrap();
    let local = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    assert!(!mode.local_modes.intersects(local));
    assert!(!mode.output_modes.contains(OutputModes::OPOST));
    console.stop();
}

#[test]
fn nobody_reads() {
    let (console, path) = start();
    let (_device, input) = taker(&console);
    print(&console, &vec![b'x'; FLOOD]);
    assert!(counter(&console, "output_dropped") > 0);
    // Its output is stuck; its input is not.
    open(&path).write_all(b"keys").unwrap();
    expect_input(&input, b"keys");
    let port = Arc::clone(console.port());
    console.stop();
    assert_all_counted(&port, FLOOD);
}

#[test]
fn a_reader_that_comes_late_unblocks_it() {
    let (console, path) = start();
    print(&console, &vec![b'x'; FLOOD]);
    let kept = FLOOD - usize::try_from(counter(&console, "output_dropped")).unwrap();
    let terminal = open(&path);
    expect_output(&terminal, &vec![b'x'; kept]);
    print(&console, b"and on");
    expect_output(&terminal, b"and on");
    console.stop();
}

#[test]
fn its_size_is_told_to_a_new_device_and_with_the_next_key() {
    let (console, path) = start();
    let mut terminal = open(&path);
    let resize = |columns, rows| {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
    };
    resize(100, 40);
    let (_device, sizes) = sized(&console);
    expect_size(&sizes, 100, 40);
    resize(90, 30);
    terminal.write_all(b"x").unwrap();
    expect_size(&sizes, 90, 30);
    console.stop();
}
