//! An authoritative DNS server on loopback, so that names are what the test says.

use std::{net::UdpSocket, process::Command};

use crate::{
    directory::Directory,
    patience::{seconds, until},
    process::{Process, free_port},
};

pub(crate) struct Dns {
    process: Option<Process>,
    pub(crate) port: u16,
}

impl Dns {
    /// Answers for the root, so that what is not among the [`RECORDS`] does not exist.
    pub(crate) fn start(directory: &Directory) -> Self {
        let port = free_port();
        let folder = directory.folder("dns");
        let folder = folder.display();
        let zone = format!(
            "$ORIGIN .\n$TTL 60\n@ SOA ns.test. admin.test. 1 60 60 60 60\n@ NS ns.test.\n\
             ns.test. A 127.0.0.1\n{RECORDS}\n"
        );
        directory.write("dns/root.zone", zone);
        let configuration = format!(
            r#"server:
  ip-address: 127.0.0.1
  port: {port}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  database: ""
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: "root.zone"
"#
        );
        let path = directory.write("dns/nsd.conf", configuration);
        let mut command = Command::new("/usr/sbin/nsd");
        command.arg("-d").arg("-c").arg(path);
        let mut process = Process::start("nsd", &mut command, directory);
        until(seconds(10), "the DNS server answers", || {
            let ended = process.ended();
            assert!(ended.is_none(), "nsd ended: {ended:?}\n{}", process.err());
            answers(port).then_some(())
        });
        Self { process: Some(process), port }
    }
}

impl Dns {
    /// Whatever listens on a port, if anything does.
    pub(crate) fn at(port: u16) -> Self {
        Self { process: None, port }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        // It has children of its own, which end with it only when it is asked to end.
        if let Some(process) = &mut self.process {
            process.terminate();
            process.wait(seconds(10));
        }
    }
}

/// Whether a question for the SOA of the root is answered without error.
fn answers(port: u16) -> bool {
    let question = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01";
    let ask = || {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200)))?;
        socket.connect(("127.0.0.1", port))?;
        socket.send(question)?;
        let mut answer = [0; 512];
        socket.recv(&mut answer)?;
        Ok::<_, std::io::Error>(answer[3] & 0x0f == 0 && answer[7] > 0)
    };
    ask().unwrap_or(false)
}

/// The world of all tests.
const RECORDS: &str = "\
1.5.0.127.in-addr.arpa. PTR mail-a.outbound.protection.outlook.com.
mail-a.outbound.protection.outlook.com. A 127.0.5.1
2.5.0.127.in-addr.arpa. PTR mail-b.outbound.protection.outlook.com.
mail-b.outbound.protection.outlook.com. A 127.0.5.99
4.5.0.127.in-addr.arpa. PTR mail.protection.outlook.com.evil.example.
mail.protection.outlook.com.evil.example. A 127.0.5.4
nullmx.example. MX 0 .
hop.example. A 127.0.0.1
mx.example. MX 20 mx20.example.
mx.example. MX 10 mx10.example.
mx10.example. A 127.0.6.10
mx20.example. A 127.0.6.20
nomx.example. A 127.0.6.10
";
