//! Programs that a comparison starts and stops. Each is the leader of a process group of its own,
//! is asked by SIGTERM before it is killed, and never outlives the comparison.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::processes;

/// Whether the comparison was told to stop.
#[derive(Clone, Debug, Default)]
pub struct Interruption(Arc<AtomicBool>);

impl Interruption {
    pub fn interrupt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails when the comparison was told to stop; every wait asks it.
    pub fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::new(io::ErrorKind::Interrupted, "stopped by a signal")),
            false => Ok(()),
        }
    }
}

/// A running program, stopped at the latest when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    /// The file its errors go to.
    errors: PathBuf,
    child: Child,
    status: Option<ExitStatus>,
}

impl Program {
    /// Starts a program; its output goes to a file, its errors to another.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let output = File::create(directory.join(format!("{name}.out")))?;
        let errors = directory.join(format!("{name}.err"));
        command.stdin(Stdio::null()).stdout(output).stderr(File::create(&errors)?).process_group(0);
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
        })?;
        Ok(Self { name: name.to_owned(), errors, child, status: None })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the program has ended, and how.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// The last line the program wrote to its errors.
    fn last_error(&self) -> io::Result<String> {
        let errors = fs::read(&self.errors)?;
        let text = String::from_utf8_lossy(&errors);
        Ok(text.lines().rfind(|line| !line.is_empty()).unwrap_or_default().to_owned())
    }

    /// Asks the program and its descendants to end, and kills those that do not in time. All of
    /// them are asked, because the first process may be a script that passes no signal on.
    pub fn stop(&mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pids = processes::pids(self.pid())?;
        pids.iter().for_each(|pid| signal(*pid, Signal::TERM));
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            let has_ended = self.ended()?.is_some();
            if has_ended && !pids.iter().any(|pid| processes::is_alive(*pid)) {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
        eprintln!("compare: {} does not stop and is killed", self.name);
        let living = pids.into_iter().filter(|pid| processes::is_alive(*pid));
        living.for_each(|pid| signal(pid, Signal::KILL));
        self.status = Some(self.child.wait()?);
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("compare: {} could not be stopped: {error}", self.name);
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself meanwhile, which is what is wanted.
        let _already_ended = kill_process(pid, signal);
    }
}

/// A port on 127.0.0.1 that nobody listens on now.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until an SMTP server greets on this port, for as long as its program lives.
pub fn await_greeting(
    program: &mut Program,
    port: u16,
    interruption: &Interruption,
) -> io::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while Instant::now() < deadline {
        interruption.check()?;
        if greets(port).unwrap_or(false) {
            return Ok(());
        }
        if let Some(status) = program.ended()? {
            let said = program.last_error().unwrap_or_default();
            let name = &program.name;
            return Err(io::Error::other(format!("{name} ended at its start: {status}: {said}")));
        }
        sleep(POLL_INTERVAL);
    }
    Err(io::Error::other(format!("{} does not greet on port {port}", program.name)))
}

fn greets(port: u16) -> io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, GREETING_PATIENCE)?;
    stream.set_read_timeout(Some(GREETING_PATIENCE))?;
    let mut code = [0; 3];
    stream.read_exact(&mut code)?;
    stream.write_all(b"QUIT\r\n")?;
    Ok(&code == b"220")
}

/// How often things that are waited for are looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(15);
const GREETING_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_stopped_when_it_is_dropped() {
        let directory = std::env::temp_dir();
        let name = format!("ringpost-perf-sleep-{}", std::process::id());
        let start = Instant::now();
        let program = Program::start(&name, Command::new("sleep").arg("100"), &directory)
            .expect("every system has sleep");
        let pid = program.pid();
        drop(program);
        assert!(start.elapsed() < STOP_PATIENCE);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        for ending in ["out", "err"] {
            std::fs::remove_file(directory.join(format!("{name}.{ending}"))).expect("it is ours");
        }
    }

    #[test]
    fn the_descendants_of_a_program_are_stopped_with_it() {
        let directory = std::env::temp_dir();
        let name = format!("ringpost-perf-script-{}", std::process::id());
        let script = "setsid sleep 100; true";
        let mut program =
            Program::start(&name, Command::new("sh").args(["-c", script]), &directory)
                .expect("every system has sh");
        let deadline = Instant::now() + START_PATIENCE;
        let pids = loop {
            let pids = processes::pids(program.pid()).expect("/proc is there");
            assert!(Instant::now() < deadline, "the script starts its child");
            if pids.len() > 1 {
                break pids;
            }
        };
        program.stop().expect("it can be stopped");
        assert!(!pids.iter().any(|pid| processes::is_alive(*pid)), "{pids:?}");
        for ending in ["out", "err"] {
            std::fs::remove_file(directory.join(format!("{name}.{ending}"))).expect("it is ours");
        }
    }

    #[test]
    fn an_interruption_ends_every_wait() {
        let interruption = Interruption::default();
        assert!(interruption.check().is_ok());
        interruption.clone().interrupt();
        assert!(interruption.check().is_err());
    }
}
