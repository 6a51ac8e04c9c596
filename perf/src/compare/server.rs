//! A server under test, whichever it is.

use std::io;
use std::path::Path;

use super::plan::{Plan, ServerName};
use super::programs::{Interruption, Program, await_greeting, free_port};
use super::{postfix, ringpost};

/// A server that is ready for mail.
#[derive(Debug)]
pub struct Server {
    /// None when the source is to send straight to the sink.
    program: Option<Program>,
    pub port: u16,
}

impl Server {
    /// Starts a server in an absolute directory of its own and waits until it greets.
    pub fn start(
        name: ServerName,
        plan: &Plan,
        directory: &Path,
        sink_port: u16,
        interruption: &Interruption,
    ) -> io::Result<Self> {
        let port = free_port()?;
        let mut program = match (name, &plan.ringpost) {
            (ServerName::Direct, _) => {
                return Ok(Self { program: None, port: sink_port });
            }
            (ServerName::Postfix, _) => postfix::start(plan, directory, port, sink_port)?,
            (ServerName::Ringpost, Some(path)) => {
                ringpost::start(plan, path, directory, port, sink_port)?
            }
            (ServerName::Ringpost, None) => return Err(io::Error::other("no program was given")),
        };
        await_greeting(&mut program, port, interruption)?;
        Ok(Self { program: Some(program), port })
    }

    /// The first process of the server, whose descendants are the server.
    pub fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }

    pub fn stop(mut self) -> io::Result<()> {
        self.program.as_mut().map_or(Ok(()), Program::stop)
    }
}

/// Why a server cannot be measured here, if so.
pub fn obstacle(name: ServerName, plan: &Plan) -> Option<String> {
    match name {
        ServerName::Direct => None,
        ServerName::Postfix => postfix::obstacle(),
        ServerName::Ringpost => ringpost::obstacle(plan),
    }
}

/// The version of a server, for people.
pub fn version(name: ServerName, plan: &Plan) -> io::Result<String> {
    match (name, &plan.ringpost) {
        (ServerName::Postfix, _) => postfix::version(),
        (ServerName::Ringpost, Some(path)) => ringpost::version(path),
        (ServerName::Ringpost, None) => Ok("ringpost".to_owned()),
        (ServerName::Direct, _) => Ok("source and sink without a server".to_owned()),
    }
}
