//! Every line means something; what is escaped is read back as it was; a reply is one line of printable bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mogilefs::protocol::args::{self, Args};
use mogilefs::protocol::request::Request;
use mogilefs::protocol::response::{Pairs, write_reply};

fuzz_target!(|line: &[u8]| {
    let request = Request::parse(line);
    assert!(request.command.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    let mut pairs = Pairs::new();
    for (name, value) in request.args.pairs() {
        // Any text has a number.
        let _number = args::num(value);
        pairs.push(name, value);
    }
    let mut reply = Vec::new();
    write_reply(&Ok(pairs), request.callid(), &mut reply);
    let body = reply.strip_prefix(b"OK ").and_then(|rest| rest.strip_suffix(b"\r\n")).expect("the form of a reply");
    assert!(body.iter().all(|byte| byte.is_ascii_graphic()));
    if request.callid().is_none() {
        // An empty name with an empty value, and the name `0` alone, are written as `=` and `0=`, and read back.
        assert_eq!(Args::decode(body), request.args);
    }
});
