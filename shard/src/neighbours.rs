//! Who listens on this machine already, as the kernel tells it (`proc(5)`, `/proc/net/tcp`).
//!
//! The shards share their addresses (`SO_REUSEPORT`), so binding one says nothing about others: a
//! second gateway would be let in and given half the clients. Asking is the only way to know, and
//! unlike a trial bind it is not disturbed by connections of a life that ended a moment ago.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Whether some socket listens where `address` would. No, if the kernel does not tell.
pub(crate) fn is_taken(address: SocketAddr) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .any(|table| table.lines().filter_map(listening).any(|other| overlap(other, address)))
}

/// The local address of a line of the table, if it is a listening socket's.
fn listening(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then_some(SocketAddr::new(parse(ip)?, port))
}

/// Addresses are words of 32 bits in the byte order of the machine, each in hexadecimal.
fn parse(hexadecimal: &str) -> Option<IpAddr> {
    let mut octets = [0; 16];
    let words = hexadecimal.len() / 8;
    for word in 0..words.min(4) {
        let digits = hexadecimal.get(word * 8..word * 8 + 8)?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        octets[word * 4..word * 4 + 4].copy_from_slice(&value.to_ne_bytes());
    }
    match words {
        1 => Some(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into()),
        4 => Some(Ipv6Addr::from(octets).to_canonical()),
        _ => None,
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip().to_canonical());
    let covers = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

/// `TCP_LISTEN` of the kernel.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "   0: 0100007F:09DD 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        let expected =
            if cfg!(target_endian = "little") { "127.0.0.1:2525" } else { "1.0.0.127:2525" };
        assert_eq!(listening(line), Some(expected.parse().unwrap()));
        let established = line.replace(" 0A ", " 01 ");
        assert_eq!(listening(&established), None);
        assert_eq!(listening("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn a_wildcard_takes_every_address_of_its_port() {
        let is_taken =
            |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(is_taken("0.0.0.0:25", "192.0.2.1:25") && is_taken("[::]:25", "192.0.2.1:25"));
        assert!(is_taken("127.0.0.1:25", "0.0.0.0:25") && is_taken("[::1]:25", "[::]:25"));
        assert!(!is_taken("0.0.0.0:25", "[::1]:25") && !is_taken("127.0.0.1:25", "127.0.0.2:25"));
        assert!(!is_taken("127.0.0.1:25", "127.0.0.1:26"));
    }

    #[test]
    fn a_listener_is_seen_and_its_end_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(is_taken(address));
        drop(listener);
        assert!(!is_taken(address));
    }
}
