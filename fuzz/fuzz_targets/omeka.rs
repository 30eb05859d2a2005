//! No answer that claims to be Omeka Classic's may make its decoders panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| assetfs::store::omeka::read_anything(bytes));
