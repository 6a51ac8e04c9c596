//! Next hops: small SMTP servers that know nothing of the product, some of them difficult.
//!
//! A difficult host may say no, fall silent or go away at every command and on both sides of its
//! acceptance; what it has accepted it tells the ledger before it says so.

use std::{io, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use crate::{
    network::{self, End},
    tasks::Owner,
    world::Surroundings,
};

/// The gateway's end of a connection to a next hop.
pub(crate) struct Line {
    around: Rc<Surroundings>,
    number: u64,
    domain: Arc<str>,
    end: std::cell::RefCell<Option<Rc<End>>>,
}

/// Connects to a host of `domain`; none if it does not answer.
pub(crate) async fn connect(
    around: &Rc<Surroundings>,
    domain: &Arc<str>,
    address: IpAddr,
) -> Option<Line> {
    let tasks = &around.tasks;
    tasks.sleep(tasks.delay(Duration::from_secs(1))).await;
    let host = around.host_at(address).expect("the DNS names hosts that exist");
    assert_eq!(around.hosts[host].domain, *domain, "mail goes to its own domain");
    if around.is_difficult(host) && tasks.chance(1, 8) {
        tasks.sleep(tasks.delay(Duration::from_secs(30))).await;
        return None;
    }
    let (ours, theirs) = network::connect(tasks, around.has_faults.get());
    let number = around.number();
    let limit = around.hosts[host].limit;
    around.ledger.borrow_mut().connected(number, domain, limit);
    let peer = Peer {
        around: Rc::clone(around),
        host,
        number,
        end: theirs,
        input: Vec::new(),
        sender: None,
        recipients: Vec::new(),
        transactions: 0,
    };
    tasks.spawn(Owner::World, async {
        // How a conversation ends is all the same to the peer.
        let _ = peer.serve().await;
    });
    let end = std::cell::RefCell::new(Some(Rc::new(ours)));
    Some(Line { around: Rc::clone(around), number, domain: Arc::clone(domain), end })
}

impl Line {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn send(&self, octets: &[u8]) -> io::Result<()> {
        self.end().send(octets)
    }

    pub(crate) async fn receive(&self) -> io::Result<Vec<u8>> {
        self.end().receive().await
    }

    pub(crate) fn close(&self) {
        if let Some(end) = self.end.take() {
            let is_lost = end.line().is_reset();
            let mut ledger = self.around.ledger.borrow_mut();
            ledger.closed(self.number, &self.domain, is_lost);
        }
    }

    fn end(&self) -> Rc<End> {
        Rc::clone(self.end.borrow().as_ref().expect("the connection is open"))
    }
}

impl Drop for Line {
    /// The process was killed.
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            self.around.ledger.borrow_mut().closed(self.number, &self.domain, true);
            if self.around.tasks.chance(1, 2) {
                end.reset();
            }
        }
    }
}

