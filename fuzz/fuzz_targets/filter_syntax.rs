//! Any text is a script or a list of problems, each of which points into the text; what compiles
//! runs, over a header made of the same text, without a panic and without breaking a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost_core::{
    address::ReversePath, envelope::Envelope, id::Mid, lookup::ClientName, message::header::Header,
    time::Date,
};
use ringpost_policy::filter::{Examined, Names, compile};

fuzz_target!(|script: &str| {
    let listeners = ["Inbound".into()];
    let filters = match compile(script, &Names { listeners: &listeners }) {
        Ok(filters) => filters,
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(script.get(problem.span.clone()).is_some(), "{problem:?}");
            }
            return;
        }
    };
    for lint in filters.lints(&["RELAYLIST".into()]) {
        assert!(script.get(lint.span.clone()).is_some(), "{lint:?}");
    }
    let block = format!("Subject: {}\r\nX-Key: secret\r\n", script.replace(['\r', '\n'], " "));
    let mut header = Header::parse(block.into());
    let verdict = filters.evaluate(&mut Examined {
        envelope: &Envelope::new(ReversePath::Null),
        header: &mut header,
        size: script.len() as u64,
        mid: Mid(1),
        client: [192, 0, 2, 1].into(),
        client_name: &ClientName::NoName,
        listener: "Inbound",
        group: Some("RELAYLIST"),
        policy: "ACCEPTED",
        hostname: "mx.test",
        date: Date::from_millis(0),
    });
    assert!(verdict.matched as usize <= filters.len());
    let rendered = header.render().concat();
    for line in rendered.split_inclusive(|&octet| octet == b'\n') {
        assert!(line.ends_with(b"\r\n"), "a field broke its line");
    }
    assert!(verdict.log_entries.iter().all(|entry| !entry.contains(['\r', '\n'])));
});
