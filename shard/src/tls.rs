//! TLS over a shard's socket: rustls is a machine too, so a TLS connection is bytes through
//! rustls, then bytes through the SMTP machine. No adapter, no generic streams.

mod identity;
mod verify;

use std::{
    io::{self, Read, Write},
    sync::Arc,
    time::Duration,
};

use rustls::{CipherSuite, ClientConfig, ProtocolVersion, ServerConfig, pki_types::ServerName};

use crate::socket::Socket;
pub use identity::{IdentityError, server_config};
pub(crate) use verify::{Clients, Roots};

/// A connection that may have been secured.
pub(crate) struct Connection {
    socket: Socket,
    session: Option<Box<rustls::Connection>>,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
    /// The peer has said `close_notify`: what comes after it is nothing (RFC 8446 6.1).
    has_peer_closed: bool,
}

/// What was negotiated, as `mail_logs` name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Negotiated {
    pub(crate) protocol: &'static str,
    pub(crate) cipher: &'static str,
}

impl Connection {
    pub(crate) const fn new(socket: Socket) -> Self {
        Self {
            socket,
            session: None,
            plaintext: Vec::new(),
            ciphertext: Vec::new(),
            has_peer_closed: false,
        }
    }

    /// Takes the server's part in a handshake.
    pub(crate) async fn accept_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<Negotiated> {
        let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        self.shake_hands(session.into()).await
    }

    /// Takes the client's part in a handshake.
    pub(crate) async fn connect_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Negotiated> {
        let session = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
        self.shake_hands(session.into()).await
    }

    /// Waits for plaintext; none means the peer has finished sending.
    pub(crate) async fn receive(&mut self) -> io::Result<&[u8]> {
        let Some(session) = &mut self.session else {
            return self.socket.receive().await;
        };
        self.plaintext.clear();
        while self.plaintext.is_empty() && !self.has_peer_closed {
            let bytes = self.socket.receive().await?;
            if bytes.is_empty() {
                return Ok(&[]);
            }
            self.has_peer_closed = match decrypt(session, bytes, &mut self.plaintext) {
                Ok(has_closed) => has_closed,
                Err(error) => {
                    alert(session, &mut self.ciphertext, &mut self.socket).await;
                    return Err(error);
                }
            };
            // Key updates and alerts want an answer even when no plaintext came.
            if session.wants_write() {
                encrypt(session, &mut self.ciphertext)?;
                self.socket.send(&self.ciphertext).await?;
            }
        }
        Ok(&self.plaintext)
    }

    /// Plaintext that is here already, before anything was said to the peer.
    pub(crate) async fn receive_now(&mut self) -> &[u8] {
        self.socket.receive_now().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            return self.socket.send(bytes).await;
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = session.writer().write(rest)?;
            rest = &rest[taken..];
            encrypt(session, &mut self.ciphertext)?;
            self.socket.send(&self.ciphertext).await?;
        }
        Ok(())
    }

    /// Ends our side: `close_notify`, then FIN. Waits while the peer reads nothing.
    pub(crate) async fn finish(&mut self) {
        if let Some(session) = &mut self.session {
            session.send_close_notify();
            if encrypt(session, &mut self.ciphertext).is_ok() {
                // The peer may be gone already; the connection is over either way.
                let _ = self.socket.send(&self.ciphertext).await;
            }
        }
        self.socket.finish().await;
    }

    async fn shake_hands(&mut self, session: rustls::Connection) -> io::Result<Negotiated> {
        let mut session = Box::new(session);
        self.plaintext.clear();
        while session.is_handshaking() {
            if session.wants_write() {
                encrypt(&mut session, &mut self.ciphertext)?;
                self.socket.send(&self.ciphertext).await?;
                continue;
            }
            let bytes = self.socket.receive().await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match decrypt(&mut session, bytes, &mut self.plaintext) {
                Ok(has_closed) if has_closed && session.is_handshaking() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(has_closed) => self.has_peer_closed = has_closed,
                Err(error) => {
                    alert(&mut session, &mut self.ciphertext, &mut self.socket).await;
                    return Err(error);
                }
            }
        }
        if session.wants_write() {
            encrypt(&mut session, &mut self.ciphertext)?;
            self.socket.send(&self.ciphertext).await?;
        }
        let negotiated = Negotiated {
            protocol: session.protocol_version().map_or("TLS", protocol_name),
            cipher: session
                .negotiated_cipher_suite()
                .map_or("-", |suite| cipher_name(suite.suite())),
        };
        self.session = Some(session);
        Ok(negotiated)
    }

    /// Plaintext that came in the same flight as the end of the handshake.
    pub(crate) fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plaintext)
    }
}

