//! What goes wrong, for people: one line and an exit status.
use std::error::Error;
use std::fmt;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that makes no sense; exit status 2.
    Usage(String),
    /// It was tried and failed; exit status 1.
    Failed(String),
    /// A signal ended it; exit status 128 and the signal's number, as shells count.
    Signal(i32),
}

impl Failure {
    /// An error with what was being done, and all its causes.
    pub fn of(context: impl fmt::Display, error: &dyn Error) -> Self {
        Self::Failed(format!("{context}: {}", chain(error)))
    }

    /// What the process ends with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(1),
        }
    }

    /// What to say, if there is anything to say.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Usage(message) | Self::Failed(message) => Some(one_line(message)),
            Self::Signal(_) => None,
        }
    }
}

/// An error and its causes, `outer: inner: innermost`. A cause that the error before it already
/// tells is not told twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What clap says about a wrong command line, without the usage that follows it.
pub fn of_clap(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let parts: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    Failure::Usage(parts.join("; ").replace(":;", ":"))
}

macro_rules! failure_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Failed(chain(&error))
            }
        }
    )*};
}
failure_from!(vmm::api::ApiError, vmm::control::ControlError, crate::client::ClientError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_in_one_line() {
        let error = vmm::api::ApiError::Io {
            path: "/x".into(),
            action: "cannot listen on it",
            source: std::io::Error::other("no\nroom"),
        };
        let failure = Failure::from(error);
        let expected = "API socket /x: cannot listen on it: no room";
        assert_eq!(failure.message().as_deref(), Some(expected));
        assert_eq!(failure.exit_status(), 1);
    }

    #[test]
    fn signals_count_as_in_shells() {
        assert_eq!(Failure::Signal(15).exit_status(), 143);
        assert_eq!(Failure::Signal(15).message(), None);
    }
}
