//! A DNS server that knows the names of the demonstration and no others (RFC 1035).
//!
//! The gateway believes a client's name only if it leads back to the client's address. Both cases
//! are here: a name that does, and the same kind of name claimed by somebody else.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

/// Serves [`NAMES`] until the process ends; returns the address to ask.
pub(super) fn start() -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    thread::Builder::new().name("names".into()).spawn(move || {
        let mut query = [0; QUERY_SIZE_MAX];
        loop {
            // An error is about an answer whose asker is gone; the next question is another's.
            let Ok((size, from)) = socket.recv_from(&mut query) else { continue };
            if let Some(answer) = answer(&query[..size]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    })?;
    Ok(address)
}

enum Record {
    Address(Ipv4Addr),
    Pointer(&'static str),
}

/// The answer to one query; none to what is not a query with one question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = question_name(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let question = query.get(HEADER_SIZE..end + 4)?;
    let known: Vec<&Record> = NAMES
        .iter()
        .filter(|(owner, _)| owner.eq_ignore_ascii_case(&name))
        .map(|(_, record)| record)
        .collect();
    let records: Vec<Vec<u8>> = known.iter().filter_map(|record| record.wire(kind)).collect();
    let code = if known.is_empty() { NO_SUCH_NAME } else { 0 };
    let recursion_desired = query[2] & 1;
    let mut out = query[..2].to_vec();
    out.extend([AUTHORITATIVE_RESPONSE | recursion_desired, RECURSION_AVAILABLE | code]);
    let answers = u8::try_from(records.len()).expect("the table is short");
    out.extend([0, 1, 0, answers, 0, 0, 0, 0]);
    out.extend(question);
    for record in records {
        out.extend(NAME_OF_THE_QUESTION);
        out.extend(kind.to_be_bytes());
        out.extend(CLASS_INTERNET);
        out.extend(TIME_TO_LIVE_SECONDS.to_be_bytes());
        out.extend(u16::try_from(record.len()).expect("names are short").to_be_bytes());
        out.extend(record);
    }
    Some(out)
}

impl Record {
    /// The data of the record, if it is of `kind`.
    fn wire(&self, kind: u16) -> Option<Vec<u8>> {
        match self {
            Self::Address(address) if kind == A => Some(address.octets().to_vec()),
            Self::Pointer(name) if kind == PTR => {
                let mut out = Vec::new();
                for label in name.split('.') {
                    out.push(u8::try_from(label.len()).expect("a label has at most 63 octets"));
                    out.extend(label.as_bytes());
                }
                out.push(0);
                Some(out)
            }
            _ => None,
        }
    }
}

/// The name of the only question, and where it ends.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let is_query = query.len() > HEADER_SIZE && query[2] & 0x80 == 0;
    if !is_query || query[4..6] != [0, 1] {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER_SIZE;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = query.get(at..at + length).filter(|_| length <= LABEL_LENGTH_MAX)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label));
        at += length;
    }
}

/// The fixed table: reverse names of the clients, and where names lead.
const NAMES: [(&str, Record); 8] = [
    ("2.0.0.127.in-addr.arpa", Record::Pointer("mx.fabrikam.example")),
    ("mx.fabrikam.example", Record::Address(super::mail::FABRIKAM)),
    (
        "3.0.0.127.in-addr.arpa",
        Record::Pointer("mail-dm6nam12lp2175.outbound.protection.outlook.com"),
    ),
    (
        "mail-dm6nam12lp2175.outbound.protection.outlook.com",
        Record::Address(super::mail::EXCHANGE_ONLINE),
    ),
    // This one claims a name whose owner, the line after says, is elsewhere.
    (
        "4.0.0.127.in-addr.arpa",
        Record::Pointer("mail-mw2nam10lp2044.outbound.protection.outlook.com"),
    ),
    (
        "mail-mw2nam10lp2044.outbound.protection.outlook.com",
        Record::Address(Ipv4Addr::new(192, 0, 2, 44)),
    ),
    (super::scene::TENANT_HOST, Record::Address(Ipv4Addr::LOCALHOST)),
    (super::scene::INTERNET_HOST, Record::Address(Ipv4Addr::LOCALHOST)),
];

/// Types of records (RFC 1035 3.2.2).
const A: u16 = 1;
const PTR: u16 = 12;
const CLASS_INTERNET: [u8; 2] = [0, 1];
/// Points to octet 12, where the name of the question is (RFC 1035 4.1.4).
const NAME_OF_THE_QUESTION: [u8; 2] = [0xc0, 0x0c];
const AUTHORITATIVE_RESPONSE: u8 = 0x84;
const RECURSION_AVAILABLE: u8 = 0x80;
const NO_SUCH_NAME: u8 = 3;
const TIME_TO_LIVE_SECONDS: u32 = 300;
const HEADER_SIZE: usize = 12;
const LABEL_LENGTH_MAX: usize = 63;
const QUERY_SIZE_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            out.push(u8::try_from(label.len()).expect("short"));
            out.extend(label.as_bytes());
        }
        out.push(0);
        out.extend(kind.to_be_bytes());
        out.extend(CLASS_INTERNET);
        out
    }

    #[test]
    fn a_known_name_has_its_address() {
        let answer = answer(&query("MX.fabrikam.example", A)).expect("an answer");
        assert_eq!(answer[..8], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(answer[answer.len() - 4..], [127, 0, 0, 2]);
    }

    #[test]
    fn a_known_name_without_such_a_record_is_not_denied() {
        let answer = answer(&query("mx.fabrikam.example", 28)).expect("an answer");
        assert_eq!(answer[2..8], [0x85, 0x80, 0, 1, 0, 0]);
    }

    #[test]
    fn an_unknown_name_is_denied() {
        let answer = answer(&query("9.0.0.127.in-addr.arpa", PTR)).expect("an answer");
        assert_eq!(answer[2..8], [0x85, 0x83, 0, 1, 0, 0]);
    }

    #[test]
    fn what_is_not_a_query_gets_no_answer() {
        let good = query("mx.fabrikam.example", A);
        for size in 0..good.len() {
            assert!(answer(&good[..size]).is_none(), "{size}");
        }
        let mut response = good;
        response[2] |= 0x80;
        assert!(answer(&response).is_none());
    }
}
