//! Reads the spool at start: which messages wait, and how each log goes on.
//!
//! Plain blocking reads, before any shard runs: nothing else happens until it is known what is
//! owed. The fold itself is `core::spool::recover`.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use ringpost_core::{
    id::Mid,
    spool::recover::{Damaged, Queued, Recovered, Recovery, Resume},
};

use crate::{
    content::{log_folder, log_number},
    disk::{RESERVE, segment_name, segment_number},
};

/// What was found, ready to be shared out among the shards.
pub struct Found {
    recovered: Recovered,
    spool: PathBuf,
}

/// What one shard takes over.
pub(crate) struct Inheritance {
    /// Its own log first, then those of shards that no longer exist.
    pub(crate) logs: Vec<(u16, Resume)>,
    /// Logs of shards that no longer exist and that hold nothing any more.
    pub(crate) empty: Vec<u16>,
    pub(crate) messages: Vec<Queued>,
}

/// Reads every segment of every log under `spool`, which is made if it is not there.
///
/// # Errors
///
/// When a directory or a segment cannot be read: starting without it would lose mail.
pub fn recover(spool: &Path) -> io::Result<Found> {
    fs::create_dir_all(spool)?;
    let mut recovery = Recovery::new();
    for log in numbered(spool, log_number)? {
        let folder = log_folder(spool, log);
        for segment in numbered(&folder, segment_number)? {
            recovery.segment(log, segment);
            read(&folder.join(segment_name(segment)), &mut recovery)?;
        }
    }
    Ok(Found { recovered: recovery.finish(), spool: spool.to_owned() })
}

impl Found {
    /// The greatest MID in the spool.
    #[must_use]
    pub fn highest(&self) -> Mid {
        self.recovered.highest
    }

    /// Messages that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.recovered.messages.len()
    }

    /// Regions that could not be read as records.
    #[must_use]
    pub fn damaged(&self) -> &[Damaged] {
        &self.recovered.damaged
    }

    /// Shares logs and messages out: log `n` goes to shard `n` modulo the number of shards, with
    /// the messages in it.
    pub(crate) fn share_out(mut self, shards: u16) -> io::Result<Vec<Inheritance>> {
        let mut shares: Vec<Inheritance> = (0..shards)
            .map(|shard| Inheritance {
                logs: vec![(shard, self.recovered.resume(shard))],
                empty: Vec::new(),
                messages: Vec::new(),
            })
            .collect();
        let orphans: Vec<u16> = self.recovered.logs().collect();
        for log in orphans {
            let resume = self.recovered.resume(log);
            let share = &mut shares[usize::from(log % shards)];
            if resume.is_empty() {
                share.empty.push(log);
            } else {
                share.logs.push((log, resume));
            }
        }
        for message in std::mem::take(&mut self.recovered.messages) {
            shares[usize::from(message.log % shards)].messages.push(message);
        }
        for shard in 0..shards {
            fs::create_dir_all(log_folder(&self.spool, shard))?;
        }
        File::open(&self.spool)?.sync_all()?;
        Ok(shares)
    }
}

/// Removes the directory of a log that is used up, oldest segment first and each for good before
/// the next: a crash half way must not leave a message behind without its finish.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    let directory = File::open(folder)?;
    for segment in numbered(folder, segment_number)? {
        fs::remove_file(folder.join(segment_name(segment)))?;
        directory.sync_all()?;
    }
    // Not every log has one; what matters is that the directory goes.
    let _ = fs::remove_file(folder.join(RESERVE));
    fs::remove_dir(folder)
}

/// The entries of `folder` whose names are numbers, in order.
fn numbered<T: Ord>(folder: &Path, number: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.extend(entry?.file_name().to_str().and_then(&number));
    }
    found.sort_unstable();
    Ok(found)
}

fn read(path: &Path, recovery: &mut Recovery) -> io::Result<()> {
    let mut file = File::open(path)?;
    // After a mere kill of the process the file may hold more than the disk does; what is built on
    // what is read here must not be lost to a power cut later.
    file.sync_data()?;
    let mut block = vec![0; READ_SIZE];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            count => recovery.block(&block[..count]),
        }
    }
}

const READ_SIZE: usize = 1 << 20;
