//! Control as a whole: events go in, lines come out, and nothing is lost at the end.

use std::{env, fs, path::PathBuf, sync::Arc, thread, time::Duration};

use async_channel::Sender;
use ringpost_control::{
    Control, Plan,
    bridge::{Ask, Bridge},
    dns,
    ids::Ids,
    logs::{self, rotate::Rotation},
    start,
};
use ringpost_core::{
    event::{Close, Event, Stamped},
    id::{BLOCK_SIZE, Icid},
    lookup::{Answer, Question},
    time::Date,
};

struct Place(PathBuf);

/// Control as it runs, and the shards' ends of its channels.
struct Running {
    control: Control,
    ids: Arc<Ids>,
    questions: Sender<Ask>,
    events: Sender<Vec<Stamped>>,
}

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("ringpost-control-{name}-{}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn start(&self, rotation: Rotation) -> Running {
        let ids = Arc::new(Ids::open(&self.0.join("ids")).expect("a new file"));
        let (questions, question_end) = async_channel::bounded(10);
        let (events, event_end) = async_channel::bounded(10);
        let control = start(Plan {
            dns: dns::Settings {
                // Nobody listens on the discard port of this address: every lookup fails.
                servers: vec!["127.9.9.9:9".parse().expect("valid")],
                timeout: Duration::from_millis(100),
                retries: 0,
                ..dns::Settings::default()
            },
            logs: logs::Settings {
                path: Some(self.0.join("mail_logs")),
                rotation,
                offset_seconds: 3_600,
            },
            ids: Arc::clone(&ids),
            socket: None,
            bridge: Bridge { questions: question_end, events: event_end },
            inquiries: Vec::new(),
            stops: None,
            version: "0",
        });
        let control = control.expect("a disk and a server");
        Running { control, ids, questions, events }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect(name)
    }

    fn wait_for(&self, text: &str) {
        while !self.read("mail_logs").contains(text) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Running {
    fn say_closed(&self, icids: &[u64]) {
        let closed = |icid: &u64| Stamped {
            time: ringpost_core::time::Time::ZERO,
            date: Date::from_millis(1_763_994_177_250),
            shard: 0,
            event: Event::ConnectionClosed { icid: Icid(*icid), how: Close::Closed },
        };
        let batch = icids.iter().map(closed).collect();
        self.events.send_blocking(batch).expect("control runs");
    }

    fn end(self) {
        drop((self.questions, self.events));
        assert!(self.control.join(Duration::from_secs(30)), "control ends");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn all_that_was_said_is_written_when_the_shards_are_gone() {
    let place = Place::new("whole");
    let running = place.start(Rotation { max_size: 200, keep: 1 });
    running.say_closed(&[1, 2]);
    let (slot, answer) = async_channel::bounded(1);
    let question = Question::Mx("a.example".into());
    running.questions.send_blocking((question, slot)).expect("control runs");
    let answer = answer.recv_blocking().expect("an answer");
    assert!(matches!(answer, Answer::Unavailable(_)), "{answer:?}");
    while running.ids.icid.draw().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    // The first lines are written, so that the next find the file full.
    place.wait_for("ICID 2");
    running.say_closed(&[3]);
    running.end();

    let line = |text: &str| format!("Mon Nov 24 15:22:57 2025 Info: {text}\n");
    let (full, last) = (place.read("mail_logs.1"), place.read("mail_logs"));
    assert!(full.contains("Info: Begin Logfile\n"), "{full}");
    let closes = [line("ICID 1 close"), line("ICID 2 close"), line("End Logfile")];
    assert!(full.ends_with(&closes.concat()), "{full}");
    let begin = [
        line("Begin Logfile"),
        line(&format!("Version: Ringpost {} SN: None", env!("CARGO_PKG_VERSION"))),
        line("Time offset from UTC: 3600 seconds"),
    ];
    let whole = begin.concat() + &line("ICID 3 close") + &line("End Logfile");
    assert_eq!(last, whole);
    let next = 1 + BLOCK_SIZE;
    assert_eq!(place.read("ids"), format!("ringpost ids 1\nicid {next}\nmid 1\ndcid 1\n"));
}

#[test]
fn a_log_that_cannot_be_written_loses_nothing() {
    let place = Place::new("full");
    // A directory in the place of the file that is put aside stops the rotation.
    let obstacle = place.0.join("mail_logs.1");
    fs::create_dir_all(obstacle.join("full")).expect("a disk");
    let running = place.start(Rotation { max_size: 1, keep: 1 });
    running.say_closed(&[1]);
    place.wait_for("End Logfile");
    thread::sleep(Duration::from_millis(50));
    assert!(!place.read("mail_logs").contains("ICID 1"), "the rotation has failed");
    fs::remove_dir_all(&obstacle).expect("it exists");
    running.end();
    let text = place.read("mail_logs");
    assert!(text.contains("ICID 1 close\n"), "{text}");
    assert_eq!(place.read("mail_logs.1").matches("End Logfile").count(), 1);
}
