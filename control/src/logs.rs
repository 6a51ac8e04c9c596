//! What happened, as text in files.
//!
//! Formatting, rotation and the task that joins them are apart, so that each can be tested without
//! the others.

pub mod mail_logs;
pub mod order;
mod quote;
pub mod rotate;

use std::{cell::Cell, io, path::PathBuf, time::Duration};

use async_channel::Receiver;
use ringpost_core::{event::Stamped, time::Date};
use tokio::time::{sleep, timeout};

use self::{
    order::Order,
    rotate::{Rotation, Sink},
};

/// Where `mail_logs` goes and how it looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The file; none for the standard output, which is never rotated and gets no header lines.
    pub path: Option<PathBuf>,
    /// When a file is full, and how many full ones are kept.
    pub rotation: Rotation,
    /// Seconds east of Greenwich in which times are written.
    pub offset_seconds: i32,
}

/// Writes `mail_logs`, and lets another fold see every event.
pub struct Writer {
    sink: Sink,
    offset_seconds: i32,
}

impl Writer {
    /// Opens the file and begins it.
    ///
    /// # Errors
    /// When it cannot be opened or written.
    pub fn open(settings: &Settings, now: Date) -> io::Result<Self> {
        let offset_seconds = settings.offset_seconds;
        let heading = move |date| mail_logs::heading(date, offset_seconds);
        let sink = match &settings.path {
            Some(path) => Sink::open(path, settings.rotation, Box::new(heading), now)?,
            None => Sink::standard_output(),
        };
        Ok(Self { sink, offset_seconds })
    }

    /// Writes events until every shard has dropped its end; `fold` sees each before it is written.
    ///
    /// When `reopen` is set the file is opened anew by its name, before the next line.
    /// What several shards say is put into one order; a line is on its way to the disk
    /// [`HOLD_BACK`] after its event at the latest. While the disk fails, nothing is lost:
    /// `failed` hears of it each [`RETRY_INTERVAL`], no event is taken, and the shards, whose
    /// channel fills, take no more mail than can be told of.
    pub async fn run(
        mut self,
        events: Receiver<Vec<Stamped>>,
        reopen: &Cell<bool>,
        mut fold: impl FnMut(&Stamped),
        mut failed: impl FnMut(io::Error),
    ) {
        let (mut text, mut last) = (String::new(), Date::default());
        let mut order = Order::default();
        let mut is_open = true;
        while is_open || !order.is_empty() {
            let mut hold_back = HOLD_BACK;
            match next(&events, &order).await {
                Next::Batch(batch) => order.take(batch),
                Next::Nothing => hold_back = Duration::ZERO,
                Next::End => (is_open, hold_back) = (false, Duration::ZERO),
            }
            while order.len() < ORDER_MAX
                && let Ok(batch) = events.try_recv()
            {
                order.take(batch);
            }
            for stamped in order.release(hold_back) {
                fold(&stamped);
                last = stamped.date;
                mail_logs::lines(&stamped, self.offset_seconds, &mut text);
            }
            if reopen.take()
                && let Err(error) = self.sink.reopen()
            {
                // The file of before is still there, under whatever name it has now.
                failed(error);
            }
            if !text.is_empty() {
                (self.sink, text) = write(self.sink, text, last, &mut failed).await;
            }
        }
        // The last words of a log are not worth failing for.
        if let Err(error) = self.sink.end(last, self.offset_seconds) {
            failed(error);
        }
    }
}

enum Next {
    Batch(Vec<Stamped>),
    /// Nothing came for a while: nothing earlier can be on its way.
    Nothing,
    End,
}

async fn next(events: &Receiver<Vec<Stamped>>, order: &Order) -> Next {
    let received = if order.is_empty() {
        events.recv().await
    } else {
        match timeout(HOLD_BACK, events.recv()).await {
            Ok(received) => received,
            Err(_) => return Next::Nothing,
        }
    };
    received.map_or(Next::End, Next::Batch)
}

/// Tries until it is written. Writing may block, and the resolver lives on this thread.
async fn write(
    mut sink: Sink,
    mut text: String,
    now: Date,
    failed: &mut impl FnMut(io::Error),
) -> (Sink, String) {
    loop {
        let work = tokio::task::spawn_blocking(move || {
            let result = sink.write(&mut text, now);
            (sink, text, result)
        });
        let result;
        (sink, text, result) = work.await.expect("writing does not panic");
        let Err(error) = result else {
            return (sink, text);
        };
        failed(error);
        sleep(RETRY_INTERVAL).await;
    }
}

/// How long an event waits for earlier ones of other shards: several of their flush intervals.
pub const HOLD_BACK: Duration = Duration::from_millis(20);
/// Events that are put in order and written at once; one batch more at most.
pub const ORDER_MAX: usize = 65_536;
/// Between attempts to write to a disk that fails.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);
