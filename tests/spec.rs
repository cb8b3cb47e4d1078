//! The specification as code: the files in spec/ are the specification's own.
#![cfg(not(loom))]

#[path = "spec/local.rs"]
mod local;
