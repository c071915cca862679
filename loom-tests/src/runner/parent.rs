//! The parent: one child for each half, as many at a time as there are processors.

use std::io;
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::table::{self, Row};
use super::verdict::{Report, Verdict};
use crate::model::{Bound, Half, Model};

pub(super) fn run(names: &[&str], bound: Option<Bound>) -> ExitCode {
    let wanted =
        |model: &&Model| names.is_empty() || names.iter().any(|name| model.name.contains(name));
    let halves = |model| Half::ALL.map(|half| (model, half));
    let jobs: Vec<Job> = super::models()
        .filter(wanted)
        .flat_map(halves)
        .filter_map(|(model, half)| {
            let (_, declared) = model.half(half)?;
            Some(Job { model, half, bound: bound.unwrap_or(declared) })
        })
        .collect();
    if jobs.is_empty() {
        return super::usage("no model has such a name");
    }
    let rows = explore(&jobs);
    print!("{}", table::render(&rows));
    let wrong = rows.iter().filter(|row| !row.verdict.is_right()).count();
    println!("{} halves, {wrong} wrong", rows.len());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One child's work.
#[derive(Clone, Copy)]
struct Job {
    model: &'static Model,
    half: Half,
    bound: Bound,
}

/// The rows in the order of the jobs.
fn explore(jobs: &[Job]) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let (done, results) = mpsc::channel();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = std::thread::scope(|scope| {
        for _ in 0..workers {
            let done = done.clone();
            let next = &next;
            scope.spawn(move || {
                loop {
                    // Relaxed: nothing but the number is handed over.
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { break };
                    if done.send((number, child(*job))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        results.iter().inspect(|(_, row)| println!("{row}")).collect::<Vec<_>>()
    });
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn child(job: Job) -> Row {
    let Job { model, half, bound } = job;
    let (executions, seconds, verdict) = match spawn(job).map(|output| read(&output)) {
        Ok(Ok(report)) => {
            (report.executions, report.seconds, Verdict::of(model, half, &report.ended))
        }
        Ok(Err(problem)) => (0, 0.0, Verdict::Wrong(problem)),
        Err(error) => (0, 0.0, Verdict::Wrong(format!("no child process: {error}"))),
    };
    Row { name: model.name, half, bound, executions, seconds, verdict }
}

fn spawn(Job { model, half, bound }: Job) -> io::Result<Output> {
    let (half, bound) = (half.to_string(), bound.to_string());
    Command::new(std::env::current_exe()?).args(["--half", model.name, &half, &bound]).output()
}

/// A child's report, or what it left instead.
fn read(output: &Output) -> Result<Report, String> {
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().rev().find_map(|line| line.parse().ok()).ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = complaint.lines().rev().take(3).collect();
        format!("the child ended with {} and: {}", output.status, last.join(" / "))
    })
}
