//! TCP as the shard sees it. The one file that knows how glommio reads and writes a socket.
//!
//! A socket owns its receive buffer: whether bytes came by readiness, by a completion or in a
//! buffer the kernel chose is nobody else's business.

use std::{
    io,
    net::{IpAddr, Shutdown, SocketAddr},
    time::Duration,
};

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use glommio::net::{TcpListener, TcpStream};

/// An address the shard takes connections from. Every shard binds its own socket to the same
/// address (`SO_REUSEPORT`); the kernel spreads the clients.
pub(crate) struct Acceptor {
    listener: TcpListener,
}

/// A connection in either direction.
pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Box<[u8]>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Acceptor {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).map_err(io::Error::from)?;
        Ok(Self { listener })
    }

    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        Socket::new(self.listener.accept().await.map_err(io::Error::from)?)
    }
}

impl Socket {
    /// Connects within `limit`, or fails with `TimedOut`.
    pub(crate) async fn connect(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, limit).await.map_err(io::Error::from)?;
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true).map_err(io::Error::from)?;
        let local = stream.local_addr().map_err(io::Error::from)?;
        let remote = stream.peer_addr().map_err(io::Error::from)?;
        Ok(Self { stream, buffer: vec![0; RECEIVE_SIZE].into(), local, remote })
    }

    /// Waits for bytes; none means the peer has finished sending.
    pub(crate) async fn receive(&mut self) -> io::Result<&[u8]> {
        let count = self.stream.read(&mut self.buffer).await?;
        Ok(&self.buffer[..count])
    }

    /// Bytes that are here already; none if there are none, or the peer has gone.
    pub(crate) async fn receive_now(&mut self) -> &[u8] {
        match future::poll_once(self.stream.read(&mut self.buffer)).await {
            Some(Ok(count)) => &self.buffer[..count],
            Some(Err(_)) | None => &[],
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says that nothing more will be sent; the peer's last words may still arrive.
    pub(crate) async fn finish(&self) {
        // The connection is over either way; a peer that is gone already is no news.
        let _ = self.stream.shutdown(Shutdown::Write).await;
    }

    pub(crate) fn local(&self) -> SocketAddr {
        unmapped(self.local)
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        unmapped(self.remote)
    }
}

/// A client of a dual-stack listener that speaks IPv4 has an IPv4-mapped IPv6 address (RFC 4291
/// 2.5.5.2); tables and logs know it by the IPv4 address.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}

/// Octets read at once: a small message with its commands, or a quarter of a content block.
const RECEIVE_SIZE: usize = 16 * 1024;
