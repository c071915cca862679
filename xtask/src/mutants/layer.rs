//! The layers of tests, the quickest first, and how cargo-mutants is told to run one.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Options;
use super::outcome::Mutant;
use crate::paths;
use crate::suites::cargo;

/// The files whose mutants are tested: those that decide what is true of a word or a group. Left out are the
/// throttle, which decides for how long a hold lasts and not what it is, and the shim with its models of the kernel.
const FILES: [&str; 6] = ["event.rs", "word.rs", "member.rs", "ticket.rs", "work.rs", "group/**"];
/// Those among them that are tests themselves.
const TESTS: &str = "group/reference/**";

/// Some tests.
pub struct Layer {
    /// What the table calls it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// It is slow: mutants that are listed as survivors are not put through it.
    pub excuses_listed: bool,
    package: &'static str,
    /// A cfg that its crates are built with, with optimisation.
    cfg: Option<&'static str>,
    tests: &'static [&'static str],
    /// After so many seconds it is a hang. Generous: on a busy machine tests that only take their time would be taken for
    /// one, which would make a survivor look caught. But not a multiple of what they took at first, which on such a
    /// machine may be anything.
    hang: u32,
}

/// All of them.
pub const LAYERS: [Layer; 3] = [
    Layer {
        name: "rules",
        about: "every word and event, the group against its reference model, and what one thread can see",
        excuses_listed: false,
        package: "vcpu-state",
        cfg: None,
        tests: &["--lib", "--test", "transition", "--test", "work"],
        hang: 60,
    },
    Layer {
        name: "threads",
        about: "groups with real threads, and their throttles",
        excuses_listed: true,
        package: "vcpu-state",
        cfg: None,
        tests: &["--test", "group", "--test", "throttle"],
        hang: 120,
    },
    Layer {
        name: "loom",
        about: "the models of every known race",
        excuses_listed: true,
        package: cargo::MODELS,
        cfg: Some("loom"),
        tests: &["--test", "models"],
        hang: 1200,
    },
];

impl Layer {
    fn dir(&self) -> PathBuf {
        paths::target().join("mutants").join(self.name)
    }

    /// Where cargo-mutants leaves what came of it.
    pub fn results(&self) -> PathBuf {
        self.dir().join("mutants.out/outcomes.json")
    }

    /// The command that tests `mutants`, or every one that `options` admit.
    pub fn command(
        &self,
        tool: &Path,
        options: &Options,
        mutants: Option<&[Mutant]>,
    ) -> Result<Command> {
        // Results of an earlier run would be taken for this one's.
        let dir = self.dir();
        if dir.exists() {
            std::fs::remove_dir_all(&dir)
                .with_context(|| format!("cannot clear {}", dir.display()))?;
        }
        let scratch = dir.join("scratch");
        std::fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot make {}", scratch.display()))?;
        let mut command = Command::new(tool);
        command
            .current_dir(paths::workspace())
            .args(["mutants", "--no-config", "--colors", "never", "--package", "vcpu-state"])
            .args(["--test-package", self.package, "--jobs", &options.jobs.to_string()])
            .args(["--timeout", &self.hang.to_string()])
            .arg("--output")
            .arg(&dir)
            // The copy of the sources and what is built of it; not in a directory that is small.
            .env("TMPDIR", &scratch)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // That a program fails is all that matters, not which is the smallest that does.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env_remove("CARGO_TARGET_DIR");
        if options.jobs == 1 {
            // Dependencies are built once for all layers and shards. Several at a time would wait for each other.
            let built = paths::target().join("mutants/built");
            command.env("CARGO_TARGET_DIR", built.join(self.cfg.unwrap_or("plain")));
        }
        for file in FILES {
            command.args(["--file", &format!("vcpu-state/src/{file}")]);
        }
        command.args(["--exclude", &format!("vcpu-state/src/{TESTS}")]);
        if let Some(mutants) = mutants {
            for mutant in mutants {
                command.args(["--re", &format!("^{}$", escape(&mutant.name))]);
            }
        } else {
            if let Some(pattern) = &options.only {
                command.args(["--re", pattern]);
            }
            if let Some(shard) = &options.shard {
                command.args(["--shard", shard]);
            }
        }
        if let Some(cfg) = self.cfg {
            command.args(["--profile", "release"]).env("CARGO_PROFILE_RELEASE_LTO", "off");
            // It would be that of the mutants' own package. That the models find nothing is a suite of its own.
            command.args(["--baseline", "skip"]);
            command.env("RUSTFLAGS", cargo::rustflags_with(cfg));
        }
        command.arg("--").args(self.tests);
        Ok(command)
    }
}

/// A regular expression that matches `text` and nothing else.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '_' | '/' | '<' | '>' | ':' | '=' | '!' | '\'')
        {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_become_expressions_of_themselves() {
        let name = "a/b.rs:1:2: replace |= with &= in <impl Drop for T>::drop -> impl X+'_";
        let must = r"a/b\.rs:1:2: replace \|= with \&= in <impl Drop for T>::drop \-> impl X\+'_";
        assert_eq!(escape(name), must);
        assert_eq!(escape("f() -> [u8]"), r"f\(\) \-> \[u8\]");
    }
}
