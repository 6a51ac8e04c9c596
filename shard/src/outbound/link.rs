//! A connection to a next hop, greeted and secured as its destination demands.

use std::{future::Future, io, mem::take, rc::Rc, sync::Arc};

use futures_lite::future;
use ringpost_config::{self as config, Snapshot};
use ringpost_core::{
    event::{Event, Failure},
    id::Dcid,
    smtp::client::{Client, Settings, Step, Timeouts, TlsNeed},
    time::Time,
};
use ringpost_delivery::{
    destination::Tls,
    route::Hop,
    tls_policy::{Demand, Encryption, Protection, demand, judge},
};
use rustls::pki_types::ServerName;

use crate::{
    clock::Alarm,
    shard::Shard,
    socket::Socket,
    tls::{Connection, FINISH_TIMEOUT},
};

/// A delivery connection.
pub(super) struct Link {
    pub(super) dcid: Dcid,
    pub(super) client: Client,
    shard: Rc<Shard>,
    connection: Connection,
    alarm: Rc<Alarm>,
    is_open: bool,
}

/// Why a link did not come up.
enum Trouble {
    /// Another hop may be better.
    Failed,
    /// TLS was preferred and the handshake failed: the same hop may do without, on a new
    /// connection.
    Handshake,
}

impl Link {
    /// Connects, greets, and secures the connection if the destination wants it. None if this hop
    /// is of no use now; why is in the log.
    pub(super) async fn open(shard: &Rc<Shard>, domain: &Arc<str>, hop: &Hop) -> Option<Self> {
        let tls = shard.snapshot().destinations.find(domain).tls;
        let wanted = demand(tls, hop, domain);
        match Self::attempt(shard, domain, hop, tls, &wanted).await {
            Ok(link) => Some(link),
            Err(Trouble::Failed) => None,
            Err(Trouble::Handshake) => {
                let in_clear = Demand { encryption: Encryption::None, ..wanted };
                Self::attempt(shard, domain, hop, tls, &in_clear).await.ok()
            }
        }
    }

    async fn attempt(
        shard: &Rc<Shard>,
        domain: &Arc<str>,
        hop: &Hop,
        tls: Tls,
        wanted: &Demand,
    ) -> Result<Self, Trouble> {
        let snapshot = shard.snapshot();
        let start = shard.clock.now();
        let socket = match Socket::connect(hop.address, snapshot.delivery.connect_timeout).await {
            Ok(socket) => socket,
            Err(error) => {
                say_failed(shard, domain, hop, None, &error.to_string());
                return Err(Trouble::Failed);
            }
        };
        let dcid = shard.next_dcid().await;
        shard.say(Event::DeliveryConnectionOpened {
            dcid,
            local: socket.local().ip(),
            remote: hop.address.ip(),
            port: hop.address.port(),
            took: shard.clock.now().since(start),
        });
        let settings = Arc::new(settings(&snapshot, hop, wanted));
        let mut link = Self {
            dcid,
            client: Client::new(settings, shard.clock.now()),
            shard: Rc::clone(shard),
            connection: Connection::new(socket),
            alarm: shard.clock.alarm(),
            is_open: true,
        };
        let protection = match link.greet(domain, hop, wanted).await {
            Ok(protection) => protection,
            Err(trouble) => {
                link.close().await;
                return Err(trouble);
            }
        };
        if let Err(failure) = judge(tls, protection, &hop.name) {
            say_failed(shard, domain, hop, Some(dcid), &describe(&failure));
            link.quit().await;
            link.close().await;
            return Err(Trouble::Failed);
        }
        Ok(link)
    }

    /// Converses until the server is ready for a transaction.
    async fn greet(
        &mut self,
        domain: &Arc<str>,
        hop: &Hop,
        wanted: &Demand,
    ) -> Result<Protection, Trouble> {
        let mut protection = Protection::Clear;
        let mut handshake_failed = false;
        loop {
            match self.client.step(self.shard.clock.now()) {
                Step::Receive => self.receive().await,
                Step::StartTls => {
                    self.flush().await;
                    match self.secure(domain, hop, wanted).await {
                        Ok(reached) => {
                            protection = reached;
                            self.client.tls_established();
                            let early = self.connection.take_early();
                            self.client.receive(&early);
                        }
                        Err(error) => {
                            handshake_failed = true;
                            let reason = Arc::from(error.to_string());
                            self.client.tls_failed(&reason);
                            let dcid = self.dcid;
                            self.shard.say(Event::DeliveryTlsFailed { dcid, reason });
                        }
                    }
                }
                Step::Ready => return Ok(protection),
                Step::Failed(failure) => {
                    let (shard, dcid) = (&self.shard, Some(self.dcid));
                    say_failed(shard, domain, hop, dcid, &describe(&failure));
                    let may_do_without = wanted.encryption == Encryption::Preferred;
                    return Err(if handshake_failed && may_do_without {
                        Trouble::Handshake
                    } else {
                        Trouble::Failed
                    });
                }
                Step::Close => return Err(Trouble::Failed),
                Step::Content | Step::Outcome(_) => unreachable!("no transaction was begun"),
            }
        }
    }

