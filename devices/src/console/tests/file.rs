use std::fs;

use super::*;

#[test]
fn output_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let text: Vec<u8> = (b'a'..=b'z').cycle().take(20_000).collect();
    for _ in 0..2 {
        let console = HostConsole::start("con-file", Backend::File(path.clone()), None).unwrap();
        assert_eq!(console.location(), Some(path.as_path()));
        print(&console, &text);
        let port = Arc::clone(console.port());
        console.stop();
        assert_eq!(counter(&*port, "output_bytes"), 20_000);
        assert_eq!(counter(&*port, "output_dropped"), 0);
    }
    assert!(fs::read(&path).unwrap() == [&text[..], &text[..]].concat());
}

#[test]
fn what_cannot_be_opened_is_named() {
    let path = PathBuf::from("/nonexistent/log");
    let error = HostConsole::start("con-file", Backend::File(path), None).err().unwrap();
    assert_eq!(
        error.to_string(),
        "cannot open /nonexistent/log for the console's output: No such file or directory (os error 2)"
    );
}

/// `/dev/full` refuses every byte.
#[test]
fn a_full_disk_loses_output_and_nothing_else() {
    let console = HostConsole::start("con-full", Backend::File("/dev/full".into()), None).unwrap();
    print(&console, b"lost");
    let port = Arc::clone(console.port());
    console.stop();
    assert_eq!(counter(&*port, "output_bytes"), 0);
    assert_eq!(counter(&*port, "output_dropped"), 4);
}
