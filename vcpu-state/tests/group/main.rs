//! Groups with real threads: pausers nest, kill dominates, a deadline names who is stuck.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod counting;
mod entering;
mod pausing;
mod ranges;
mod slots;
mod tickets;
mod timing;