    async fn secure(
        &mut self,
        domain: &Arc<str>,
        hop: &Hop,
        wanted: &Demand,
    ) -> io::Result<Protection> {
        let names = wanted.names.iter().filter_map(|name| server_name(name)).collect();
        let must_verify = wanted.verify && wanted.encryption == Encryption::Required;
        let (config, proof) = self.shard.clients.config(names, must_verify);
        let name = server_name(&hop.name)
            .unwrap_or_else(|| ServerName::IpAddress(hop.address.ip().into()));
        let clock = Rc::clone(&self.shard.clock);
        let deadline = self.client.deadline();
        let shaking = self.connection.connect_tls(config, name);
        let negotiated = self
            .alarm
            .within(&clock, deadline, shaking)
            .await
            .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        self.shard.say(Event::DeliveryTlsEstablished {
            dcid: self.dcid,
            protocol: negotiated.protocol,
            cipher: negotiated.cipher,
            verified: proof.holds(),
            domain: Arc::clone(domain),
        });
        Ok(if proof.holds() { Protection::Verified } else { Protection::Encrypted })
    }

    /// Sends what is to be sent and takes in what comes, until the machine's deadline.
    pub(super) async fn receive(&mut self) {
        self.flush().await;
        let clock = Rc::clone(&self.shard.clock);
        let deadline = self.client.deadline();
        match self.alarm.within(&clock, deadline, self.connection.receive()).await {
            Some(Ok([])) => self.client.ended(),
            Some(Ok(octets)) => self.client.receive(octets),
            Some(Err(error)) => self.client.broken(error.to_string().into()),
            None => self.client.timed_out(clock.now()),
        }
    }

    pub(super) async fn flush(&mut self) {
        if self.client.output.is_empty() {
            return;
        }
        let mut output = take(&mut self.client.output);
        let clock = Rc::clone(&self.shard.clock);
        let deadline = self.client.deadline();
        match self.alarm.within(&clock, deadline, self.connection.send(&output)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => self.client.broken(error.to_string().into()),
            None => self.client.timed_out(clock.now()),
        }
        // The buffer goes back: the next message fills it without asking the allocator.
        output.clear();
        self.client.output = output;
    }

    /// Goes on until another transaction may begin; false if none may.
    pub(super) async fn until_ready(&mut self) -> bool {
        loop {
            match self.client.step(self.shard.clock.now()) {
                Step::Ready => return true,
                Step::Receive => self.receive().await,
                Step::Failed(_) => {}
                _ => return false,
            }
        }
    }

    /// Waits for `resumed`, or until the moment has come; false if the server ended the connection
    /// meanwhile.
    pub(super) async fn idle(&mut self, resumed: impl Future<Output = ()>, until: Time) -> bool {
        let clock = Rc::clone(&self.shard.clock);
        let speaks = async { Some(self.connection.receive().await.map(<[u8]>::to_vec)) };
        let resumed = async {
            resumed.await;
            None
        };
        match self.alarm.within(&clock, until, future::or(resumed, speaks)).await {
            // Resumed, or idle for too long: the schedule knows which.
            Some(None) | None => return true,
            Some(Some(Ok(octets))) if octets.is_empty() => self.client.ended(),
            Some(Some(Ok(octets))) => self.client.receive(&octets),
            Some(Some(Err(error))) => self.client.broken(error.to_string().into()),
        }
        self.until_ready().await
    }

    /// Takes leave; a server that does not answer is not waited for beyond the machine's deadline.
    pub(super) async fn quit(&mut self) {
        self.client.quit(self.shard.clock.now());
        loop {
            match self.client.step(self.shard.clock.now()) {
                Step::Receive => self.receive().await,
                Step::Failed(_) => {}
                _ => return,
            }
        }
    }

    pub(super) async fn close(&mut self) {
        if take(&mut self.is_open) {
            // A server that stopped reading in the middle of the content would keep our farewell,
            // and with it the connection and its place, for ever.
            let deadline = self.shard.clock.now() + FINISH_TIMEOUT;
            self.alarm.within(&self.shard.clock, deadline, self.connection.finish()).await;
            self.shard.say(Event::DeliveryConnectionClosed { dcid: self.dcid });
        }
    }
}

fn settings(snapshot: &Snapshot, hop: &Hop, wanted: &Demand) -> Settings {
    let config::Delivery {
        greeting_timeout,
        command_timeout,
        data_timeout,
        content_timeout,
        final_timeout,
        ..
    } = snapshot.delivery;
    Settings {
        helo: Arc::clone(&snapshot.delivery.helo),
        tls: match wanted.encryption {
            Encryption::None => TlsNeed::None,
            Encryption::Preferred => TlsNeed::Preferred,
            Encryption::Required => TlsNeed::Required,
        },
        timeouts: Timeouts {
            greeting: greeting_timeout,
            hello: command_timeout,
            tls: command_timeout,
            mail: command_timeout,
            recipient: command_timeout,
            data: data_timeout,
            block: content_timeout,
            end_of_data: final_timeout,
            ..Timeouts::default()
        },
        remote: Arc::clone(&hop.name),
    }
}

fn say_failed(shard: &Shard, domain: &Arc<str>, hop: &Hop, dcid: Option<Dcid>, reason: &str) {
    shard.say(Event::ConnectionFailed {
        dcid,
        domain: Arc::clone(domain),
        remote: Some(hop.address.ip()),
        port: hop.address.port(),
        reason: reason.into(),
    });
}

fn describe(failure: &Failure) -> String {
    match &failure.reply {
        Some(reply) => reply.to_string(),
        None => failure.diagnostic.to_string(),
    }
}

fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}
