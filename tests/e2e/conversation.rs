//! A raw SMTP client: says what it is told to, expects what it is told to, helps nobody.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use crate::patience::seconds;

pub(crate) struct Conversation {
    stream: BufReader<TcpStream>,
}

impl Conversation {
    /// Connects from 127.0.0.1. Nothing is read yet.
    pub(crate) fn open(port: u16) -> Self {
        Self::open_from(Ipv4Addr::LOCALHOST, port)
    }

    /// Connects from an address of loopback.
    pub(crate) fn open_from(address: Ipv4Addr, port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((address, 0)).into()).expect("loopback is ours");
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect_timeout(&server.into(), seconds(10)).expect("the gateway listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(seconds(20))).expect("a socket option");
        stream.set_write_timeout(Some(seconds(20))).expect("a socket option");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes());
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).expect("the gateway reads");
    }

    /// The next reply, all lines of it. Empty when the connection has ended.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            match self.stream.read_line(&mut reply) {
                Ok(0) | Err(_) => return reply,
                Ok(_) => {}
            }
            let line = &reply[start..];
            assert!(line.ends_with("\r\n") && line.len() >= 5, "no reply line: {line:?}");
            if line.as_bytes()[3] == b' ' {
                return reply;
            }
        }
    }

    /// The next reply, which must begin so.
    pub(crate) fn expect(&mut self, beginning: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(beginning), "expected {beginning:?}, got {reply:?}");
        reply
    }

    pub(crate) fn ask(&mut self, line: &str, beginning: &str) -> String {
        self.say(line);
        let reply = self.reply();
        assert!(reply.starts_with(beginning), "to {line:?} expected {beginning:?}, got {reply:?}");
        reply
    }

    /// A whole transaction up to the reply to the final dot. Content ends with CRLF and has no
    /// line that begins with a dot.
    pub(crate) fn transact(&mut self, from: &str, to: &str, content: &str) -> String {
        self.ask(&format!("MAIL FROM:<{from}>"), "250 ");
        self.ask(&format!("RCPT TO:<{to}>"), "250 ");
        self.ask("DATA", "354 ");
        self.send(content.as_bytes());
        self.send(b".\r\n");
        self.reply()
    }

    /// Whether the other side has ended the connection without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut octet = [0];
        match self.stream.read(&mut octet) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// A message with a token that the sink finds it by.
pub(crate) fn message(token: &str, fields: &str, body: &str) -> String {
    format!(
        "From: <a@sender.example>\r\nTo: <b@remote.example>\r\nSubject: {token}\r\n\
         Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{token}@sender.example>\r\n\
         X-Perf-Token: {token}\r\n{fields}\r\n{body}\r\n"
    )
}
