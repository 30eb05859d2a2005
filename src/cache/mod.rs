//! Bodies: the bytes of files, on their way in and out.
//!
//! A body is one sparse file. It is *filling* while parts of it are in the store only, *complete* when all is there and
//! has the checksum that the store tells, *dirty* once something was changed here. Clean bodies lie in the content folder
//! beside a map of their blocks, bounded in bytes, the longest unused evicted first; dirty ones lie in the staging folder,
//! which nothing here ever cleans. A body moves between the two by rename, so that all handles stay on one file.
//!
//! What must hold: bytes of two versions never mix (sizes and validators of all downloads agree, or the read fails); no
//! block is fetched twice at a time; nothing open, pinned or dirty is evicted; a crash costs at most a fetch.

mod answer;
mod body;
mod bundle;
mod chain;
mod config;
mod error;
mod evict;
mod fetch;
mod held;
mod index;
mod inherit;
mod map;
mod open;
mod pacing;
mod read;
mod reader;
mod settle;
mod shared;
mod sink;
mod state;
mod stats;
mod unsound;
mod verify;
mod write;

#[cfg(test)]
mod tests;

pub use body::{Body, BodyId, BodyState};
pub use config::CacheConfig;
pub use error::{CacheError, Result};
pub use reader::Reader;
pub use settle::Published;
pub use shared::Cache;
pub use stats::Stats;
pub use write::Keep;
