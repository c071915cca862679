//! Time outside of measured intervals, and the end of the program by a signal.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM end the measurement at its next step instead of the process, so that
/// everything that was started is also ended.
pub fn catch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .context("cannot install a signal handler")?;
    }
    Ok(())
}

/// An error if the program has been told to end.
pub fn go_on() -> Result<()> {
    // Relaxed: the flag says nothing about other memory.
    if INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted");
    }
    Ok(())
}

/// Lets time pass between measured intervals.
#[expect(
    clippy::disallowed_methods,
    reason = "the benchmark's own pace, on a thread that no vCPU waits for"
)]
pub fn pause_for(time: Duration) {
    std::thread::sleep(time);
}

/// Looks again and again until `look` gives something: every `every`, and later whenever a twentieth of the
/// time so far has passed. A look takes time from what is looked at, too.
///
/// # Errors
/// Those of `look`; a signal; nothing came within `limit` (`what` is what was waited for).
pub fn until<T>(
    what: &str,
    every: Duration,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        go_on()?;
        if begun.elapsed() > limit {
            bail!("waited {} s for {what}, in vain", limit.as_secs_f64());
        }
        pause_for(every.max(begun.elapsed() / 20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_what_is_found_or_an_error_that_says_what_was_not() {
        let mut looks = 0;
        let found = until("the third look", Duration::ZERO, Duration::from_mins(1), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let error = until("rain", Duration::ZERO, Duration::ZERO, || Ok(None::<()>)).unwrap_err();
        assert!(error.to_string().contains("for rain"), "{error}");
    }
}
