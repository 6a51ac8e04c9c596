//! The composition root: reads the command line, starts what the verb asks for, says how it ended.

mod check;
mod cli;
mod demo;
mod exit;
mod gateway;
mod init;
mod run;
mod status;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};

use crate::{
    cli::{Cli, Init, Verb},
    exit::Exit,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, and go to standard output; the rest is for the person.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok.into(),
                _ => Exit::Usage.into(),
            };
        }
    };
    let exit = match cli.verb {
        Verb::Demo(options) => demo::run(&options),
        Verb::Run(config) => run::run(&config),
        Verb::Check(check) => check::run(&check),
        Verb::Init(Init::M365(options)) => init::m365(&options),
        Verb::Status(status) => status::run(&status),
    };
    exit.into()
}
