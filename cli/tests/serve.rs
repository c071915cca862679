//! A VMM without a VM.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::io::Read;
use std::process::Stdio;

use support::Bed;

#[test]
fn an_empty_vmm_is_served_until_it_is_ended() {
    let bed = Bed::new();
    let mut served = bed
        .command(&["serve", "--api-socket", "api.sock"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = [0; 64];
    let length = served.stdout.take().expect("piped").read(&mut said).expect("a line");
    assert_eq!(&said[..length], b"api: API on api.sock\n");
    let (status, line) = bed.fails(&["pause", "--api-socket", "api.sock"]);
    assert_eq!(status, 1);
    assert_eq!(line, "error: api.sock: no VM has been created: send vm.create first\n");
    bed.ok(&["kill", "--api-socket", "api.sock"]);
    assert!(served.wait().expect("ended").success());
    assert!(!bed.directory.path().join("api.sock").exists());
}
