//! How the exploration of a half ended, and whether that is what the model declares.

use std::fmt;
use std::str::FromStr;

use crate::model::{Half, Model};

/// Exit status of a child whose model panicked, as of any Rust program that did.
pub(super) const PANICKED: u8 = 101;

/// How an exploration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything within the bound was seen, and nothing was found.
    Explored,
    /// An execution panicked with this message: the checker's, or an assertion of the model.
    Panicked(String),
}

/// What a child reports in its last line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) executions: u64,
    pub(super) seconds: f64,
    pub(super) ended: Ended,
}

const MARK: &str = "loom-tests-report";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { executions, seconds, ended } = self;
        write!(f, "{MARK} {executions} {seconds:.2} ")?;
        match ended {
            Ended::Explored => f.write_str("explored"),
            Ended::Panicked(message) => write!(f, "panicked {}", message.replace('\n', " ")),
        }
    }
}

impl FromStr for Report {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut fields = line.splitn(5, ' ');
        if fields.next() != Some(MARK) {
            return Err(());
        }
        let executions = fields.next().ok_or(())?.parse().map_err(drop)?;
        let seconds = fields.next().ok_or(())?.parse().map_err(drop)?;
        let ended = match (fields.next(), fields.next()) {
            (Some("explored"), None) => Ended::Explored,
            (Some("panicked"), Some(message)) => Ended::Panicked(message.to_owned()),
            _ => return Err(()),
        };
        Ok(Self { executions, seconds, ended })
    }
}

/// Whether a half did what its model declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The historic protocol failed as it must; the kind of failure.
    Found(&'static str),
    /// Nothing was found, as it must be for ours.
    Nothing,
    /// Anything else, in words.
    Wrong(String),
}

impl Verdict {
    pub(super) fn of(model: &Model, half: Half, ended: &Ended) -> Self {
        match (half, model.historic, ended) {
            (Half::Ours | Half::OursNewest, _, Ended::Explored) => Self::Nothing,
            (Half::Ours | Half::OursNewest, _, Ended::Panicked(message)) => {
                Self::Wrong(message.clone())
            }
            (Half::Historic, Some(historic), Ended::Panicked(message)) => {
                if historic.finds.is(message) {
                    Self::Found(historic.finds.kind())
                } else {
                    Self::Wrong(format!("expected {:?}, found: {message}", historic.finds))
                }
            }
            (Half::Historic, ..) => Self::Wrong("the bug was not found".to_owned()),
        }
    }

    pub(super) fn is_right(&self) -> bool {
        !matches!(self, Self::Wrong(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(kind) => write!(f, "found:{kind}"),
            Self::Nothing => f.write_str("none"),
            Self::Wrong(what) => write!(f, "WRONG:{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Finding;

    fn model(finds: Finding) -> Model {
        Model::race("m", || {}, finds, || {})
    }

    #[test]
    fn a_report_survives_its_line() {
        for ended in [Ended::Explored, Ended::Panicked("left: 1 right: 2".to_owned())] {
            let report = Report { executions: 7, seconds: 0.25, ended };
            assert_eq!(report.to_string().parse(), Ok(report));
        }
        assert_eq!("nothing of ours".parse::<Report>(), Err(()));
        assert_eq!(format!("{MARK} 1 0.1 paused").parse::<Report>(), Err(()));
    }

    #[test]
    fn a_historic_half_must_fail_in_the_declared_way() {
        let deadlock = Ended::Panicked("deadlock; threads = [(Id(0), Blocked)]".to_owned());
        let violation = Ended::Panicked("two threads".to_owned());
        let of =
            |finds, ended: &Ended| Verdict::of(&model(finds), Half::Historic, ended).is_right();
        assert!(of(Finding::Deadlock, &deadlock));
        assert!(!of(Finding::Deadlock, &violation));
        assert!(!of(Finding::Deadlock, &Ended::Explored));
        assert!(of(Finding::Violation("two threads"), &violation));
        assert!(!of(Finding::Violation("two threads"), &deadlock));
    }

    #[test]
    fn ours_must_not_fail_at_all() {
        let of = |ended: &Ended| Verdict::of(&model(Finding::Deadlock), Half::Ours, ended);
        assert_eq!(of(&Ended::Explored), Verdict::Nothing);
        assert!(!of(&Ended::Panicked("deadlock; threads = []".to_owned())).is_right());
    }
}
