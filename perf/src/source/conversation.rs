//! One connection of the source and the transactions on it: each turn is one write and one
//! read, because a turn costs two system calls whatever is in it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::reply::{Replies, Reply};
use super::tally::Outcome;

/// Why no connection was made.
#[derive(Debug)]
pub enum ConnectFailure {
    /// The server answered the connection or EHLO with this code.
    Refused(u16),
    Network,
}

/// What a connection needs to know of the run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one connection or reply.
    pub timeout: Duration,
    /// End of the whole run.
    pub end: Instant,
}

impl Limits {
    fn deadline(&self) -> Instant {
        self.end.min(Instant::now() + self.timeout)
    }
}

/// A message ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// MAIL and all RCPT commands, one a line.
    pub envelope: &'a [u8],
    pub recipients: usize,
    pub header: &'a [u8],
    /// The body and the line with the final dot.
    pub body: &'a [u8],
}

/// How far a transaction went.
#[derive(Debug)]
pub struct Progress<'a> {
    /// When the whole content with its final dot had been handed to the kernel.
    pub final_dot: Option<Instant>,
    pub recipients_refused: u64,
    /// Counts the messages between their final dot and its reply. A run that is interrupted
    /// leaves it as it is, and so knows what it cannot know.
    awaiting_reply: &'a Cell<u64>,
}

impl<'a> Progress<'a> {
    pub fn new(awaiting_reply: &'a Cell<u64>) -> Self {
        Self { final_dot: None, recipients_refused: 0, awaiting_reply }
    }
}

/// A connection that has been greeted.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    replies: Replies,
    limits: Limits,
    pipelining: bool,
    /// Messages begun on this connection.
    pub messages: u64,
    /// Nothing more may be sent: the server said 421 or the connection is lost.
    pub is_over: bool,
}

impl Connection {
    /// Connects, awaits the greeting and says EHLO, or HELO to a server that knows no EHLO.
    pub async fn open(
        server: SocketAddr,
        client: Option<IpAddr>,
        helo: &str,
        pipelining_wanted: bool,
        limits: Limits,
    ) -> Result<Self, ConnectFailure> {
        let connect = connect(server, client);
        let stream = match timeout_at(limits.deadline(), connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return Err(ConnectFailure::Network),
        };
        let replies = Replies::default();
        let (messages, is_over) = (0, false);
        let mut connection = Self { stream, replies, limits, pipelining: false, messages, is_over };
        let greeting = connection.reply().await.map_err(|_| ConnectFailure::Network)?;
        if !greeting.is_positive() {
            return Err(ConnectFailure::Refused(greeting.code));
        }
        let hello = connection.hello(helo).await.map_err(|_| ConnectFailure::Network)?;
        if !hello.is_positive() {
            return Err(ConnectFailure::Refused(hello.code));
        }
        connection.pipelining = pipelining_wanted && hello.offers_pipelining;
        Ok(connection)
    }

    /// Sends a message; the progress tells how far even when the connection is lost.
    pub async fn send(&mut self, message: Outgoing<'_>, progress: &mut Progress<'_>) -> Outcome {
        self.messages += 1;
        let sent = if self.pipelining {
            self.send_pipelined(message, progress).await
        } else {
            self.send_in_turns(message, progress).await
        };
        match sent {
            Ok(reply) if reply.code == 250 => Outcome::Accepted,
            Ok(reply) => {
                self.is_over |= reply.code == SERVICE_CLOSES;
                Outcome::Refused(reply.code)
            }
            Err(_) => {
                self.is_over = true;
                let may_have_arrived = progress.final_dot.is_some();
                if may_have_arrived { Outcome::Unknown } else { Outcome::LostBeforeFinalDot }
            }
        }
    }

    /// Says QUIT and awaits the reply, as a client should; nobody minds if that fails.
    pub async fn quit(mut self) {
        if !self.is_over && self.write(b"QUIT\r\n").await.is_ok() {
            let answered = self.reply().await;
            drop(answered);
        }
    }

