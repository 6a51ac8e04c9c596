//! One connection of SMTP lines, in clear or within TLS, read and written by a thread that waits.
//!
//! The stand-ins share no code with the gateway's own SMTP: what one gets wrong, the other shows.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};

pub(super) struct Stream {
    socket: TcpStream,
    transport: BufReader<Box<dyn Transport>>,
    pub(super) is_tls: bool,
}

trait Transport: Read + Write {}

impl<T: Read + Write> Transport for T {}

impl Stream {
    /// `patience` is how long one read or write may take.
    pub(super) fn new(socket: TcpStream, patience: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        socket.set_nodelay(true)?;
        let transport = buffered(socket.try_clone()?);
        Ok(Self { socket, transport, is_tls: false })
    }

    /// The client's side of a handshake; what came before it in clear is forgotten (RFC 3207 4.2).
    pub(super) fn start_tls(&mut self, config: Arc<ClientConfig>, name: &str) -> io::Result<()> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        tls.complete_io(&mut self.socket)?;
        self.transport = buffered(StreamOwned::new(tls, self.socket.try_clone()?));
        self.is_tls = true;
        Ok(())
    }

    /// The server's side of it.
    pub(super) fn accept_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.complete_io(&mut self.socket)?;
        self.transport = buffered(StreamOwned::new(tls, self.socket.try_clone()?));
        self.is_tls = true;
        Ok(())
    }

    pub(super) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let transport = self.transport.get_mut();
        transport.write_all(octets)?;
        transport.flush()
    }

    /// The next line without its ending.
    pub(super) fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.transport).take(LINE_LENGTH_MAX).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            let why = if line.is_empty() { "the connection ended" } else { "a line broke off" };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        line.pop();
        line.pop_if(|octet| *octet == b'\r');
        Ok(line)
    }

    /// Content up to the line with the only dot (RFC 5321 4.5.2).
    pub(super) fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let line = self.line()?;
            if line == b"." {
                return Ok(content);
            }
            if content.len() + line.len() > CONTENT_SIZE_MAX {
                return Err(io::Error::other("a message is too large for the demonstration"));
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            content.extend_from_slice(b"\r\n");
        }
    }
}

fn buffered(transport: impl Transport + 'static) -> BufReader<Box<dyn Transport>> {
    BufReader::with_capacity(BUFFER_SIZE, Box::new(transport))
}

const BUFFER_SIZE: usize = 64 << 10;
const LINE_LENGTH_MAX: u64 = 64 << 10;
/// What Exchange Online takes by default.
pub(super) const CONTENT_SIZE_MAX: usize = 36 << 20;
