//! Sends one message as a mail server of the demonstration would, and says how far it got.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type};

use super::{mail::Mail, stream::Stream};

/// The step of a conversation that got the last word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Greeting,
    Hello,
    StartTls,
    Sender,
    Recipient,
    Content,
}

/// What the gateway said to the last step: acceptance of the content, or the first refusal.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) step: Step,
    /// The last line of the reply.
    pub(super) reply: String,
}

impl Answer {
    pub(super) fn is_accepted(&self) -> bool {
        self.step == Step::Content && self.reply.starts_with('2')
    }
}

/// Sends `mail` to `gateway`, whose certificate `tls` trusts for `name`.
pub(super) fn send(
    mail: &Mail,
    gateway: SocketAddr,
    tls: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Answer> {
    let mut stream = Stream::new(connect(mail.client, gateway)?, PATIENCE)?;
    let answer = converse(&mut stream, mail, tls, name)?;
    // Who was turned away may find nobody listening any more.
    let _ = stream.send(b"QUIT\r\n").and_then(|()| reply(&mut stream));
    Ok(answer)
}

fn converse(
    stream: &mut Stream,
    mail: &Mail,
    tls: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Answer> {
    let greeting = reply(stream)?;
    if !greeting.starts_with('2') {
        return Ok(Answer { step: Step::Greeting, reply: greeting });
    }
    let hello = format!("EHLO {}\r\n", mail.hello);
    let mut steps = vec![(Step::Hello, hello.clone())];
    if mail.uses_tls {
        steps.push((Step::StartTls, "STARTTLS\r\n".to_owned()));
        steps.push((Step::Hello, hello));
    }
    let size = mail.content.len();
    steps.push((Step::Sender, format!("MAIL FROM:<{}> SIZE={size}\r\n", mail.sender)));
    for recipient in mail.recipients {
        steps.push((Step::Recipient, format!("RCPT TO:<{recipient}>\r\n")));
    }
    steps.push((Step::Content, "DATA\r\n".to_owned()));
    for (step, command) in steps {
        stream.send(command.as_bytes())?;
        let reply = reply(stream)?;
        if !reply.starts_with(['2', '3']) {
            return Ok(Answer { step, reply });
        }
        if step == Step::StartTls {
            stream.start_tls(Arc::clone(tls), name)?;
        }
    }
    stream.send(&stuffed(&mail.content))?;
    Ok(Answer { step: Step::Content, reply: reply(stream)? })
}

/// From an address of one's own, as different servers have: all of 127/8 is this machine.
fn connect(client: Ipv4Addr, gateway: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((client, 0)).into())?;
    socket.connect_timeout(&gateway.into(), PATIENCE)?;
    Ok(socket.into())
}

/// The last line of the next reply.
fn reply(stream: &mut Stream) -> io::Result<String> {
    for _ in 0..REPLY_LINES_MAX {
        let line = stream.line()?;
        if line.get(3) != Some(&b'-') {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
    }
    Err(io::Error::other("a reply has no end"))
}

/// Content as it is sent, with the line that ends it (RFC 5321 4.5.2).
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 64);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Greeting => "at once",
            Self::Hello => "after EHLO",
            Self::StartTls => "after STARTTLS",
            Self::Sender => "after MAIL FROM",
            Self::Recipient => "after RCPT TO",
            Self::Content => "after DATA",
        })
    }
}

/// How long one read, write or connection may take.
const PATIENCE: Duration = Duration::from_secs(8);
const REPLY_LINES_MAX: usize = 100;
