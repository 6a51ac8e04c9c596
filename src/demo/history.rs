//! What the gateway's own log says of a message: its connection, its numbers, its deliveries.
//!
//! Found by number, as an operator does: the connection (ICID) begins messages (MID), messages are
//! delivered over connections (DCID); reports and rewritten messages name what they come from.

use std::{collections::BTreeSet, fs, io, path::Path};

/// The lines of a log.
pub(super) struct History {
    lines: Vec<Line>,
}

/// All that the log says of one message.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Life {
    pub(super) mids: BTreeSet<u64>,
    pub(super) lines: Vec<String>,
    /// Its connection is closed, and every message of it is finished.
    pub(super) is_over: bool,
}

struct Line {
    text: String,
    icid: Option<u64>,
    mids: Vec<u64>,
    dcid: Option<u64>,
}

impl History {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&fs::read_to_string(path)?))
    }

    fn new(text: &str) -> Self {
        Self { lines: text.lines().map(Line::new).collect() }
    }

    /// The life that a line with `mark` belongs to.
    pub(super) fn life(&self, mark: &str) -> Life {
        let marked = self.lines.iter().filter(|line| line.text.contains(mark));
        let icids: BTreeSet<u64> = marked.filter_map(|line| line.icid).collect();
        let mut mids = BTreeSet::new();
        for line in &self.lines {
            let is_begun = line.icid.is_some_and(|icid| icids.contains(&icid));
            let has_successor = SUCCESSIONS.iter().any(|words| line.text.contains(words))
                && line.mids.iter().any(|mid| mids.contains(mid));
            if is_begun || has_successor {
                mids.extend(&line.mids);
            }
        }
        let is_ours = |line: &Line| line.mids.iter().any(|mid| mids.contains(mid));
        let dcids: BTreeSet<u64> =
            self.lines.iter().filter(|line| is_ours(line)).filter_map(|line| line.dcid).collect();
        let belongs = |line: &&Line| {
            let is_shared = line.mids.is_empty();
            is_ours(line)
                || is_shared && line.icid.is_some_and(|icid| icids.contains(&icid))
                || is_shared && line.dcid.is_some_and(|dcid| dcids.contains(&dcid))
        };
        let lines: Vec<String> =
            self.lines.iter().filter(belongs).map(|line| line.text.clone()).collect();
        let has = |text: String| lines.iter().any(|line| line.contains(&text));
        let is_closed = |icid: &u64| {
            has(format!("Info: ICID {icid} close")) || has(format!("Info: ICID {icid} lost"))
        };
        let is_finished = |mid: &u64| has(format!("Message finished MID {mid} "));
        let is_over =
            !icids.is_empty() && icids.iter().all(is_closed) && mids.iter().all(is_finished);
        Life { mids, lines, is_over }
    }
}

impl Line {
    fn new(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let numbers = |key: &str| -> Vec<u64> {
            let pairs = words.windows(2).filter(|pair| pair[0] == key);
            pairs.filter_map(|pair| pair[1].parse().ok()).collect()
        };
        Self {
            text: text.to_owned(),
            icid: numbers("ICID").first().copied(),
            mids: numbers("MID"),
            dcid: numbers("DCID").first().copied(),
        }
    }
}

/// What joins two numbers to one life: a report, and a message that a filter changed.
const SUCCESSIONS: [&str; 2] = [" was generated for bounce of MID ", " rewritten to MID "];

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Sat Nov 21 19:48:18 2026 Info: New SMTP ICID 1 interface Inbound address 127.0.0.2
Sat Nov 21 19:48:18 2026 Info: Start MID 4 ICID 1
Sat Nov 21 19:48:18 2026 Info: MID 4 ICID 1 From: <a@b.example>
Sat Nov 21 19:48:18 2026 Info: Start MID 5 ICID 2
Sat Nov 21 19:48:18 2026 Info: MID 5 ICID 2 From: <c@d.example>
Sat Nov 21 19:48:18 2026 Info: ICID 1 close
Sat Nov 21 19:48:18 2026 Info: New SMTP DCID 7 interface 127.0.0.1
Sat Nov 21 19:48:18 2026 Info: Delivery start DCID 7 MID 4 to RID [0]
Sat Nov 21 19:48:18 2026 Info: Delivery start DCID 7 MID 5 to RID [0]
Sat Nov 21 19:48:18 2026 Info: MID 9 was generated for bounce of MID 4
Sat Nov 21 19:48:18 2026 Info: Message finished MID 4 done
";

    #[test]
    fn a_life_is_found_by_its_numbers() {
        let life = History::new(LOG).life("From: <a@b.example>");
        assert_eq!(life.mids, BTreeSet::from([4, 9]));
        assert_eq!(life.lines.len(), 8);
        assert!(life.lines.iter().all(|line| !line.contains("MID 5")));
        assert!(!life.is_over, "MID 9 is not finished");
        let whole = format!("{LOG}Sat Nov 21 19:48:19 2026 Info: Message finished MID 9 done\n");
        assert!(History::new(&whole).life("From: <a@b.example>").is_over);
    }

    #[test]
    fn without_a_line_there_is_no_life() {
        assert_eq!(History::new(LOG).life("From: <nobody>"), Life::default());
    }
}
