//! No answer that claims to be im4's may make its decoders panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| assetfs::store::im4::read_anything(bytes));
