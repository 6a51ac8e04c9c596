//! Drives one server conversation over one connection. No mail decision is made here.

use std::{io, mem::take, net::IpAddr, rc::Rc, sync::Arc};

use ringpost_config::{self as config, Listener, Snapshot};
use ringpost_core::{
    event::{Access, Close, ConnectionLimit, Event},
    id::{Icid, Mid},
    lookup::ClientName,
    smtp::{
        replies,
        server::{BareLineEndings, Limits, SenderAnswer, Server, Settings, Step, TlsOffer},
    },
    spool::record::Record,
};
use ringpost_policy::{
    hat::{Classified, Variables, expand, rejection},
    mail_flow::{MailFlowPolicy, Tls},
};

use crate::{
    admission,
    clock::Alarm,
    shard::Shard,
    tls::{Connection, FINISH_TIMEOUT},
};

/// Everything that was found out about a connection before its greeting.
pub(crate) struct Session {
    pub(crate) icid: Icid,
    pub(crate) access: Access,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) entry: Arc<str>,
    pub(crate) policy: Arc<MailFlowPolicy>,
    pub(crate) client: Client,
    pub(crate) listener: Arc<Listener>,
}

/// Who is at the other end.
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) name: ClientName,
}

struct Conversation<'a> {
    shard: &'a Rc<Shard>,
    session: Session,
    connection: Connection,
    server: Server,
    alarm: Rc<Alarm>,
    /// The transaction under way, whose parts may lie in the spool until it is committed or given
    /// up.
    transaction: Option<Mid>,
}

/// Converses with a client until one of the two ends it.
pub(crate) async fn serve(shard: &Rc<Shard>, session: Session, connection: Connection) {
    let now = shard.clock.now();
    let settings = Arc::new(settings(&shard.snapshot(), &session));
    let server = if session.access == Access::Reject {
        let reply = rejection(&variables(&session));
        Server::refusing(session.icid, settings, reply, now)
    } else {
        Server::new(session.icid, settings, now)
    };
    converse(shard, session, connection, server).await;
}

/// Turns a client away because a limit is reached.
pub(crate) async fn refuse(
    shard: &Rc<Shard>,
    session: Session,
    connection: Connection,
    limit: ConnectionLimit,
) {
    shard.say(Event::ConnectionRefused { icid: session.icid, limit });
    let settings = Arc::new(settings(&shard.snapshot(), &session));
    let reply = match limit {
        ConnectionLimit::Client => replies::TOO_MANY_FROM_CLIENT,
        ConnectionLimit::Listener => replies::TOO_MANY_CONNECTIONS,
        ConnectionLimit::Unavailable => replies::SHUTTING_DOWN,
    };
    let server = Server::refusing(session.icid, settings, reply, shard.clock.now());
    converse(shard, session, connection, server).await;
}

/// A connection that ended without a conversation.
pub(crate) fn say_closed(shard: &Shard, icid: Icid) {
    shard.say(Event::ConnectionClosed { icid, how: Close::Closed });
}

async fn converse(shard: &Rc<Shard>, session: Session, connection: Connection, server: Server) {
    let alarm = shard.conversation();
    let mut conversation =
        Conversation { shard, session, connection, server, alarm, transaction: None };
    if conversation.run().await.is_err() {
        conversation.server.ended();
        // The machine says how the story ends; nothing can be sent any more.
        while !matches!(conversation.server.step(shard.clock.now()), Step::Close) {}
    }
    conversation.give_up_transaction();
    shard.voice.say_all(&mut conversation.server.events);
}

