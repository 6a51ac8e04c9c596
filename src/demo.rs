//! `ringpost demo`: the whole job on one machine, with nothing else installed.
//!
//! A new user sees within a minute what the gateway does with mail in both directions. Everything
//! but the stand-ins is the product: configuration, spool, TLS, filter, delivery, reports, logs.

mod client;
mod directory;
mod exchanger;
mod history;
mod mail;
mod names;
mod scene;
mod stream;
mod table;
mod verdict;

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use async_channel::Receiver;
use ringpost_config::MailLogs;
use ringpost_core::time::Date;
use serde_json::Value;

use self::{
    directory::Directory,
    history::{History, Life},
    mail::Mail,
    scene::Scene,
    table::{Paint, Row},
};
use crate::{
    cli::Demo,
    exit::Exit,
    gateway::{Gateway, Trouble},
    run, status,
};

pub(crate) fn run(options: &Demo) -> Exit {
    perform(options).unwrap_or_else(|trouble| {
        eprintln!("ringpost: {}", trouble.text);
        trouble.exit
    })
}

fn perform(options: &Demo) -> Result<Exit, Trouble> {
    // Before anything is written: without io_uring there is nothing to show.
    ringpost_shard::probe().map_err(|refused| Trouble::unavailable(refused.to_string()))?;
    let deadline = Instant::now() + PERFORMANCE_TIME;
    let watch = watch();
    let directory = Directory::create(&options.dir)?;
    let scene = Scene::set(&directory)?;
    let (stops, stopped) = async_channel::bounded(1);
    let gateway = Gateway::start(Arc::clone(&scene.snapshot), Some(stops))?;
    introduce(&scene, &directory);
    let mails = mail::all(&scene.secret, now());
    let rows = send_all(&mails, &scene, &stopped, deadline);
    let latency =
        status::ask(&scene.snapshot.control.socket).map_err(|error| {
            Trouble::unavailable(format!("the gateway does not answer: {error}"))
        })?["latency"]
            .take();
    // A reader that went away wants no more.
    let _ = show(options.json, &rows, &latency);
    let is_good = rows.len() == mails.len() && rows.iter().all(|row| row.is_good);
    conclude(&rows, mails.len());
    if options.once {
        // One signal ends the show; another one would end the drain.
        let _ = stopped.try_recv();
    } else {
        drop(watch);
        if stopped.is_empty() {
            invite(&scene, &directory);
        }
        // An error means that control has ended, and with it everything that could be waited for.
        let _ = stopped.recv_blocking();
        eprintln!("\nStopping: no new mail, finishing what is under way.");
    }
    run::stop(gateway, stopped);
    Ok(if is_good { Exit::Ok } else { Exit::Failed })
}

/// Ends the process if it hangs where no deadline reaches; until the returned value is dropped.
fn watch() -> mpsc::Sender<()> {
    let (watch, watched) = mpsc::channel::<()>();
    thread::spawn(move || {
        if watched.recv_timeout(TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            let seconds = TIME_MAX.as_secs();
            eprintln!("ringpost: the demonstration did not end within {seconds} seconds");
            std::process::exit(1);
        }
    });
    watch
}

fn introduce(scene: &Scene, directory: &Directory) {
    let paint = Paint::of(&io::stderr());
    let title = "Ringpost in front of a Microsoft 365 tenant, all on this machine";
    eprintln!("{}\n", paint.strong(title));
    let places = [
        ("Gateway", scene.inbound, "Ringpost: mail from the Internet arrives here,"),
        ("", scene.outbound, "and mail from the tenant here, proven by a secret in its header"),
        (
            "Tenant",
            scene.tenant.address,
            "stands in for Microsoft 365; knows ana and ben, wants TLS",
        ),
        ("Internet", scene.internet.address, "stands in for all other mail servers"),
        ("DNS", scene.names, "knows the names of them all"),
    ];
    for (name, address, what) in places {
        eprintln!("  {name:<10}{:<17}  {}", address.to_string(), paint.faint(what));
    }
    eprintln!("  {:<10}{:<17}  {}\n", "Files", directory.path.display(), paint.faint(FILES));
}