/// Feeds ciphertext in, takes plaintext out; rustls holds only a record or two at a time, so both
/// alternate. True once the peer has said `close_notify`; rustls takes nothing after it, so what is
/// left of `bytes` is dropped.
fn decrypt(
    session: &mut rustls::Connection,
    mut bytes: &[u8],
    plaintext: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut has_peer_closed = false;
    while !bytes.is_empty() && !has_peer_closed {
        session.read_tls(&mut bytes)?;
        let state = session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        has_peer_closed = state.peer_has_closed();
        let ready = state.plaintext_bytes_to_read();
        if ready > 0 {
            let start = plaintext.len();
            plaintext.resize(start + ready, 0);
            session.reader().read_exact(&mut plaintext[start..])?;
        }
    }
    Ok(has_peer_closed)
}

/// Sends the alert that says what was wrong: the peer is owed it (RFC 8446 6.2). One that is gone
/// already does not hear it; the connection is over either way.
async fn alert(session: &mut rustls::Connection, ciphertext: &mut Vec<u8>, socket: &mut Socket) {
    if encrypt(session, ciphertext).is_ok() {
        let _ = socket.send(ciphertext).await;
    }
}

fn encrypt(session: &mut rustls::Connection, ciphertext: &mut Vec<u8>) -> io::Result<()> {
    ciphertext.clear();
    while session.wants_write() {
        session.write_tls(ciphertext)?;
    }
    Ok(())
}

const fn protocol_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "TLS",
    }
}

/// OpenSSL's names, which AsyncOS logs and every log parser expect.
const fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "-",
    }
}

/// How long [`Connection::finish`] may take.
pub(crate) const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

    use super::*;

    /// A server named mx.example, and clients that trust its certificate.
    fn peers() -> (Arc<ServerConfig>, Clients) {
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).expect("made");
        let key = made.signing_key.serialize_pem();
        let identity = server_config(made.cert.pem().as_bytes(), key.as_bytes()).expect("usable");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        (identity, Clients::new(&Arc::new(roots)))
    }

    /// A client and a server that have shaken hands, without a network.
    fn pair(
        identity: Arc<ServerConfig>,
        config: Arc<ClientConfig>,
    ) -> (rustls::Connection, rustls::Connection) {
        let client = ClientConnection::new(config, name("mx.example")).expect("usable");
        let server = ServerConnection::new(identity).expect("usable");
        let (mut client, mut server): (rustls::Connection, rustls::Connection) =
            (client.into(), server.into());
        let (mut wire, mut plaintext) = (Vec::new(), Vec::new());
        while client.is_handshaking() || server.is_handshaking() {
            encrypt(&mut client, &mut wire).expect("encrypted");
            decrypt(&mut server, &wire, &mut plaintext).expect("decrypted");
            encrypt(&mut server, &mut wire).expect("encrypted");
            decrypt(&mut client, &wire, &mut plaintext).expect("decrypted");
        }
        (client, server)
    }

    fn name(name: &'static str) -> ServerName<'static> {
        ServerName::try_from(name).expect("a name")
    }

    #[test]
    fn a_certificate_proves_one_connection_and_a_resumed_session_proves_none() {
        let (identity, clients) = peers();
        let shake_hands = |names, must_verify| {
            let (config, proof) = clients.config(names, must_verify);
            let (client, _) = pair(Arc::clone(&identity), config);
            (proof.holds(), client.handshake_kind())
        };
        let full = Some(HandshakeKind::Full);
        for must_verify in [false, true, true, false] {
            assert_eq!(shake_hands(vec![name("mx.example")], must_verify), (true, full));
            assert_eq!(shake_hands(vec![name("mx.other.example")], false), (false, full));
        }
        assert_eq!(shake_hands(Vec::new(), false), (false, full));
        assert_eq!(shake_hands(Vec::new(), false), (false, Some(HandshakeKind::Resumed)));
        assert_eq!(shake_hands(vec![name("mx.example")], true), (true, full));
    }

    #[test]
    fn octets_behind_a_close_notify_are_dropped_and_do_not_hold_the_shard() {
        let (identity, clients) = peers();
        let (mut client, mut server) = pair(identity, clients.config(Vec::new(), false).0);
        client.writer().write_all(b"QUIT\r\n").expect("there is room");
        client.send_close_notify();
        let (mut wire, mut plaintext) = (Vec::new(), Vec::new());
        encrypt(&mut client, &mut wire).expect("encrypted");
        wire.resize(wire.len() + 64 * 1024, 0);
        assert!(decrypt(&mut server, &wire, &mut plaintext).expect("decrypted"));
        assert_eq!(plaintext, b"QUIT\r\n");
        assert!(decrypt(&mut server, b"more", &mut plaintext).expect("dropped"));
        assert_eq!(plaintext, b"QUIT\r\n");
    }
}
