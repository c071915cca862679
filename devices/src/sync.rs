//! The one place that names the atomics this crate uses, so that a model checker's can take
//! their place.
pub(crate) use std::sync::atomic;
