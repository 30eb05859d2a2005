//! Pure values: identities, names, entries, versions, ranges, fields, and time as an argument.

mod clock;
mod entry;
mod fields;
mod hex;
mod id;
mod name;
mod ranges;
mod time;

pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use entry::{Availability, Checksum, ChildCounts, ContentVersion, Entry, Kind};
pub use fields::{
    Access, Encoding, Field, FieldChanges, Fields, NotText, Value, XATTR_BYTES_MAX, decode as decode_values,
    encode as encode_values,
};
pub use hex::hex;
pub use id::{Ino, ItemId};
pub use name::{NAME_BYTES_MAX, Name, NameError, SLASH_STAND_IN};
pub use ranges::Ranges;
pub use time::Timestamp;
