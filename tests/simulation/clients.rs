//! Sending clients: scripts that pipeline, chunk, break off and disappear, as the seed says.

use std::{rc::Rc, time::Duration};

use crate::{
    invariants::{Mail, Sent},
    network::End,
    world::Surroundings,
};

/// Connects when its time has come and sends up to three messages.
pub(crate) async fn run(around: Rc<Surroundings>) {
    for _ in 0..10 {
        if let Some(end) = around.call() {
            let mut client = Client { around, end, input: Vec::new(), is_extended: true };
            // How far it came is in the ledger.
            let _ = client.converse().await;
            return;
        }
        around.tasks.sleep(Duration::from_secs(5)).await;
    }
}

struct Client {
    around: Rc<Surroundings>,
    end: End,
    input: Vec<u8>,
    is_extended: bool,
}

/// The connection is gone, or the client has had enough.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Client {
    async fn converse(&mut self) -> Result<(), Over> {
        if self.reply().await? != 220 {
            return Ok(());
        }
        self.is_extended = !self.chance(1, 5);
        self.end.send(if self.is_extended {
            b"EHLO c.example\r\n"
        } else {
            b"HELO c.example\r\n"
        })?;
        if self.reply().await? != 250 {
            return Ok(());
        }
        for _ in 0..1 + self.around.tasks.below(3) {
            let token = self.compose();
            self.transact(token).await?;
            let pause = self.around.tasks.delay(Duration::from_secs(20));
            self.around.tasks.sleep(pause).await;
        }
        match self.around.tasks.below(4) {
            0 => self.end.reset(),
            1 => {
                self.end.shut();
                self.reply().await?;
            }
            _ => {
                self.end.send(b"QUIT\r\n")?;
                self.reply().await?;
            }
        }
        Ok(())
    }

    /// A new message in the ledger.
    fn compose(&self) -> u64 {
        let tasks = &self.around.tasks;
        let token = self.around.number();
        let sender = (!tasks.chance(1, 6)).then(|| format!("s{token}@{}", self.around.home()));
        let mut recipients = Vec::new();
        for number in 0..1 + tasks.below(4) {
            let domain = match tasks.below(30) {
                0 => "nowhere.example",
                1 => "refused.example",
                _ => &self.around.hosts[tasks.below(self.around.hosts.len())].domain,
            };
            recipients.push(format!("r{number}@{domain}"));
        }
        let mut content = format!("X-Token: {token}\r\nSubject: test\r\n\r\n").into_bytes();
        let size = tasks.below(if tasks.chance(1, 4) { 6_000 } else { 300 });
        while content.len() < size {
            let line = ["", ".", "..", ".x", "From me", "text text text text text text"];
            content.extend_from_slice(line[tasks.below(line.len())].as_bytes());
            content.extend_from_slice(format!("{}\r\n", tasks.below(1_000_000)).as_bytes());
        }
        self.around.ledger.borrow_mut().compose(token, Mail::new(sender, recipients, content));
        token
    }

    async fn transact(&mut self, token: u64) -> Result<(), Over> {
        let (sender, recipients, content) = self.around.ledger.borrow().mail(token);
        let mut commands = vec![format!("MAIL FROM:<{}>\r\n", sender.unwrap_or_default())];
        commands.extend(recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n")));
        let in_chunks = self.is_extended && self.chance(1, 3);
        let pipelines = self.is_extended && self.chance(1, 2);
        if !in_chunks {
            commands.push("DATA\r\n".into());
        }
        let mut chunks = if in_chunks { self.chunks(&content) } else { Vec::new() };
        let mut codes = Vec::new();
        if pipelines {
            let mut flight = commands.concat().into_bytes();
            if in_chunks && self.chance(1, 2) {
                self.note(token, Sent::Unknown);
                flight.extend(std::mem::take(&mut chunks).concat());
                self.end.send(&flight)?;
                let last = self.pipelined_chunks(token, &recipients, &mut codes).await?;
                self.judge(token, last);
                return self.clear().await;
            }
            self.end.send(&flight)?;
            for _ in &commands {
                codes.push(self.reply().await?);
            }
        } else {
            for command in &commands {
                self.end.send(command.as_bytes())?;
                codes.push(self.reply().await?);
            }
        }
        self.note_refused(token, &recipients, &codes);
        if in_chunks {
            self.send_chunks(token, chunks).await
        } else if codes.last() == Some(&354) {
            self.send_content(token, &content).await
        } else {
            self.clear().await
        }
    }

    /// Makes sure that the next message has nothing to do with this one.
    async fn clear(&mut self) -> Result<(), Over> {
        self.end.send(b"RSET\r\n")?;
        self.reply().await.map(|_| ())
    }

    /// The replies to a flight that had everything in it; gives the last.
    async fn pipelined_chunks(
        &mut self,
        token: u64,
        recipients: &[String],
        codes: &mut Vec<u16>,
    ) -> Result<u16, Over> {
        for _ in 0..=recipients.len() {
            codes.push(self.reply().await?);
        }
        self.note_refused(token, recipients, codes);
        // Two chunks and the last.
        self.reply().await?;
        self.reply().await?;
        self.reply().await
    }

    async fn send_content(&mut self, token: u64, content: &[u8]) -> Result<(), Over> {
        let stuffed = stuffed(content);
        let cut = self.around.tasks.below(stuffed.len() + 1);
        self.end.send(&stuffed[..cut])?;
        if self.chance(1, 10) {
            return self.break_off(token);
        }
        let pause = self.around.tasks.delay(Duration::from_secs(60));
        self.around.tasks.sleep(pause).await;
        self.note(token, Sent::Unknown);
        self.end.send(&[&stuffed[cut..], b".\r\n"].concat())?;
        if self.chance(1, 12) {
            return Err(Over);
        }
        let code = self.reply().await?;
        self.judge(token, code);
        Ok(())
    }

    async fn send_chunks(&mut self, token: u64, chunks: Vec<Vec<u8>>) -> Result<(), Over> {
        let last = chunks.len() - 1;
        for (index, chunk) in chunks.into_iter().enumerate() {
            if self.chance(1, 20) {
                self.end.send(&chunk[..chunk.len() / 2])?;
                return self.break_off(token);
            }
            if index == last {
                self.note(token, Sent::Unknown);
            }
            self.end.send(&chunk)?;
            let code = self.reply().await?;
            if index == last {
                self.judge(token, code);
            } else if code != 250 {
                return Err(Over);
            }
        }
        Ok(())
    }

    /// Three BDAT commands with their octets.
    fn chunks(&self, content: &[u8]) -> Vec<Vec<u8>> {
        let first = self.around.tasks.below(content.len());
        let second = first + self.around.tasks.below(content.len() - first);
        let bdat = |octets: &[u8], last: &str| {
            [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat()
        };
        vec![
            bdat(&content[..first], ""),
            bdat(&content[first..second], ""),
            bdat(&content[second..], " LAST"),
        ]
    }

    fn break_off(&self, token: u64) -> Result<(), Over> {
        self.around.ledger.borrow_mut().totals.broken_off += 1;
        assert_eq!(self.around.ledger.borrow().sent(token), Sent::Nothing);
        match self.around.tasks.below(3) {
            0 => self.end.reset(),
            1 => self.end.shut(),
            _ => {}
        }
        Err(Over)
    }

    fn judge(&self, token: u64, code: u16) {
        self.note(
            token,
            match code {
                250 => Sent::Accepted,
                500.. => Sent::Refused,
                // Its record may have reached the disk all the same.
                _ => Sent::Unknown,
            },
        );
    }

    fn note(&self, token: u64, sent: Sent) {
        self.around.ledger.borrow_mut().note(token, sent);
    }

    fn note_refused(&self, token: u64, recipients: &[String], codes: &[u16]) {
        let mut ledger = self.around.ledger.borrow_mut();
        for (recipient, code) in recipients.iter().zip(&codes[1..]) {
            if *code != 250 {
                ledger.refuse(token, recipient);
            }
        }
    }

    /// The code of the next reply.
    async fn reply(&mut self) -> Result<u16, Over> {
        loop {
            while let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                let line = String::from_utf8(line).expect("replies are ASCII");
                if line.as_bytes()[3] == b' ' {
                    return Ok(line[..3].parse().expect("a reply begins with its code"));
                }
            }
            let until = self.around.tasks.now() + Duration::from_secs(1_800);
            let received = self.around.tasks.within(until, self.end.receive()).await;
            let Some(received) = received else {
                self.around.violated("the gateway did not answer a client".into());
                return Err(Over);
            };
            let octets = received?;
            if octets.is_empty() {
                return Err(Over);
            }
            self.input.extend_from_slice(&octets);
        }
    }

    fn chance(&self, times: usize, of: usize) -> bool {
        self.around.tasks.chance(times, of)
    }
}

fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 20);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}
