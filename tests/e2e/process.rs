//! A process of a test: its output in files, its end certain.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    directory::Directory,
    patience::{seconds, until},
};

pub(crate) struct Process {
    child: Child,
    name: String,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    pub(crate) fn start(name: &str, command: &mut Command, directory: &Directory) -> Self {
        let (out, err) =
            (directory.join(&format!("{name}.out")), directory.join(&format!("{name}.err")));
        let file = |path| Stdio::from(File::create(path).expect("a file in our directory"));
        let child = command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { child, name: name.to_owned(), out, err }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is our child");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        until(limit, &what, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may end by itself meanwhile, which is as well.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end, at most two minutes. Its output is returned as it is.
pub(crate) fn output(command: &mut Command) -> Output {
    let bounded = &mut Command::new("timeout");
    bounded.arg("120").arg(command.get_program()).args(command.get_args());
    bounded.stdin(Stdio::null()).output().expect("coreutils are installed")
}

/// Like [`output`], but the program must succeed; returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Runs a Python program with arguments; it must succeed.
pub(crate) fn python(program: &str, arguments: &[&str]) -> String {
    succeed(Command::new("python3").arg("-c").arg(program).args(arguments))
}

/// A TCP port of 127.0.0.1 that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until something accepts connections on a port of 127.0.0.1.
pub(crate) fn wait_for_port(port: u16, what: &str) {
    until(seconds(20), what, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