struct Peer {
    around: Rc<Surroundings>,
    host: usize,
    number: u64,
    end: End,
    input: Vec<u8>,
    sender: Option<String>,
    recipients: Vec<String>,
    transactions: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Fine,
    Refuse(&'static str),
    Leave,
    Close,
    Stall,
}

/// The peer will not go on.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Peer {
    async fn serve(mut self) -> Result<(), Over> {
        self.answer("220 mx.example ready\r\n").await?;
        loop {
            let line = self.line().await?;
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => self.ehlo().await?,
                "HELO" => self.answer("250 mx.example\r\n").await?,
                "MAIL" => self.mail(&line).await?,
                "RCPT" => self.rcpt(&line).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.sender = None;
                    self.answer("250 reset\r\n").await?;
                }
                "QUIT" => {
                    self.answer("221 bye\r\n").await?;
                    return Ok(());
                }
                _ => self.end.send(b"500 what?\r\n")?,
            }
        }
    }

    async fn ehlo(&mut self) -> Result<(), Over> {
        let offer = match self.number % 4 {
            0 => "502 no EHLO\r\n",
            1 => "250-mx.example\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n",
            _ => "250-mx.example\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n",
        };
        self.answer(offer).await
    }

    async fn mail(&mut self, line: &str) -> Result<(), Over> {
        self.transactions += 1;
        let most = self.around.hosts[self.host].messages_per_connection;
        if self.transactions > most {
            let count = self.transactions;
            self.around.violated(format!("message {count} of {most} on one connection"));
        }
        let mood = self.mood();
        self.react(mood).await?;
        if mood == Mood::Fine {
            self.sender = Some(path(line));
            self.recipients.clear();
            self.end.send(b"250 2.1.0 sender\r\n")?;
        }
        Ok(())
    }

    async fn rcpt(&mut self, line: &str) -> Result<(), Over> {
        if self.sender.is_none() {
            return Ok(self.end.send(b"503 5.5.1 MAIL first\r\n")?);
        }
        let mood = self.mood();
        self.react(mood).await?;
        if mood == Mood::Fine {
            self.recipients.push(path(line));
            self.end.send(b"250 2.1.5 recipient\r\n")?;
        }
        Ok(())
    }

    async fn data(&mut self) -> Result<(), Over> {
        if self.sender.is_none() || self.recipients.is_empty() {
            return Ok(self.end.send(b"554 5.5.1 no recipients\r\n")?);
        }
        let mood = self.mood();
        self.react(mood).await?;
        if mood != Mood::Fine {
            return Ok(());
        }
        self.end.send(b"354 go on\r\n")?;
        let mut content = Vec::new();
        loop {
            let line = self.octets().await?;
            match line.strip_prefix(b".") {
                Some(b"\r\n") => break,
                Some(rest) => content.extend_from_slice(rest),
                None => content.extend_from_slice(&line),
            }
        }
        self.end_of_data(&content).await
    }

    async fn end_of_data(&mut self, content: &[u8]) -> Result<(), Over> {
        let mood = self.mood();
        self.react(mood).await?;
        let sender = self.sender.take().expect("DATA follows MAIL");
        if mood != Mood::Fine {
            return Ok(());
        }
        {
            let mut ledger = self.around.ledger.borrow_mut();
            ledger.accepted(self.number, &sender, &self.recipients, content);
        }
        match self.mood() {
            mood @ (Mood::Close | Mood::Stall) => self.react(mood).await?,
            Mood::Leave => {
                // It has accepted, says so, and goes.
                self.end.send(b"250 2.0.0 accepted\r\n")?;
                return Err(Over);
            }
            Mood::Fine | Mood::Refuse(_) => self.end.send(b"250 2.0.0 accepted\r\n")?,
        }
        Ok(())
    }

    async fn answer(&mut self, reply: &str) -> Result<(), Over> {
        let mood = self.mood();
        self.react(mood).await?;
        if mood == Mood::Fine {
            self.end.send(reply.as_bytes())?;
        }
        Ok(())
    }

    /// Shows the mood, unless it is fine.
    async fn react(&mut self, mood: Mood) -> Result<(), Over> {
        match mood {
            Mood::Fine => return Ok(()),
            Mood::Refuse(reply) => {
                if reply.starts_with('5') {
                    let domain = &self.around.hosts[self.host].domain;
                    self.around.ledger.borrow_mut().refused(domain);
                }
                return Ok(self.end.send(reply.as_bytes())?);
            }
            Mood::Leave => self.end.send(b"421 4.3.2 going down\r\n")?,
            Mood::Close => {}
            Mood::Stall => {
                let wait = self.around.tasks.delay(Duration::from_secs(3_600));
                self.around.ledger.borrow_mut().lose(self.number);
                self.around.tasks.sleep(wait).await;
            }
        }
        self.around.ledger.borrow_mut().lose(self.number);
        Err(Over)
    }

    fn mood(&self) -> Mood {
        if !self.around.is_difficult(self.host) {
            return Mood::Fine;
        }
        match self.around.tasks.below(60) {
            0 | 1 => Mood::Refuse("451 4.3.0 not now\r\n"),
            2 => Mood::Refuse("550 5.7.1 no\r\n"),
            3 => Mood::Leave,
            4 | 5 => Mood::Close,
            6 => Mood::Stall,
            _ => Mood::Fine,
        }
    }

    async fn line(&mut self) -> Result<String, Over> {
        let octets = self.octets().await?;
        Ok(String::from_utf8_lossy(&octets).trim_end().to_owned())
    }

    /// Up to and with the next CRLF.
    async fn octets(&mut self) -> Result<Vec<u8>, Over> {
        let mut from = 0;
        loop {
            let end = self.input[from..].windows(2).position(|pair| pair == b"\r\n");
            if let Some(end) = end {
                return Ok(self.input.drain(..from + end + 2).collect());
            }
            from = self.input.len().saturating_sub(1);
            let until = self.around.tasks.now() + Duration::from_secs(3_600);
            let received = self.around.tasks.within(until, self.end.receive()).await;
            let octets = received.ok_or(Over)??;
            if octets.is_empty() {
                return Err(Over);
            }
            self.input.extend_from_slice(&octets);
        }
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let path = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    path.map_or_else(String::new, |(path, _)| path.to_owned())
}
