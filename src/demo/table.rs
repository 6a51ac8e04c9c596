//! How the outcome looks: a table of all messages, then what the log says of each.
//!
//! Colour is for people at a terminal who did not refuse it (NO_COLOR).

use std::{
    fmt::Display,
    io::{self, IsTerminal},
};

use serde_json::{Value, json};

/// Everything there is to say about one message.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
    pub(super) got: String,
    pub(super) is_good: bool,
    pub(super) mids: Vec<u64>,
    pub(super) log: Vec<String>,
}

/// Whether output may be coloured.
#[derive(Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        Self(stream.is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    pub(super) fn strong(self, text: impl Display) -> String {
        self.with("1", text)
    }

    pub(super) fn faint(self, text: impl Display) -> String {
        self.with("2", text)
    }

    pub(super) fn mark(self, is_good: bool) -> String {
        if is_good { self.with("32", "ok    ") } else { self.with("1;31", "FAILED") }
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// The table, and the log of each message.
pub(super) fn print(rows: &[Row], latency: &Value, out: &mut impl io::Write) -> io::Result<()> {
    let paint = Paint::of(&io::stdout());
    let heading = columns("", "Message", "What should happen", "What happened", "MID");
    writeln!(out, "{}", paint.strong(heading.trim_end()))?;
    for row in rows {
        let mids: Vec<String> = row.mids.iter().map(u64::to_string).collect();
        let mark = paint.mark(row.is_good);
        let line = columns(&mark, row.name, row.expected, &row.got, &mids.join(", "));
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "\n{}", paint.strong("What the gateway's log says of each"))?;
    writeln!(
        out,
        "{}\n{}",
        paint.faint(
            "ICID: a connection that came in.  MID: a message.  RID: one of its recipients."
        ),
        paint.faint("DCID: a connection that delivers; one may carry several messages."),
    )?;
    for (number, row) in (1..).zip(rows) {
        writeln!(out, "\n{}", paint.strong(format!("{number}. {}", row.name)))?;
        for line in &row.log {
            writeln!(out, "   {}", without_date(line))?;
        }
    }
    writeln!(out, "\n{}", paint.strong("How long each stage took (p99: 99 of 100 were faster)"))?;
    writeln!(out, "{}", crate::status::latency_table(latency).trim_end())
}

pub(super) fn json(rows: &[Row], latency: &Value) -> Value {
    let messages: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "expected": row.expected,
                "got": row.got,
                "ok": row.is_good,
                "mids": row.mids,
                "log": row.log,
            })
        })
        .collect();
    json!({ "messages": messages, "latency": latency })
}

fn columns(mark: &str, name: &str, expected: &str, got: &str, mids: &str) -> String {
    format!("{mark:<6}  {name:<30}  {expected:<28}  {got:<25}  {mids}")
}

/// The usual level goes with the date: "Sat Nov 21 19:48:18 2026 Info: ".
fn without_date(line: &str) -> &str {
    line.split_once(" Info: ").map_or(line, |(_, text)| text)
}
