//! The drive against a store in memory.

mod attributes;
mod freshness;
mod model;
mod rig;
mod saves;
mod tree;
mod weather;
