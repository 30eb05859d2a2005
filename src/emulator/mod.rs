//! Servers that speak the stores' APIs, for demonstrations and for tests.
//!
//! Each of them is strict and stateful, runs inside this process on a loopback address, and can be told to misbehave.
//! What they share (counting, faults, throttling, ranges) is in [`common`].

pub mod common;
pub mod flextype;
pub mod im4;
pub mod imagerelay;
pub mod omeka;
