//! `source`: sends mail and measures how a server answers. Exit code 0 says that every message
//! was accepted, 1 that some were not, 2 that the options make no sense, 74 that a file or a
//! socket failed on this side.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ringpost_perf::source::{Options, SourceReport, run};

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(reason) = options.message_pattern() {
        eprintln!("source: {reason}");
        return ExitCode::from(EX_OPTIONS);
    }
    let json = options.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.and_then(|runtime| runtime.block_on(run(options)));
    match report.and_then(|report| print(&report, json).map(|()| report.all_accepted())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("source: {error}");
            ExitCode::from(EX_IOERR)
        }
    }
}

fn print(report: &SourceReport, json: bool) -> std::io::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// The code that the command line parser uses too.
const EX_OPTIONS: u8 = 2;

/// An error of input or output, as sysexits has it.
const EX_IOERR: u8 = 74;
