//! `compare`: the same plan against several servers. Exit code 0 says that every server asked for
//! has all its rounds and no message was lost or came twice, 1 that it is not so, 74 that
//! something failed on this side.

#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use ringpost_perf::compare::{Comparison, Interruption, Plan, render, run};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let plan = Plan::parse();
    match compare(&plan) {
        Ok(comparison) if comparison.is_complete() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::from(EX_IOERR)
        }
    }
}

fn compare(plan: &Plan) -> io::Result<Comparison> {
    let interruption = Interruption::default();
    let listening = interruption.clone();
    std::thread::spawn(move || {
        if let Err(error) = await_signal(&listening) {
            eprintln!("compare: signals are not listened to: {error}");
        }
    });
    let comparison = run(plan, &interruption)?;
    let text = render(&comparison);
    print!("{text}");
    if let Some(path) = &plan.output {
        write(path, &comparison, &text)?;
    }
    Ok(comparison)
}

/// Every program that was started must be stopped, so a signal is taken and answered in turn.
fn await_signal(interruption: &Interruption) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        interruption.interrupt();
        Ok(())
    })
}

fn write(path: &Path, comparison: &Comparison, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, text)?;
    std::fs::write(path.with_extension("json"), serde_json::to_vec_pretty(comparison)?)
}

/// An error of input or output, as sysexits has it.
const EX_IOERR: u8 = 74;
