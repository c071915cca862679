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
    /// How long they had a processor.
    pub ran: Duration,
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
            let Self { ran, waited, turns } = sum;
            let (ran, waited) = (ran + one.ran, waited + one.waited);
            Ok(Self { ran, waited, turns: turns + one.turns })
        })
    }

    /// Time on a processor, time waiting for one (both in ns), number of turns
    /// (Documentation/scheduler/sched-stats.rst, `/proc/PID/schedstat`).
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        let (ran, waited) = (Duration::from_nanos(next()?), Duration::from_nanos(next()?));
        Some(Self { ran, waited, turns: next()? })
    }

    /// What has been added since an earlier one.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(earlier.ran),
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
    fn an_account_is_three_numbers() {
        let account = Account::parse("5 1500 7\n").unwrap();
        let (ran, waited) = (Duration::from_nanos(5), Duration::from_nanos(1500));
        assert_eq!(account, Account { ran, waited, turns: 7 });
        assert_eq!(Account::parse("5 1500"), None);
        let later = Account { waited: Duration::from_nanos(2500), turns: 9, ran };
        let added = Account { waited: Duration::from_micros(1), turns: 2, ran: Duration::ZERO };
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
