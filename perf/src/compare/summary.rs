//! What a comparison came to: medians, ratios and every round, as Markdown for people and as
//! JSON for programs.

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::plan::{Plan, ServerName};
use super::round::Sample;
use super::table::Table;
use crate::date;
use crate::size::format_size;

/// Everything a comparison found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    pub plan: Plan,
    pub machine: Machine,
    pub started_unix_seconds: u64,
    pub versions: Vec<(ServerName, String)>,
    pub samples: Vec<Sample>,
    /// Servers, or rounds of them, without a sample, and why.
    pub skipped: Vec<(ServerName, String)>,
}

impl Comparison {
    /// A comparison that begins now.
    pub fn new(plan: &Plan, machine: Machine) -> Self {
        Self {
            plan: plan.clone(),
            machine,
            started_unix_seconds: date::unix_microseconds() / 1_000_000,
            versions: Vec::new(),
            samples: Vec::new(),
            skipped: Vec::new(),
        }
    }

    pub fn skip(&mut self, name: ServerName, reason: String) {
        eprintln!("compare: no sample of {name}: {reason}");
        self.skipped.push((name, reason));
    }

    /// Whether every server that was asked for has all its rounds, and no message was lost or
    /// came twice in any of them.
    pub fn is_complete(&self) -> bool {
        let whole = |sample: &Sample| {
            sample.accepted == self.plan.messages
                && sample.arrived == self.plan.messages
                && sample.duplicates == 0
        };
        self.skipped.is_empty() && self.samples.iter().all(whole)
    }

    fn samples_of(&self, name: ServerName) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.server == name)
    }
}

/// One number of a sample.
struct Metric {
    name: &'static str,
    value: fn(&Sample) -> Option<f64>,
    decimals: usize,
}

/// The comparison in Markdown.
pub fn render(comparison: &Comparison) -> String {
    let mut text = String::from("# Comparison\n\n");
    describe(comparison, &mut text);
    text += "\n## Medians\n\n";
    text += &medians(comparison).render();
    for (name, reason) in &comparison.skipped {
        text += &format!("\nNo sample of {name}: {reason}\n");
    }
    if let Some(ratios) = ratios(comparison) {
        text += "\n## Ratios\n\nRound by round, the median and in brackets the extremes.\n\n";
        text += &ratios.render();
    }
    text += "\n## Rounds\n\n";
    text += &rounds(comparison).render();
    text += NOTES;
    text
}

fn describe(comparison: &Comparison, text: &mut String) {
    let Comparison { plan, machine, .. } = comparison;
    let mut line = |name: &str, value: String| {
        *text += &format!("- {name}: {value}\n");
    };
    line("date", date::iso(comparison.started_unix_seconds));
    line("machine", machine.line());
    for (name, version) in &comparison.versions {
        line(&name.to_string(), version.clone());
    }
    let size = format_size(plan.size);
    let Plan { messages, connections, clients, rounds, warm_up, .. } = plan;
    let in_or_out = if plan.pipelining { "with" } else { "without" };
    let rate = match plan.rate {
        0.0 => "as fast as they are answered".to_owned(),
        rate => format!("{rate} a second"),
    };
    line(
        "plan",
        format!(
            "{messages} messages of {size} after {warm_up} to warm up, {rate}, over {connections} \
             connections from {clients} addresses {in_or_out} PIPELINING, to a next hop that \
             takes {} connections; {rounds} rounds in turns",
            plan.destination_connections
        ),
    );
    if !plan.postfix_setting.is_empty() {
        line("postfix settings", plan.postfix_setting.join(", "));
    }
}

fn medians(comparison: &Comparison) -> Table {
    let mut table = table_with(&[""]);
    for name in &comparison.plan.servers {
        let mut row = vec![name.to_string()];
        for metric in &METRICS {
            let values = comparison.samples_of(*name).filter_map(metric.value).collect();
            row.push(median(values).map_or_else(dash, |value| number(value, metric.decimals)));
        }
        table.push(row);
    }
    table
}

/// Each server against the first of those that are servers.
fn ratios(comparison: &Comparison) -> Option<Table> {
    let is_server = |name: &&ServerName| **name != ServerName::Direct;
    let mut servers = comparison.plan.servers.iter().filter(is_server);
    let base = servers.next()?;
    let others: Vec<&ServerName> =
        servers.filter(|name| comparison.samples_of(**name).next().is_some()).collect();
    if others.is_empty() || comparison.samples_of(*base).next().is_none() {
        return None;
    }
    let mut table = table_with(&[""]);
    for name in others {
        let mut row = vec![format!("{name} / {base}")];
        for metric in &METRICS {
            row.push(ratio(&paired(comparison, *name, *base, metric)));
        }
        table.push(row);
    }
    Some(table)
}

/// The ratios of a metric in the rounds that both servers have.
fn paired(
    comparison: &Comparison,
    name: ServerName,
    base: ServerName,
    metric: &Metric,
) -> Vec<f64> {
    let of_round = |sample: &Sample| {
        let base = comparison.samples_of(base).find(|other| other.round == sample.round)?;
        let (value, base) = ((metric.value)(sample)?, (metric.value)(base)?);
        (base > 0.0).then(|| value / base)
    };
    comparison.samples_of(name).filter_map(of_round).collect()
}

fn ratio(ratios: &[f64]) -> String {
    let Some(middle) = median(ratios.to_vec()) else {
        return dash();
    };
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    format!("{middle:.2} ({low:.2}–{high:.2})")
}

