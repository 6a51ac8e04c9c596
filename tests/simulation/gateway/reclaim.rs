//! Copies messages forward that keep old segments; mirrors `shard/src/reclaim.rs`.

use std::{rc::Rc, sync::Arc};

use ringpost_core::{id::Mid, message::Body, spool::record::Message};

use super::{Defect, Handover, Shard, store, store::Store};

pub(super) fn begin(shard: &Rc<Shard>, store: &Rc<Store>) {
    if store.reclaim().is_none() || shard.is_reclaiming.replace(true) {
        return;
    }
    let (reclaiming, store) = (Rc::clone(shard), Rc::clone(store));
    shard.spawn(async move {
        while let Some(mid) = store.reclaim() {
            if copy(&reclaiming, &store, mid).await.is_none() {
                store.forget(mid);
                break;
            }
        }
        reclaiming.is_reclaiming.set(false);
    });
}

async fn copy(shard: &Rc<Shard>, store: &Rc<Store>, mid: Mid) -> Option<()> {
    let (message, _) = shard.queue.find(mid)?;
    let around = &shard.around;
    let (&header, body) = message.pieces.split_first()?;
    let header = store::read(around, header).await?;
    let mut spilled = Vec::new();
    let mut chunks = Vec::new();
    for (index, piece) in body.iter().enumerate() {
        let octets = store::read(around, *piece).await?;
        if index + 1 == body.len() {
            chunks.push(octets);
        } else {
            spilled.push(store.copy_part(mid, octets).await.ok()?.body);
        }
    }
    let accepted = message.accepted.clone();
    let body = Body { spilled: spilled.clone(), chunks };
    let record = Message { mid, accepted, header: vec![header], body };
    let place = store.copy(record).await.ok()?;
    let mut pieces = vec![place.header];
    pieces.extend(spilled);
    pieces.push(place.body);
    let moved = Arc::new(message.at(pieces));
    shard.queue.replace(Arc::clone(&moved));
    around.ledger.borrow_mut().totals.copied += 1;
    if around.defect != Defect::ReadsOldPlaces {
        for number in 0..shard.shards {
            if number == shard.number {
                shard.home.moved(&moved);
            } else {
                shard.send(number, Handover::Moved(Arc::clone(&moved)));
            }
        }
    }
    Some(())
}
