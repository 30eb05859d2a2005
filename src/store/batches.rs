//! Several files in one request.

use crate::model::Name;

use super::{Body, Progress, Result, StoreError};

/// How many files one request may be about. Changes that ask for the same are then sent together; 1 means one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// New files of one [`super::Store::create_together`].
    pub create_files_max: usize,
    /// Their bytes in all; a larger file is sent alone.
    pub create_bytes_max: u64,
    /// Files of one [`super::Store::relocate_together`].
    pub relocate_files_max: usize,
    /// Files of one [`super::Store::remove_together`].
    pub remove_files_max: usize,
    /// Files of one [`super::Store::set_fields`] that costs no more than one file.
    pub set_fields_files_max: usize,
}

impl Batches {
    /// Every file has a request of its own.
    pub const NONE: Self = Self {
        create_files_max: 1,
        create_bytes_max: 0,
        relocate_files_max: 1,
        remove_files_max: 1,
        set_fields_files_max: 1,
    };
}

/// A file that is sent with others.
pub struct NewFile<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Its bytes.
    pub body: &'a Body,
    /// Follows this one of the files.
    pub progress: &'a dyn Progress,
}

/// What a store answers that takes one file at a time.
pub(super) fn unsupported<'a, T>(operation: &'static str, items: impl Iterator<Item = &'a str>) -> Vec<Result<T>> {
    items
        .map(|item| Err(StoreError::unsupported(operation, item)))
        .collect()
}
