//! A host without KVM, and one that does not let this user have it.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use support::{Bed, failed};

/// Runs its arguments where `/dev` has nothing but `null` and what `$1` puts there.
const BARE_DEV: &str = r#"
set -e
mkdir bare
mount -t tmpfs none bare
touch bare/null
mount --bind /dev/null bare/null
eval "$1"
mount --rbind bare /dev
shift
exec "$@"
"#;

/// `stillpoint ARGS` in a mount namespace of its own, as this user or through `wrapper`; `None`,
/// and a line that says so, where that cannot be had.
fn in_namespace(bed: &Bed, setup: &str, wrapper: &[&str], args: &[&str]) -> Option<Output> {
    // Readable for other users: the build directory need not be.
    let program = bed.path("stillpoint-copy");
    std::fs::copy(env!("CARGO_BIN_EXE_stillpoint"), &program).expect("copied");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bed.directory.path(), open).expect("opened");
    let namespace = ["--mount", "--propagation", "private"];
    let root = rustix::process::geteuid().is_root();
    let user: &[&str] = if root { &[] } else { &["--user", "--map-root-user"] };
    let possible = Command::new("unshare").args(namespace).args(user).arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: `unshare --mount` is not possible here");
        return None;
    }
    let all: Vec<&str> = namespace
        .iter()
        .chain(user)
        .chain(&["sh", "-c", BARE_DEV, "sh", setup])
        .chain(wrapper)
        .chain(&[program.as_str()])
        .chain(args)
        .copied()
        .collect();
    Some(bed.command_of("unshare", &all).output().expect("started"))
}

#[test]
fn without_the_device() {
    for args in [&["run"][..], &["run", "--detach"]] {
        let bed = Bed::new();
        let Some(output) = in_namespace(&bed, "", &[], args) else { return };
        let (status, line) = failed(&output, args);
        assert_eq!(status, 1);
        assert!(line.starts_with("error: /dev/kvm does not exist: load the kvm module"), "{line}");
        assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    }
}

#[test]
fn without_permission() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can become a user without permission");
        return;
    }
    for args in [&["run"][..], &["run", "--detach"]] {
        let bed = Bed::new();
        let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let runtime = bed.path("runtime");
        std::fs::create_dir(&runtime).expect("made");
        std::os::unix::fs::chown(&runtime, Some(65534), Some(65534)).expect("given away");
        let environment = format!("XDG_RUNTIME_DIR={runtime}");
        let wrapper: Vec<&str> =
            wrapper.iter().copied().chain(["env", environment.as_str()]).collect();
        let setup = "touch bare/kvm; chmod 600 bare/kvm";
        let Some(output) = in_namespace(&bed, setup, &wrapper, args) else { return };
        let (status, line) = failed(&output, args);
        assert_eq!(status, 1);
        assert!(
            line.starts_with("error: no permission to open /dev/kvm: become a member"),
            "{line}"
        );
        let left = std::fs::read_dir(format!("{runtime}/stillpoint")).expect("made").count();
        assert_eq!(left, 0);
    }
}
