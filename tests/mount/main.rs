//! Real mounts of the built-in servers by the real program, used by real programs.

mod budget;
mod bus;
mod commands;
mod desktop;
mod flextype;
mod freshness;
mod helper;
mod im4;
mod keyring;
mod large;
mod login;
mod metadata;
mod metrics;
mod omeka;
mod patterns;
mod programs;
mod requests;
mod rules;
mod service;
mod semantics;
mod support;
mod told;
mod tour;
mod trouble;
mod views;
mod webhooks;
