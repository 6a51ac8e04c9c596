//! What the operator sees: diagnostics, refusals to start, status, and a daemon that can be idle.

use std::{fs, net::TcpListener, thread::sleep};

use crate::{
    conversation::message,
    directory::Directory,
    gateway::{Setting, ringpost, route},
    patience::{seconds, until},
    sink::Sink,
};

#[test]
fn a_bad_configuration_is_told_whole_and_starts_nothing() {
    let directory = Directory::new();
    let data = directory.join("data");
    let text = format!(
        r#"hostname = "gateway.example"
data_dir = "{}"
worker = 2

[bounce_profile]
initial_retry = "soon"

[[listener]]
name = "Public"
addresses = ["127.0.0.1:2525", "nowhere"]
kind = "private"

  [[listener.sender_group]]
  name = "RELAYLIST"
  policy = "RELAYD"
  senders = ["10.0.0.0/8"]
"#,
        data.display()
    );
    let path = directory.write("wrong.toml", text);
    let path = path.to_str().expect("our paths are ASCII");
    for verb in ["check", "run"] {
        let (code, said) = ringpost(&[verb, "--config", path]);
        assert_eq!(code, Some(78), "{said}");
        for place in ["wrong.toml:3:1", "wrong.toml:6:17", "wrong.toml:10:32", "wrong.toml:15:12"] {
            assert!(said.contains(place), "{place} is not told:\n{said}");
        }
        assert!(said.contains("workers"), "what was meant instead of `worker`:\n{said}");
        assert!(said.contains("RELAYED"), "what was meant instead of `RELAYD`:\n{said}");
        assert!(said.contains("nothing was started"), "{said}");
    }
    assert!(!data.exists(), "nothing was started, so nothing was made");
}

#[test]
fn a_port_in_use_is_named() {
    let directory = Directory::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("it is bound").port();
    let tables = crate::gateway::relay_listener(port);
    let mut process = Setting::with_listener(&directory, port, tables).spawn("refused");
    let status = process.wait(seconds(20));
    let said = process.err();
    assert!(!status.success() && status.code().is_some(), "{status}: {said}");
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(said.contains("in use"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn an_idle_gateway_uses_no_cpu() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let mut gateway = Setting::relay(&directory, &route("ALL", sink.port)).start();
    let mut client = gateway.client();
    let content = message("e2e-1", "", "then nothing");
    let reply = client.transact("a@sender.example", "b@remote.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    sink.content("e2e-1");
    gateway.wait_until_empty(seconds(10));
    // The delivery connection is closed after 5 s without work.
    gateway.wait_for_line(&["DCID", "close"]);
    sleep(seconds(1));
    let id = gateway.process().id();
    let before = ticks(id);
    sleep(seconds(3));
    let used = ticks(id) - before;
    assert!(used <= 2, "{used} clock ticks in 3 s of idleness");
    client.ask("NOOP", "250 ");
    gateway.stop();
}

#[test]
fn status_says_how_the_gateway_is_doing() {
    let directory = Directory::new();
    let sink = Sink::keeping(&directory, &[]);
    let mut gateway = Setting::relay(&directory, &route("ALL", sink.port)).start();
    let mut client = gateway.client();
    let content = message("e2e-1", "", "counted");
    let reply = client.transact("a@sender.example", "b@remote.example", &content);
    assert!(reply.starts_with("250 "), "{reply}");
    sink.content("e2e-1");
    gateway.wait_until_empty(seconds(10));
    until(seconds(5), "the delivery in the counters", || {
        (gateway.status()["counters"]["delivered_recipients"] == 1).then_some(())
    });
    let status = gateway.status();
    assert_eq!(status["system_status"], "Online", "{status:#}");
    assert_eq!(status["pid"], gateway.process().id(), "{status:#}");
    assert_eq!(status["counters"]["messages_received"], 1, "{status:#}");
    assert_eq!(status["counters"]["delivered_recipients"], 1, "{status:#}");
    assert_eq!(status["gauges"]["connections_in"], 1, "{status:#}");
    let configuration = directory.join("gateway.toml");
    let path = configuration.to_str().expect("our paths are ASCII");
    gateway.stop();
    let (code, said) = ringpost(&["status", "--config", path]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("no gateway answers at"), "{said}");
}

/// User and system time of a process, in clock ticks.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields = stat.rsplit_once(") ").expect("the name is in brackets").1;
    let mut times = fields.split(' ').skip(11).map(|it| it.parse::<u64>().expect("a number"));
    times.next().expect("utime") + times.next().expect("stime")
}
