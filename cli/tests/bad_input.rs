//! Bad input on the command line: one clear line, the right exit status, nothing left behind. None
//! of these needs a VM.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use support::Bed;

#[test]
fn mistakes_in_options_are_usage_errors() {
    let bed = Bed::new();
    for (args, expected) in [
        (
            &["--cpus", "bot=4"][..],
            "--cpus: unknown key \"bot\", did you mean \"boot\"?; allowed: boot=, max=, topology=, affinity=",
        ),
        (&["--cpus", "4"], "--cpus: unknown key \"4\"; allowed:"),
        (&["--cpus", ""], "--cpus: empty value; allowed:"),
        (
            &["--cpus", "boot=many"],
            "--cpus: boot=\"many\" is not valid; expected a number of vCPUs",
        ),
        (&["--cpus", "boot=1,topology=1:1"], "expected threads:cores:dies:packages"),
        (&["--cpus", "affinity=[0@[1]"], "unbalanced brackets"),
        (&["--cpus", "kvm_hyperv=on"], "not supported"),
        (&["--memory", "size=lots"], "--memory: size=\"lots\" is not valid; expected a size"),
        (&["--memory", "sise=1G"], "did you mean \"size\"?"),
        (&["--memory", "shared=perhaps"], "expected on or off"),
        (
            &["--serial", "tyt"],
            "--serial: unknown key \"tyt\", did you mean \"tty\"?; allowed: off, null, tty, pty, file=, socket=",
        ),
        (&["--serial", "file="], "expected a path"),
        (&["--console", "nul"], "--console: unknown key \"nul\", did you mean \"null\"?"),
        (&["--disk", "readonly=on"], "--disk: path= is missing; allowed: path=, readonly="),
        (&["--disk", "path=a", "pth=b"], "--disk: unknown key \"pth\", did you mean \"path\"?"),
        (&["--disk", "path=a,image_type=vdi"], "expected raw or qcow2"),
        (&["--disk", "path=a,ops_size=1"], "--disk: ops_size= needs ops_refill_time= beside it"),
        (&["--disk", "path=a,vhost_user=on"], "not supported"),
        (&["--disk"], "a value is required for '--disk <OPTIONS>...'"),
        (&["--net", "mac=1:2"], "--net: mac=\"1:2\" is not valid; expected six bytes"),
        (&["--net", "fd=3"], "expected a list of descriptors"),
        (&["--rng", ""], "--rng: empty value; allowed: src=, id="),
        (&["--vsock", "cid=3"], "--vsock: socket= is missing"),
        (&["--balloon", "size=all"], "--balloon: size=\"all\" is not valid; expected a size"),
        (&["--console", "id=x"], "--console: empty mode"),
        (&["--name", "../x"], "--name \"../x\": a name has letters"),
        (&["--name", ""], "--name \"\": a name has 1 to 64 characters"),
        (&["--detach", "--serial", "tty"], "--serial tty: a VM in the background has no terminal"),
        (
            &["--kernal", "x"],
            "unexpected argument '--kernal' found; tip: a similar argument exists: '--kernel'",
        ),
        (&["--kernel"], "a value is required for '--kernel <PATH>'"),
        (&["surplus"], "unexpected argument 'surplus' found"),
    ] {
        let args: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let (status, line) = bed.fails(&args);
        assert_eq!(status, 2, "{args:?}: {line}");
        assert!(line.contains(expected), "{args:?}: {line} lacks {expected}");
        assert!(bed.left_behind().is_empty(), "{args:?}: {:?}", bed.left_behind());
    }
}

