//! Any line is a command or a reply, and what was read as an address can be read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost_core::smtp::command::{self, Command};

fuzz_target!(|line: &[u8]| {
    match command::parse(line) {
        Ok(Command::Rcpt(rcpt)) if !rcpt.recipient.address.domain().is_empty() => {
            let address = rcpt.recipient.address;
            assert!(address.as_str().len() <= command::MAX_ADDRESS_SIZE);
            assert!(address.local().len() <= command::MAX_LOCAL_PART_SIZE);
            let again = command::parse_mailbox(address.as_str());
            assert_eq!(again.as_ref(), Some(&address));
        }
        Ok(Command::Bdat { .. }) => assert!(command::announces_chunk(line)),
        Ok(_) => {}
        Err(reply) => {
            assert!(reply.is_permanent() && reply.status.is_some());
            assert!(reply.text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
        }
    }
});