    async fn hello(&mut self, helo: &str) -> io::Result<Reply> {
        self.write(format!("EHLO {helo}\r\n").as_bytes()).await?;
        let reply = self.reply().await?;
        if (500..600).contains(&reply.code) {
            self.write(format!("HELO {helo}\r\n").as_bytes()).await?;
            return self.reply().await;
        }
        Ok(reply)
    }

    /// All commands in one write; the replies are read in order (RFC 2920 3.1).
    async fn send_pipelined(
        &mut self,
        message: Outgoing<'_>,
        progress: &mut Progress<'_>,
    ) -> io::Result<Reply> {
        self.write_parts(message.envelope, b"DATA\r\n").await?;
        let mail = self.reply().await?;
        let mut refusal = (!mail.is_positive()).then_some(mail);
        let mut taken = 0;
        for _ in 0..message.recipients {
            let recipient = self.reply().await?;
            if recipient.is_positive() {
                taken += 1;
            } else {
                progress.recipients_refused += 1;
                refusal = refusal.or(Some(recipient));
            }
        }
        let data = self.reply().await?;
        match refusal {
            Some(refusal) if taken == 0 => {
                if data.code == START_MAIL_INPUT {
                    // A server that takes content for nobody must be given an end of it.
                    self.write(b".\r\n").await?;
                    self.reply().await?;
                }
                Ok(refusal)
            }
            _ if data.code == START_MAIL_INPUT => self.send_content(message, progress).await,
            _ => self.reset_after(data).await,
        }
    }

    /// One command a turn, as clients do that know no PIPELINING.
    async fn send_in_turns(
        &mut self,
        message: Outgoing<'_>,
        progress: &mut Progress<'_>,
    ) -> io::Result<Reply> {
        let mut taken = 0;
        let mut refusal = None;
        for (index, command) in message.envelope.split_inclusive(|byte| *byte == b'\n').enumerate()
        {
            self.write(command).await?;
            let reply = self.reply().await?;
            match (index, reply.is_positive()) {
                (0, true) => {}
                (0, false) => return Ok(reply),
                (_, true) => taken += 1,
                (_, false) => {
                    progress.recipients_refused += 1;
                    refusal = refusal.or(Some(reply));
                }
            }
        }
        match refusal {
            Some(refusal) if taken == 0 => self.reset_after(refusal).await,
            _ => {
                self.write(b"DATA\r\n").await?;
                let data = self.reply().await?;
                if data.code == START_MAIL_INPUT {
                    return self.send_content(message, progress).await;
                }
                self.reset_after(data).await
            }
        }
    }

    async fn send_content(
        &mut self,
        message: Outgoing<'_>,
        progress: &mut Progress<'_>,
    ) -> io::Result<Reply> {
        self.write_parts(message.header, message.body).await?;
        progress.final_dot = Some(Instant::now());
        progress.awaiting_reply.update(|count| count + 1);
        let reply = self.reply().await;
        progress.awaiting_reply.update(|count| count - 1);
        reply
    }

    /// Clears the transaction, so that the connection can be used for the next one.
    async fn reset_after(&mut self, refusal: Reply) -> io::Result<Reply> {
        if refusal.code != SERVICE_CLOSES {
            self.write(b"RSET\r\n").await?;
            self.reply().await?;
        }
        Ok(refusal)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_parts(bytes, b"").await
    }

    async fn write_parts(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let written =
            timeout_at(self.limits.deadline(), write_both(&mut self.stream, first, second));
        written.await?
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            match self.replies.take() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
            let mut bytes = [0; 2048];
            let read = timeout_at(self.limits.deadline(), self.stream.read(&mut bytes)).await??;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.replies.receive(&bytes[..read]);
        }
    }
}

async fn connect(server: SocketAddr, client: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(client) = client {
        // Without this a port that waits in TIME_WAIT could not be bound again.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(client, 0))?;
    }
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn write_both(stream: &mut TcpStream, first: &[u8], second: &[u8]) -> io::Result<()> {
    let written = stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?;
    if written < first.len() {
        stream.write_all(&first[written..]).await?;
        return stream.write_all(second).await;
    }
    stream.write_all(&second[written - first.len()..]).await
}

const START_MAIL_INPUT: u16 = 354;

/// 421: the server closes the connection (RFC 5321 3.8).
const SERVICE_CLOSES: u16 = 421;