#[test]
fn configurations_that_make_no_vm_fail() {
    let bed = Bed::new();
    std::fs::write(bed.directory.path().join("empty"), "").expect("written");
    for (args, expected) in [
        (&["--cpus", "boot=0"][..], "cpus: 0 vCPUs at boot; a VM needs at least 1"),
        (&["--cpus", "boot=1025"], "cpus: 1025 vCPUs; at most 1024 are possible"),
        (&["--cpus", "boot=4,max=2"], "cpus: 4 vCPUs at boot are more than the maximum of 2"),
        (&["--cpus", "boot=4,topology=2:4:1:1"], "topology 2:4:1:1 describes 8 vCPUs"),
        (&["--cpus", "boot=1,affinity=[1@[0]]"], "affinity of vCPU 1, but the last one is 0"),
        (&["--memory", "size=0"], "memory: 0 bytes are too little; at least 16MiB are needed"),
        (&["--memory", "size=1M"], "memory: 1MiB are too little"),
        (&["--memory", "hotplug_size=1G"], "plugged by hotplug_method=virtio-mem only"),
        (&["--kernel", "missing"], "payload: kernel missing: No such file"),
        (&["--kernel", "empty"], "payload: kernel empty: is empty"),
        (&["--kernel", "."], "payload: kernel .: is a directory"),
        (&["--kernel", "/dev/null"], "payload: kernel /dev/null: is not a regular file"),
        (&["--initramfs", "empty"], "payload: initramfs empty without a kernel"),
        (&["--disk", "path=missing"], "disks[0]: missing: No such file"),
        (&["--disk", "path=empty"], "disks[0]: empty: is empty; give the image a size"),
        (&["--disk", "path=.", "--disk", "path=."], "disks[0]: .: is a directory"),
        (&["--net", "num_queues=4"], "net[0]: 2 pairs of queues for 1 vCPUs"),
        (&["--net", "tap=a", "tap=a"], "net[0] and net[1]: both want the interface \"a\""),
        (&["--rng", "src=missing"], "rng: src missing: No such file"),
        (&["--vsock", "cid=2,socket=s"], "vsock: cid 2: a guest has one from 3"),
        (&["--balloon", "size=1G"], "balloon: 1GiB of 512MiB RAM"),
        (&["--serial", "tty", "--console", "tty"], "both want the terminal"),
        (&["--log-file", "missing/log"], "--log-file missing/log: No such file"),
        (
            &["--api-socket", "missing/api.sock"],
            "API socket missing/api.sock: cannot make a lock file",
        ),
        (&["--api-socket", "empty"], "API socket empty: exists and is no socket"),
    ] {
        for background in [&[][..], &["--detach", "--serial", "null"]] {
            let is_tty_test = args.contains(&"tty") || args.contains(&"--log-file");
            if !background.is_empty() && is_tty_test {
                continue;
            }
            let args: Vec<&str> = ["run"].iter().chain(args).chain(background).copied().collect();
            let (status, line) = bed.fails(&args);
            assert_eq!(status, 1, "{args:?}: {line}");
            assert!(line.contains(expected), "{args:?}: {line} lacks {expected}");
            assert!(bed.left_behind().is_empty(), "{args:?}: {:?}", bed.left_behind());
        }
    }
    let left: Vec<_> = std::fs::read_dir(bed.directory.path())
        .expect("directory")
        .map(|entry| entry.expect("entry").file_name())
        .filter(|name| name != "empty" && name != "stillpoint")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn commands_without_a_vm_fail() {
    let bed = Bed::new();
    for command in
        ["info", "pause", "resume", "nmi", "power-button", "reboot", "stop", "kill", "top"]
    {
        let (status, line) = bed.fails(&[command]);
        assert_eq!((status, line.as_str()), (1, "error: no VM runs\n"), "{command}");
        let (status, line) = bed.fails(&[command, "web"]);
        let expected = "error: no VM named \"web\" runs; none does\n";
        assert_eq!((status, line.as_str()), (1, expected), "{command}");
        let (status, line) = bed.fails(&[command, "--api-socket", "nowhere"]);
        let expected = "error: no VMM listens on nowhere\n";
        assert_eq!((status, line.as_str()), (1, expected), "{command}");
    }
    for command in [
        &["add-disk", "path=x"][..],
        &["add-net", "tap=x"],
        &["add-vsock", "cid=3,socket=x"],
        &["remove-device", "x"],
        &["resize-disk", "x", "1G"],
        &["resize", "--balloon", "0"],
        &["resize", "--cpus", "4"],
        &["resize", "--memory", "1G"],
    ] {
        let (status, line) = bed.fails(command);
        assert_eq!((status, line.as_str()), (1, "error: no VM runs\n"), "{command:?}");
        // The name comes before everything else, the socket's option anywhere.
        let named: Vec<&str> = [command[0], "web"].iter().chain(&command[1..]).copied().collect();
        let (status, line) = bed.fails(&named);
        let expected = "error: no VM named \"web\" runs; none does\n";
        assert_eq!((status, line.as_str()), (1, expected), "{named:?}");
        let socket: Vec<&str> =
            command.iter().chain(&["--api-socket", "nowhere"]).copied().collect();
        let (status, line) = bed.fails(&socket);
        let expected = "error: no VMM listens on nowhere\n";
        assert_eq!((status, line.as_str()), (1, expected), "{socket:?}");
    }
    assert_eq!(bed.ok(&["ls"]), "NAME  PID  STATE  VCPUS  MEMORY  UPTIME\n");
    assert_eq!(bed.ok(&["ls", "--json"]), "[]\n");
}

#[test]
fn the_command_line_itself() {
    let bed = Bed::new();
    for (args, expected) in [
        (&["rnu"][..], "unrecognized subcommand 'rnu'"),
        (&["serve"], "required arguments were not provided"),
        (&["pause", "a", "b"], "unexpected argument 'b'"),
        (&["pause", "a", "--api-socket", "b"], "cannot be used with"),
        (&["add-disk"], "required arguments were not provided"),
        (&["add-disk", "web", "pth=x"], "--disk: unknown key \"pth\", did you mean \"path\"?"),
        (&["add-disk", "pth=x"], "--disk: unknown key \"pth\""),
        (&["add-net", "web", "fd=[3]"], "descriptors of this process mean nothing to the VM's"),
        (&["add-vsock", "web", "cid=3"], "--vsock: socket= is missing"),
        (&["remove-device"], "required arguments were not provided"),
        (&["resize-disk", "web"], "values required"),
        (
            &["resize-disk", "web", "data", "much"],
            "\"much\" is no size; expected a number of bytes",
        ),
        (&["resize-disk", "data", "1000"], "a disk has a whole number of sectors"),
        (&["resize-disk", "a", "b", "1G", "--api-socket", "s"], "exclude each other"),
        (&["resize", "web"], "required arguments were not provided"),
        (&["resize", "web", "--balloon", "1.5G"], "\"1.5G\" is no size"),
        (&["resize", "web", "--cpus", "-1"], "unexpected argument"),
        (&["resize", "web", "--cpus", "many"], "invalid digit"),
        (&["resize", "web", "--memory", "all"], "\"all\" is no size"),
    ] {
        let (status, line) = bed.fails(args);
        assert_eq!(status, 2, "{args:?}: {line}");
        assert!(line.contains(expected), "{args:?}: {line} lacks {expected}");
    }
    for command in [
        "run",
        "serve",
        "ls",
        "info",
        "pause",
        "resume",
        "nmi",
        "reboot",
        "add-disk",
        "add-net",
        "add-vsock",
        "remove-device",
        "resize-disk",
        "resize",
        "stop",
        "kill",
        "top",
    ] {
        let help = bed.ok(&[command, "--help"]);
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains(&format!("stillpoint {command}")), "{command}: {help}");
    }
    assert!(bed.ok(&["--version"]).starts_with("stillpoint "));
}

