//! Rounds: one server at a time, started fresh, warmed up, measured and stopped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::plan::{Plan, ServerName};
use super::processes::{self, Usage};
use super::programs::{Interruption, POLL_INTERVAL, Program, free_port};
use super::server::{self, Server};
use super::summary::Comparison;
use crate::sink::SinkReport;
use crate::source::SourceReport;

/// What one round of one server came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub server: ServerName,
    pub round: u32,
    pub accepted: u64,
    /// Different measured messages that arrived at the sink.
    pub arrived: u64,
    pub duplicates: u64,
    pub accepted_per_second: f64,
    /// Arrived messages over the time from the first MAIL to the last arrival.
    pub end_to_end_per_second: f64,
    /// CPU of all processes of the server for each message that arrived.
    pub cpu_microseconds_per_message: Option<f64>,
    /// CPU of source and sink together for each message that arrived.
    pub tools_cpu_microseconds_per_message: f64,
    /// Final dot to 250, in microseconds.
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub resident_bytes_max: Option<u64>,
    pub proportional_bytes_max: Option<u64>,
    pub processes_max: Option<usize>,
    pub source: SourceReport,
    pub sink: SinkReport,
}

/// Runs the whole plan. A server that cannot be measured is skipped with the reason; one that
/// fails in a round is reported as that and tried again in the next.
pub fn run(plan: &Plan, interruption: &Interruption) -> io::Result<Comparison> {
    let directory = plan.data_dir.join(format!("run-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let directory = fs::canonicalize(directory)?;
    let comparison = run_in(&directory, plan, interruption);
    if !plan.keep {
        fs::remove_dir_all(&directory)?;
    }
    comparison
}

fn run_in(directory: &Path, plan: &Plan, interruption: &Interruption) -> io::Result<Comparison> {
    let mut comparison = Comparison::new(plan, Machine::describe(directory));
    let mut servers = Vec::new();
    for name in &plan.servers {
        match server::obstacle(*name, plan) {
            Some(reason) => comparison.skip(*name, reason),
            None => {
                comparison.versions.push((*name, server::version(*name, plan)?));
                servers.push(*name);
            }
        }
    }
    for round in 1..=plan.rounds {
        for name in &servers {
            eprintln!("compare: round {round} of {}: {name}", plan.rounds);
            let place = directory.join(format!("{name}-{round}"));
            fs::create_dir(&place)?;
            let measured = Round { plan, name: *name, round, place, interruption }.measure();
            interruption.check()?;
            match measured {
                Ok(sample) => comparison.samples.push(sample),
                Err(error) => comparison.skip(*name, format!("round {round}: {error}")),
            }
        }
    }
    Ok(comparison)
}

struct Round<'a> {
    plan: &'a Plan,
    name: ServerName,
    round: u32,
    place: PathBuf,
    interruption: &'a Interruption,
}

/// Highest values of the readings taken while a round runs.
#[derive(Default)]
struct Peak {
    usage: Usage,
    proportional_bytes: Option<u64>,
    next_reading: Option<Instant>,
    readings: u32,
}

impl Round<'_> {
    fn measure(&self) -> io::Result<Sample> {
        let sink_port = free_port()?;
        let mut sink = self.start_sink(sink_port)?;
        let (plan, place, interruption) = (self.plan, &self.place, self.interruption);
        let server = Server::start(self.name, plan, place, sink_port, interruption)?;
        self.warm_up(&server)?;

        let mut peak = Peak::default();
        let cpu_before = cpu(&server)?;
        let tools_before = processes::reaped_cpu()? + processes::usage(sink.pid())?.cpu;
        let source = self.run_source("measured", plan.messages, &server, &mut peak)?;
        self.await_arrival(&mut sink, &source, &server, &mut peak)?;
        let cpu_after = cpu(&server)?;
        sink.stop()?;
        let tools = processes::reaped_cpu()?.saturating_sub(tools_before);
        let sink: SinkReport = read_json(&self.sink_report())?;
        server.stop()?;

        let server_cpu = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
        Ok(self.sample(source, sink, server_cpu, tools, &peak))
    }

    fn start_sink(&self, port: u16) -> io::Result<Program> {
        let plan = self.plan;
        let mut command = Command::new(tool("sink")?);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--expect", &(plan.warm_up + plan.messages).to_string()]);
        command.args(["--max-time", &(3 * plan.max_time).to_string()]);
        command.arg("--report").arg(self.sink_report());
        let mut sink = Program::start("sink", &mut command, &self.place)?;
        let output = self.place.join("sink.out");
        while !fs::read_to_string(&output)?.starts_with("listening on") {
            self.interruption.check()?;
            if let Some(status) = sink.ended()? {
                return Err(io::Error::other(format!("the sink ended at its start: {status}")));
            }
            sleep(POLL_INTERVAL);
        }
        Ok(sink)
    }

    fn sink_report(&self) -> PathBuf {
        self.place.join("sink.json")
    }

    /// The server's processes exist and its queue is made before anything is measured.
    fn warm_up(&self, server: &Server) -> io::Result<()> {
        let messages = self.plan.warm_up;
        if messages == 0 {
            return Ok(());
        }
        let report = self.run_source("warmup", messages, server, &mut Peak::default())?;
        if !report.all_accepted() {
            return Err(io::Error::other(format!("of the warm-up, {report}")));
        }
        let deadline = Instant::now() + self.plan.max_time();
        while read_json::<SinkReport>(&self.sink_report())?.unique < messages {
            self.interruption.check()?;
            if Instant::now() >= deadline {
                return Err(io::Error::other("the warm-up did not arrive in time"));
            }
            sleep(POLL_INTERVAL);
        }
        sleep(SETTLE_TIME);
        Ok(())
    }

    fn run_source(
        &self,
        run: &str,
        messages: u64,
        server: &Server,
        peak: &mut Peak,
    ) -> io::Result<SourceReport> {
        let plan = self.plan;
        let mut command = Command::new(tool("source")?);
        command.args(["--server", &format!("127.0.0.1:{}", server.port), "--json"]);
        command.args(["--run", run, "--messages", &messages.to_string()]);
        command.args(["--size", &plan.size.to_string()]);
        command.args(["--connections", &plan.connections.to_string()]);
        command.args(["--clients", &plan.clients.to_string()]);
        command.args(["--rate", &plan.rate.to_string()]);
        command.args(["--max-time", &plan.max_time.to_string()]);
        if plan.pipelining {
            command.arg("--pipelining");
        }
        let mut source = Program::start(run, &mut command, &self.place)?;
        while source.ended()?.is_none() {
            self.interruption.check()?;
            peak.read(server)?;
            sleep(SOURCE_POLL_INTERVAL);
        }
        read_json(&self.place.join(format!("{run}.out"))).map_err(|error| {
            let said = fs::read_to_string(self.place.join(format!("{run}.err")));
            io::Error::other(format!("the source: {}{error}", said.unwrap_or_default()))
        })
    }

    /// Waits until all that was accepted has arrived, or nothing arrives any more.
    fn await_arrival(
        &self,
        sink: &mut Program,
        source: &SourceReport,
        server: &Server,
        peak: &mut Peak,
    ) -> io::Result<()> {
        let expected = self.plan.warm_up + source.accepted;
        let end = Instant::now() + self.plan.max_time();
        let mut arrived = 0;
        let mut last_progress = Instant::now();
        while sink.ended()?.is_none() {
            self.interruption.check()?;
            peak.read(server)?;
            let unique = read_json::<SinkReport>(&self.sink_report())?.unique;
            if unique > arrived {
                (arrived, last_progress) = (unique, Instant::now());
            }
            let is_short = source.accepted < self.plan.messages;
            let is_stalled = last_progress.elapsed() > STALL_PATIENCE;
            if (is_short && unique >= expected) || is_stalled || Instant::now() >= end {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn sample(
        &self,
        source: SourceReport,
        sink: SinkReport,
        server_cpu: Option<Duration>,
        tools_cpu: Duration,
        peak: &Peak,
    ) -> Sample {
        let arrived = sink.unique.saturating_sub(self.plan.warm_up);
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / arrived.max(1) as f64;
        let times = source.first_send_unix_microseconds.zip(sink.last_arrival_unix_microseconds);
        let microseconds = times.map_or(0, |(first, last)| last.saturating_sub(first));
        let has_server = self.name != ServerName::Direct;
        Sample {
            server: self.name,
            round: self.round,
            accepted: source.accepted,
            arrived,
            duplicates: sink.duplicates,
            accepted_per_second: source.accepted_per_second,
            end_to_end_per_second: arrived as f64 * 1e6 / microseconds.max(1) as f64,
            cpu_microseconds_per_message: server_cpu.map(each),
            tools_cpu_microseconds_per_message: each(tools_cpu),
            p50: source.final_dot_to_reply.p50,
            p99: source.final_dot_to_reply.p99,
            p999: source.final_dot_to_reply.p999,
            resident_bytes_max: has_server.then_some(peak.usage.resident_bytes),
            proportional_bytes_max: peak.proportional_bytes,
            processes_max: has_server.then_some(peak.usage.processes),
            source,
            sink,
        }
    }
}

impl Peak {
    /// Takes a reading when it is time for one: more often would burden what is measured.
    fn read(&mut self, server: &Server) -> io::Result<()> {
        let Some(pid) = server.pid() else {
            return Ok(());
        };
        let now = Instant::now();
        if self.next_reading.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.next_reading = Some(now + READING_INTERVAL);
        let usage = processes::usage(pid)?;
        self.usage.resident_bytes = self.usage.resident_bytes.max(usage.resident_bytes);
        self.usage.processes = self.usage.processes.max(usage.processes);
        if self.readings.is_multiple_of(READINGS_PER_PROPORTIONAL) {
            self.proportional_bytes =
                self.proportional_bytes.max(processes::proportional_bytes(pid)?);
        }
        self.readings += 1;
        Ok(())
    }
}

fn cpu(server: &Server) -> io::Result<Option<Duration>> {
    server.pid().map(|pid| processes::usage(pid).map(|usage| usage.cpu)).transpose()
}

/// A tool that was built with this program.
fn tool(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let build = "build it with `cargo build --release -p ringpost-perf`";
    Err(io::Error::other(format!("{} is missing: {build}", path.display())))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// From the last arrival of the warm-up to the first reading.
const SETTLE_TIME: Duration = Duration::from_millis(500);

/// A server from which nothing arrives for so long is not waited for.
const STALL_PATIENCE: Duration = Duration::from_secs(30);

const SOURCE_POLL_INTERVAL: Duration = Duration::from_millis(20);
const READING_INTERVAL: Duration = Duration::from_millis(250);
const READINGS_PER_PROPORTIONAL: u32 = 4;
