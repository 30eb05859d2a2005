//! Real mounts of the built-in Image Relay by the real program, used by real programs.

mod budget;
mod commands;
mod large;
mod login;
mod metadata;
mod programs;
mod requests;
mod support;
mod trouble;
