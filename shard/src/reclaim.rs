//! Copies messages that stay for long to the head of the log, so that the old segments they hold
//! can go.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use ringpost_core::{
    id::Mid,
    message::Body,
    spool::{Piece, record::Message},
};

use crate::{disk::Disk, message::Queued, shard::Shard};

/// Moves one message after the other until the log asks for none. What cannot be read or written
/// stays where it is; the log asks again when something else is finished.
pub(crate) async fn run(shard: &Rc<Shard>, disk: &Rc<Disk>) {
    while let Some(mid) = disk.reclaim() {
        if copy(shard, disk, mid).await.is_none() {
            disk.forget(mid);
            return;
        }
    }
}

async fn copy(shard: &Rc<Shard>, disk: &Rc<Disk>, mid: Mid) -> Option<()> {
    let (message, _) = shard.queue.find(mid)?;
    let header = shard.store.read(message.header).await.ok()?;
    let mut spilled = Vec::new();
    let mut last = Bytes::new();
    for (index, piece) in message.body.iter().enumerate() {
        let octets = shard.store.read(*piece).await.ok()?;
        if index + 1 == message.body.len() {
            last = octets;
        } else {
            spilled.push(disk.copy_part(mid, vec![octets]).await.ok()?.body);
        }
    }
    let body = Body { spilled: spilled.clone(), chunks: vec![last] };
    let accepted = message.accepted.clone();
    let record = Message { mid, accepted, header: vec![header], body };
    let place = disk.copy(record).await.ok()?;
    let mut body: Vec<Piece> = spilled;
    body.push(place.body);
    let moved = Arc::new(Queued { header: place.header, body, ..message.on_disk() });
    shard.queue.replace(Arc::clone(&moved));
    // Wherever its recipients wait, it must be read from its new place from now on.
    shard.mesh.tell_moved(&moved);
    shard.home.held.moved(moved);
    Some(())
}