fn rounds(comparison: &Comparison) -> Table {
    let mut table = table_with(&["", "accepted", "arrived", "twice"]);
    for sample in &comparison.samples {
        let mut row = vec![
            format!("{} {}", sample.server, sample.round),
            sample.accepted.to_string(),
            sample.arrived.to_string(),
            sample.duplicates.to_string(),
        ];
        for metric in &METRICS {
            let value = (metric.value)(sample);
            row.push(value.map_or_else(dash, |value| number(value, metric.decimals)));
        }
        table.push(row);
    }
    table
}

/// A table whose last columns are the metrics.
fn table_with(first_columns: &[&str]) -> Table {
    let metrics = METRICS.iter().map(|metric| metric.name);
    let head: Vec<&str> = first_columns.iter().copied().chain(metrics).collect();
    Table::with_head(&head)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

fn number(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}")
}

fn dash() -> String {
    "—".to_owned()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

fn milliseconds(microseconds: u64) -> Option<f64> {
    Some(microseconds as f64 / 1000.0)
}

const METRICS: [Metric; 9] = [
    Metric { name: "accepted/s", value: |s| Some(s.accepted_per_second), decimals: 0 },
    Metric { name: "end to end/s", value: |s| Some(s.end_to_end_per_second), decimals: 0 },
    Metric { name: "CPU µs/message", value: |s| s.cpu_microseconds_per_message, decimals: 0 },
    Metric { name: "p50 ms", value: |s| milliseconds(s.p50), decimals: 2 },
    Metric { name: "p99 ms", value: |s| milliseconds(s.p99), decimals: 2 },
    Metric { name: "p99.9 ms", value: |s| milliseconds(s.p999), decimals: 2 },
    Metric { name: "RSS MiB", value: |s| s.resident_bytes_max.map(mebibytes), decimals: 0 },
    Metric { name: "PSS MiB", value: |s| s.proportional_bytes_max.map(mebibytes), decimals: 0 },
    Metric {
        name: "tools µs/message",
        value: |s| Some(s.tools_cpu_microseconds_per_message),
        decimals: 0,
    },
];

const NOTES: &str = "
Latencies run from the final dot to its 250. CPU is user and system time of all processes of the
server, children that have ended included. RSS counts shared pages once for each process, PSS
divides them; both are the highest of the readings taken while the round ran. Source and sink
run on the same cores as the server; what they used stands under `tools`.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SinkReport;
    use crate::source::Tally;
    use clap::Parser;
    use std::time::Duration;

    fn sample(server: ServerName, round: u32, rate: f64) -> Sample {
        Sample {
            server,
            round,
            accepted: 20_000,
            arrived: 20_000,
            duplicates: 0,
            accepted_per_second: rate,
            end_to_end_per_second: rate / 2.0,
            cpu_microseconds_per_message: (server != ServerName::Direct).then_some(1e6 / rate),
            tools_cpu_microseconds_per_message: 40.0,
            p50: 1500,
            p99: 9000,
            p999: 20_000,
            resident_bytes_max: Some(50 << 20),
            proportional_bytes_max: None,
            processes_max: Some(3),
            source: Tally::default().report("r", 0, 1024, 0, Duration::ZERO),
            sink: SinkReport::default(),
        }
    }

    fn comparison() -> Comparison {
        let plan = Plan::try_parse_from(["compare"]).expect("nothing is required");
        let machine = Machine {
            processor: "Some CPU".to_owned(),
            cores: 2,
            memory: "8.0 GiB".to_owned(),
            kernel: "6.1".to_owned(),
            filesystem: "ext4 on /dev/sda1 (rw)".to_owned(),
        };
        let mut comparison = Comparison::new(&plan, machine);
        comparison.samples = vec![
            sample(ServerName::Direct, 1, 30_000.0),
            sample(ServerName::Postfix, 1, 1000.0),
            sample(ServerName::Ringpost, 1, 4000.0),
            sample(ServerName::Postfix, 2, 2000.0),
            sample(ServerName::Ringpost, 2, 4000.0),
        ];
        comparison
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let comparison = comparison();
        let ratios = paired(&comparison, ServerName::Ringpost, ServerName::Postfix, &METRICS[0]);
        assert_eq!(ratios, [4.0, 2.0]);
        assert_eq!(ratio(&ratios), "3.00 (2.00–4.00)");
    }

    #[test]
    fn the_text_has_what_a_reader_needs() {
        let mut comparison = comparison();
        comparison.skipped.push((ServerName::Postfix, "round 3: it ended".to_owned()));
        let text = render(&comparison);
        for needed in [
            "- machine: Some CPU, 2 cores, 8.0 GiB, Linux 6.1, ext4 on /dev/sda1 (rw)\n",
            "| postfix  |       1500 |          750 |            750 |",
            "| ringpost / postfix | 3.00 (2.00–4.00) |",
            "| ringpost 2 |    20000 |   20000 |     0 |",
            "No sample of postfix: round 3: it ended\n",
        ] {
            assert!(text.contains(needed), "{needed}\nis not in\n{text}");
        }
        assert!(!comparison.is_complete());
    }

    #[test]
    fn a_lost_message_makes_a_comparison_incomplete() {
        let mut comparison = comparison();
        assert!(comparison.is_complete());
        comparison.samples[3].arrived -= 1;
        assert!(!comparison.is_complete());
    }
}
