//! `sink`: takes mail as the next hop of a server under test. Exit code 0 says that all that was
//! expected has arrived, 1 that it has not, 74 that a file or a socket failed on this side.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ringpost_perf::sink::{Options, run};

fn main() -> ExitCode {
    let options = Options::parse();
    let expected = options.expect.unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(options))) {
        Ok(report) if report.unique >= expected => ExitCode::SUCCESS,
        Ok(report) => {
            eprintln!("sink: {} of {expected} messages arrived", report.unique);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("sink: {error}");
            ExitCode::from(EX_IOERR)
        }
    }
}

/// An error of input or output, as sysexits has it.
const EX_IOERR: u8 = 74;
