//! The lifecycle of a vCPU as one atomic word, and pause and resume of groups of them.
#![forbid(unsafe_code)]
