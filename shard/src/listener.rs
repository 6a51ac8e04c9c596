//! Takes connections, names their clients, and lets the HAT and the limits decide about them.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use glommio::timer::sleep;
use ringpost_config::{Listener, Snapshot};
use ringpost_core::{
    event::{Access, ConnectionLimit, Event},
    id::Icid,
    lookup::{Answer, ClientName, Question},
};

use crate::{
    inbound::{self, Client, Session},
    neighbours::is_taken,
    shard::Shard,
    socket::{Acceptor, Socket},
    tls::Connection,
};

/// Makes sure that nobody else listens where the shards are about to. Their sockets share an
/// address, and so would a second gateway's: half the clients would be its own.
///
/// # Errors
///
/// The address that is taken, with what to do.
pub(crate) fn claim(snapshot: &Snapshot) -> Result<(), io::Error> {
    for listener in &snapshot.listeners {
        for &address in &listener.addresses {
            if is_taken(address) {
                let error = io::ErrorKind::AddrInUse.into();
                return Err(explain(&listener.name, address, &error));
            }
        }
    }
    Ok(())
}

fn explain(name: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; `ss -ltnp` names it",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "the address cannot be used",
    };
    io::Error::new(error.kind(), format!("listener {name}: {address}: {error}: {help}"))
}

/// Binds every address of every listener.
///
/// # Errors
///
/// The address that could not be bound, with the reason.
pub(crate) fn bind(snapshot: &Snapshot) -> Result<Vec<(Arc<Listener>, Acceptor)>, io::Error> {
    let mut bound = Vec::new();
    for listener in &snapshot.listeners {
        for &address in &listener.addresses {
            let acceptor = Acceptor::bind(address)
                .map_err(|error| explain(&listener.name, address, &error))?;
            bound.push((Arc::clone(listener), acceptor));
        }
    }
    Ok(bound)
}

/// Takes connections until the shard drains.
pub(crate) async fn run(shard: Rc<Shard>, listener: Arc<Listener>, acceptor: Acceptor) {
    loop {
        match acceptor.accept().await {
            Ok(socket) => {
                shard.voice.keep_pace().await;
                shard.connections_in.set(shard.connections_in.get() + 1);
                let (shared, listener) = (Rc::clone(&shard), Arc::clone(&listener));
                glommio::spawn_local(receive(shared, listener, socket)).detach();
                keep_in_bounds(&shard).await;
            }
            // A client that is gone already must not hold up those behind it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            // Out of descriptors or memory: that passes, and does not end the listener.
            Err(_) => sleep(ACCEPT_RETRY_INTERVAL).await,
        }
    }
}

/// Waits while too many connections are being named or refused, which need no place: the kernel
/// keeps new clients meanwhile, and costs us neither a descriptor nor a question.
async fn keep_in_bounds(shard: &Shard) {
    let max = u64::from(shard.snapshot().limits.max_connections) + PLACELESS_MAX;
    while shard.connections_in.get() >= max {
        sleep(ACCEPT_RETRY_INTERVAL).await;
    }
}

async fn receive(shard: Rc<Shard>, listener: Arc<Listener>, socket: Socket) {
    admit(&shard, listener, socket).await;
    shard.connections_in.set(shard.connections_in.get() - 1);
}

async fn admit(shard: &Rc<Shard>, listener: Arc<Listener>, socket: Socket) {
    let icid = shard.next_icid().await;
    // The listener as the present configuration has it; a removed one keeps its last meaning.
    let listener = shard.snapshot().listener(&listener.name).cloned().unwrap_or(listener);
    let client = name(shard, &listener, icid, &socket).await;
    let start = shard.clock.now();
    let classified = listener.hat.classify(client.address, &client.name);
    shard.say(Event::ConnectionClassified {
        icid,
        access: classified.access,
        group: classified.group.cloned(),
        entry: Arc::clone(classified.entry),
        policy: Arc::clone(&classified.policy.name),
        took: shard.clock.now().since(start),
    });
    if classified.access == Access::TcpRefuse {
        inbound::say_closed(shard, icid);
        return;
    }
    let limit = classified.policy.max_connections_per_ip;
    let session = Session {
        icid,
        access: classified.access,
        group: classified.group.cloned(),
        entry: Arc::clone(classified.entry),
        policy: Arc::clone(classified.policy),
        client,
        listener: Arc::clone(&listener),
    };
    let connection = Connection::new(socket);
    if shard.is_draining.get() {
        return inbound::refuse(shard, session, connection, ConnectionLimit::Unavailable).await;
    }
    let Some(_place) = shard.places.take(&listener) else {
        return inbound::refuse(shard, session, connection, ConnectionLimit::Listener).await;
    };
    let Some(_ticket) = shard.connections.open(session.client.address, limit) else {
        return inbound::refuse(shard, session, connection, ConnectionLimit::Client).await;
    };
    inbound::serve(shard, session, connection).await;
}

async fn name(shard: &Shard, listener: &Listener, icid: Icid, socket: &Socket) -> Client {
    let start = shard.clock.now();
    let address = socket.remote().ip();
    let name = match shard.ask(Question::Client(address)).await {
        Answer::Client(name) => name,
        _ => ClientName::Unavailable,
    };
    shard.say(Event::ConnectionOpened {
        icid,
        listener: Arc::clone(&listener.name),
        local: socket.local().ip(),
        client: address,
        name: name.clone(),
        took: shard.clock.now().since(start),
    });
    Client { address, name }
}

/// Connections of a shard beyond all places there are, on their way to one or to a refusal.
const PLACELESS_MAX: u64 = 1_024;
/// How long a listener pauses after a connection could not be taken.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);
