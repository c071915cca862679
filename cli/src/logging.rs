//! The log: written by a thread of its own, so that no other thread waits for a slow terminal or
//! disk. Lines that do not fit into its queue are dropped and counted.
use std::fs::OpenOptions;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use crate::args::Logging;
use crate::failure::Failure;
use crate::terminal::Stderr;

/// Lines that may wait to be written.
const QUEUE: usize = 1024;

/// Starts the log. What is dropped last writes what is left in the queue.
pub fn start(options: &Logging) -> Result<WorkerGuard, Failure> {
    let builder =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("log");
    let ((writer, guard), to_terminal) = match &options.log_file {
        None => (builder.finish(Stderr), true),
        Some(path) => {
            let file =
                OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
                    Failure::of(format!("--log-file {}", path.display()), &error)
                })?;
            (builder.finish(file), false)
        }
    };
    let level = match options.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    let use_colour = to_terminal && std::io::IsTerminal::is_terminal(&std::io::stderr());
    subscriber.with_ansi(use_colour).init();
    Ok(guard)
}
