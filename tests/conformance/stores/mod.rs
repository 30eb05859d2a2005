//! The stores under test: one file each.

mod emulated;
pub mod flextype;
pub mod im4;
pub mod imagerelay;
pub mod memory;
pub mod omeka;
