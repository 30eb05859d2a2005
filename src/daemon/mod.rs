//! A mount from its configuration to its last upload.
//!
//! - [`config`], [`source`], [`credentials`], [`keyring`], [`options`], [`places`]: what is asked for, from files, environment and
//!   command line.
//! - [`assemble`]: the one place where the stack is put together.
//! - [`mountpoint`]: whether something can be mounted there, said before it is tried.
//! - [`detach`]: leaving the terminal once the mount answers.
//! - [`run`]: the life of a mount.
//! - `watcher`, `desktop`, `sleep`, `meter`: beside it, who tells people and listens to the machine.
//! - [`offline`]: sending what waits without a mount.
//! - [`service`]: what a service manager is told.
//! - [`registry`]: which mounts there are, so that commands find the daemon by path or by store.
//! - [`control`]: the socket they talk to it through.
//! - [`metrics`]: figures for monitoring, over HTTP.

pub mod assemble;
pub mod config;
pub mod control;
pub mod credentials;
mod desktop;
pub mod detach;
mod failure;
pub mod keyring;
mod ledger;
mod meter;
pub mod metrics;
pub mod mountpoint;
pub mod offline;
pub mod options;
pub mod places;
pub mod registry;
pub mod run;
pub mod service;
mod sleep;
pub mod source;
mod stores;
mod watcher;
mod webhooks;
mod words;

pub use failure::{Failure, Status};