#[test]
fn a_runtime_directory_that_others_could_enter_is_refused() {
    let bed = Bed::new();
    std::fs::create_dir(bed.runtime()).expect("made");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bed.runtime(), open).expect("opened");
    let (status, line) = bed.fails(&["ls"]);
    assert_eq!(status, 1);
    assert!(line.contains("is open to other users; chmod it to 0700"), "{line}");
    std::fs::remove_dir(bed.runtime()).expect("removed");
    std::os::unix::fs::symlink("/tmp", bed.runtime()).expect("linked");
    let (status, line) = bed.fails(&["ls"]);
    assert_eq!(status, 1);
    assert!(line.contains("is no directory"), "{line}");
}

#[test]
fn something_else_behind_a_socket_is_no_vmm() {
    let bed = Bed::new();
    let socket = bed.directory.path().join("other.sock");
    let listener = UnixListener::bind(&socket).expect("bind");
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("accept");
        let length = stream.read(&mut [0; 1024]).expect("read");
        stream.write_all(b"220 mail.example.org ESMTP\r\n").expect("write");
        length
    });
    let (status, line) = bed.fails(&["pause", "--api-socket", "other.sock"]);
    assert_eq!(status, 1);
    assert!(line.contains("not the API of a VMM"), "{line}");
    assert!(server.join().expect("no panic") > 0);
}
