//! The drive against a store in memory.

mod attention;
mod attributes;
mod clashes;
mod copies;
mod day;
mod durable;
mod faults;
mod freshness;
mod gone;
mod midway;
mod model;
mod moves;
mod originals;
mod pins;
mod quick;
mod races;
mod replaced;
mod rig;
mod saves;
mod stuck;
mod together;
mod tree;
mod unfinished;
mod views;
mod weather;
mod writers;
