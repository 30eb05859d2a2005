//! The cases, by what they are about.

pub mod changing;
pub mod creating;
pub mod failing;
pub mod fields;
pub mod finding;
pub mod listing;
pub mod reading;
pub mod removing;
pub mod together;