impl Conversation<'_> {
    async fn run(&mut self) -> io::Result<()> {
        self.listen_for_early_talk().await;
        loop {
            if self.shard.is_draining.get() {
                self.server.draining();
            }
            let step = self.server.step(self.shard.clock.now());
            self.shard.voice.say_all(&mut self.server.events);
            match step {
                Step::Receive => {
                    self.flush().await?;
                    self.shard.voice.keep_pace().await;
                    self.receive().await?;
                    // A client that sends as fast as we read never makes us wait: the others take
                    // their turn here.
                    glommio::yield_if_needed().await;
                }
                Step::AskSender(_) => {
                    self.give_up_transaction();
                    let mid = self.shard.next_mid().await;
                    self.transaction = Some(mid);
                    self.server.sender_answered(SenderAnswer::Accept { mid });
                }
                Step::AskRecipient(recipient) => {
                    let answer = admission::recipient(&self.session, &recipient);
                    self.server.recipient_answered(answer);
                }
                Step::StartTls => {
                    self.flush().await?;
                    self.secure().await?;
                }
                Step::Spill(bytes) => {
                    let mid = self.transaction.expect("content belongs to a transaction");
                    let part = Record::Part { mid, bytes };
                    let place = self.shard.disk.commit(part).await;
                    self.server.spilled(place.ok().map(|place| place.body));
                }
                Step::Message(received) => {
                    let answer = admission::message(self.shard, &self.session, *received).await;
                    self.transaction = None;
                    self.server.message_answered(answer);
                }
                Step::Close => {
                    self.flush().await?;
                    self.finish().await;
                    return Ok(());
                }
            }
        }
    }

    /// A client that speaks before the greeting is told so (decision 0008).
    async fn listen_for_early_talk(&mut self) {
        let now = self.shard.clock.now();
        let early = self.connection.receive_now().await;
        if !early.is_empty() {
            self.server.receive(early, now);
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        let clock = &self.shard.clock;
        let deadline = self.server.deadline();
        match self.alarm.within(clock, deadline, self.connection.receive()).await {
            Some(received) => match received? {
                [] => self.server.ended(),
                octets => self.server.receive(octets, clock.now()),
            },
            // The drain rang before its time. A client that is late is late even then: the machine
            // must end the wait, or it would be begun again for ever.
            None if clock.now() < deadline => self.server.draining(),
            None => self.server.timed_out(clock.now()),
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.server.replies.is_empty() {
            return Ok(());
        }
        let replies = take(&mut self.server.replies);
        let clock = &self.shard.clock;
        let deadline = clock.now() + self.shard.snapshot().limits.idle_timeout;
        let sent = self.alarm.within(clock, deadline, self.connection.send(&replies)).await;
        sent.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes leave. A client that does not read is not waited for.
    async fn finish(&mut self) {
        let clock = &self.shard.clock;
        let deadline = clock.now() + FINISH_TIMEOUT;
        self.alarm.within(clock, deadline, self.connection.finish()).await;
    }

    async fn secure(&mut self) -> io::Result<()> {
        let clock = &self.shard.clock;
        let deadline = self.server.deadline();
        let identity = Arc::clone(&self.shard.identity);
        let shaking = self.connection.accept_tls(identity);
        match self.alarm.within(clock, deadline, shaking).await {
            Some(Ok(negotiated)) => {
                self.server.tls_established(negotiated.protocol, negotiated.cipher);
                let early = self.connection.take_early();
                if !early.is_empty() {
                    self.server.receive(&early, clock.now());
                }
            }
            Some(Err(error)) => self.server.tls_failed(error.to_string().into()),
            None => self.server.tls_failed("the handshake took too long".into()),
        }
        Ok(())
    }

    fn give_up_transaction(&mut self) {
        if let Some(mid) = self.transaction.take() {
            self.shard.disk.forget(mid);
        }
    }
}

/// What the machine may allow this client.
fn settings(snapshot: &Snapshot, session: &Session) -> Settings {
    let policy = &session.policy;
    let limits = &snapshot.limits;
    let hostname = policy.hostname.as_ref().unwrap_or(&snapshot.hostname);
    let greeted = variables(session);
    Settings {
        hostname: Arc::clone(hostname),
        banner: policy.banner_text.as_ref().map(|text| expand(text, &greeted).into()),
        banner_code: policy.banner_code,
        max_message_size: policy.max_message_size,
        max_messages: policy.max_messages_per_connection,
        max_recipients: policy.max_recipients_per_message,
        max_header_size: limits.max_header_size,
        max_hops: limits.max_hops,
        tls: match policy.tls {
            Tls::Off => TlsOffer::Off,
            Tls::Preferred => TlsOffer::Preferred,
            Tls::Required => TlsOffer::Required,
        },
        bare: match session.listener.bare_line_endings {
            config::BareLineEndings::Reject => BareLineEndings::Reject,
            config::BareLineEndings::Clean => BareLineEndings::Clean,
            config::BareLineEndings::Allow => BareLineEndings::Allow,
        },
        relay: session.access == Access::Relay,
        limits: Limits {
            idle_timeout: limits.idle_timeout,
            total_timeout: limits.max_connection_time,
            unsuccessful_timeout: limits.unsuccessful_timeout,
            min_data_rate: limits.min_rate,
            max_errors: limits.max_errors,
            max_junk_commands: limits.max_idle_commands,
            ..Limits::default()
        },
        spill_size: limits.max_memory_per_message,
    }
}

fn variables(session: &Session) -> Variables<'_> {
    Variables {
        address: session.client.address,
        name: &session.client.name,
        classified: Classified {
            group: session.group.as_ref(),
            entry: &session.entry,
            policy: &session.policy,
            access: session.access,
        },
    }
}