/// One message after the other, and then what the log says of them. Ends early if told to stop.
fn send_all(mails: &[Mail], scene: &Scene, stopped: &Receiver<()>, deadline: Instant) -> Vec<Row> {
    let paint = Paint::of(&io::stderr());
    let mut rows = Vec::new();
    for (number, mail) in (1..).zip(mails) {
        if !stopped.is_empty() {
            break;
        }
        eprint!("  {number}/{} {:<32}", mails.len(), mail.name);
        let began = Instant::now();
        let verdict = verdict::of(mail, scene, deadline.min(began + ARRIVAL_TIME));
        let took = format!("{:>5} ms", began.elapsed().as_millis());
        eprintln!("{}  {}", paint.mark(verdict.is_good), paint.faint(took));
        rows.push(Row {
            name: mail.name,
            expected: mail.expected,
            got: verdict.text,
            is_good: verdict.is_good,
            mids: Vec::new(),
            log: Vec::new(),
        });
    }
    eprintln!();
    let MailLogs::File(log) = &scene.snapshot.logs.mail_logs else {
        unreachable!("the demonstration's configuration names a file");
    };
    let lives = lives(&mails[..rows.len()], log, deadline.min(Instant::now() + LOG_TIME));
    for (row, life) in rows.iter_mut().zip(lives) {
        if row.is_good && !life.is_over {
            row.is_good = false;
            row.got = "done, but the log has no end of it".to_owned();
        }
        row.mids = life.mids.into_iter().collect();
        row.log = life.lines;
    }
    rows
}

/// Reads the log until it tells the end of every message, or for as long as may be.
fn lives(mails: &[Mail], log: &Path, until: Instant) -> Vec<Life> {
    loop {
        let Ok(history) = History::read(log) else {
            return Vec::new();
        };
        let lives: Vec<Life> = mails.iter().map(|mail| history.life(&mail.mark())).collect();
        if lives.iter().all(|life| life.is_over) || Instant::now() >= until {
            return lives;
        }
        thread::sleep(LOG_INTERVAL);
    }
}

fn show(is_json: bool, rows: &[Row], latency: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_json {
        writeln!(out, "{:#}", table::json(rows, latency))?;
    } else {
        table::print(rows, latency, &mut out)?;
    }
    out.flush()
}

fn conclude(rows: &[Row], expected: usize) {
    let good = rows.iter().filter(|row| row.is_good).count();
    let paint = Paint::of(&io::stderr());
    let text = match expected - rows.len() {
        0 if good == expected => format!("All {good} messages went as they should."),
        0 => format!("{} of {expected} messages did NOT go as they should.", expected - good),
        missing => format!("Stopped with {missing} of {expected} messages not sent."),
    };
    eprintln!("\n{}", paint.strong(text));
}

fn invite(scene: &Scene, directory: &Directory) {
    let paint = Paint::of(&io::stderr());
    let port = scene.inbound.port();
    let configuration = scene.configuration.display();
    let data = scene.snapshot.data_dir.display();
    let kept = directory.path.join(scene::TENANT_FOLDER);
    eprintln!("\n{}\n", paint.strong("The gateway stays up. Send it a message yourself:"));
    eprintln!("  telnet 127.0.0.1 {port}\n{CONVERSATION}");
    for (what, command) in [
        ("read it at the tenant:", format!("ls {}", kept.display())),
        ("its history:", format!("tail {data}/mail_logs")),
        ("counters and latency:", format!("ringpost status --config {configuration}")),
        ("its configuration:", format!("less {configuration}")),
        ("stop:", "Ctrl-C".to_owned()),
    ] {
        eprintln!("  {what:<24}{command}");
    }
}

fn now() -> Date {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Date::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

const FILES: &str = "configuration, spool, log, delivered mail";
const CONVERSATION: &str = "  \
  EHLO laptop.example
  MAIL FROM:<you@example.org>
  RCPT TO:<ana@contoso.example>
  DATA
  Subject: Hello

  By hand.
  .
  QUIT
";

/// For everything together.
const TIME_MAX: Duration = Duration::from_secs(30);
/// For all messages and their log.
const PERFORMANCE_TIME: Duration = Duration::from_secs(24);
/// For one message.
const ARRIVAL_TIME: Duration = Duration::from_secs(8);
/// For the log after the last message.
const LOG_TIME: Duration = Duration::from_secs(5);
const LOG_INTERVAL: Duration = Duration::from_millis(20);
