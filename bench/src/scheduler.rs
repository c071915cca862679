//! What the scheduler says of single threads of this process, and is told of them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// The threads of this process whose names begin with these letters.
pub fn threads(prefix: &str) -> Result<Vec<libc::pid_t>> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir("/proc/self/task").context("cannot list this process's threads")?
    {
        let path = entry.context("cannot list this process's threads")?.path();
        // A thread that has ended has no name any longer.
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<libc::pid_t>().ok());
        found.extend(number.filter(|_| name.starts_with(prefix)));
    }
    Ok(found)
}

/// What several threads have had and waited for, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How long they were ready to run and had no processor.
    pub waited: Duration,
    /// How often they got one.
    pub turns: u64,
}

impl Account {
    /// Of these threads, from their beginning on.
    pub fn of(threads: &[libc::pid_t]) -> Result<Self> {
        threads.iter().try_fold(Self::default(), |sum, thread| {
            let path = format!("/proc/self/task/{thread}/schedstat");
            let text = std::fs::read_to_string(Path::new(&path))
                .with_context(|| format!("cannot read {path}"))?;
            let one = Self::parse(&text).with_context(|| format!("{path} is none: {text}"))?;
            Ok(Self { waited: sum.waited + one.waited, turns: sum.turns + one.turns })
        })
    }

    /// Time on a processor, time waiting for one (both in ns), number of turns
    /// (Documentation/scheduler/sched-stats.rst, `/proc/PID/schedstat`).
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().skip(1).map(str::parse);
        let (waited, turns) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { waited: Duration::from_nanos(waited), turns })
    }

    /// What has been added since an earlier one.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            waited: self.waited.saturating_sub(earlier.waited),
            turns: self.turns.saturating_sub(earlier.turns),
        }
    }
}

/// Makes a thread of this process SCHED_BATCH.
pub fn make_batch(thread: libc::pid_t) -> std::io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` outlives the call, which only reads it.
    match unsafe { libc::sched_setscheduler(thread, libc::SCHED_BATCH, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_the_second_and_third_number() {
        let account = Account::parse("5 1500 7\n").unwrap();
        assert_eq!(account, Account { waited: Duration::from_nanos(1500), turns: 7 });
        assert_eq!(Account::parse("5 1500"), None);
        let later = Account { waited: Duration::from_nanos(2500), turns: 9 };
        let added = Account { waited: Duration::from_micros(1), turns: 2 };
        assert_eq!(later.since(account), added);
    }

    #[test]
    fn threads_are_found_by_their_names() {
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let builder = std::thread::Builder::new().name("sought after".to_owned());
        let thread = builder.spawn(move || told.recv()).unwrap();
        // The name is set by the thread itself, once it runs.
        let found =
            crate::pace::until("the thread", Duration::ZERO, Duration::from_mins(1), || {
                Ok(Some(threads("sought")?).filter(|found| !found.is_empty()))
            });
        assert_eq!(found.unwrap().len(), 1);
        drop(tell);
        assert!(thread.join().unwrap().is_err());
    }
}
