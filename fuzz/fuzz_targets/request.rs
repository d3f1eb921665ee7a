#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openim_bridge_fuzz::request(bytes));
