//! `ringpost run`: the daemon, in the foreground until a signal.

use std::{sync::Arc, thread};

use async_channel::Receiver;

use crate::{check, cli::Config, exit::Exit, gateway::Gateway};

pub(crate) fn run(config: &Config) -> Exit {
    let Some(snapshot) = check::load(&config.config) else {
        return Exit::Configuration;
    };
    let (stops, stopped) = async_channel::bounded(1);
    let listeners: Vec<String> = snapshot
        .listeners
        .iter()
        .flat_map(|listener| {
            listener.addresses.iter().map(move |address| format!("{} on {address}", listener.name))
        })
        .collect();
    let gateway = match Gateway::start(Arc::new(snapshot), Some(stops)) {
        Ok(gateway) => gateway,
        Err(trouble) => {
            eprintln!("ringpost: {}", trouble.text);
            return trouble.exit;
        }
    };
    eprintln!("ringpost: taking mail: {}", listeners.join(", "));
    // An error means that control has ended, and with it everything that could be waited for.
    let was_told = stopped.recv_blocking().is_ok();
    eprintln!("ringpost: stopping: no new mail, finishing what is under way");
    stop(gateway, stopped);
    eprintln!("ringpost: stopped");
    // Nobody asked for this end: a supervisor that restarts what failed must see that it did.
    if was_told { Exit::Ok } else { Exit::Failed }
}

/// Drains the gateway, unless another signal says that there is no time for it.
pub(crate) fn stop(gateway: Gateway, stopped: Receiver<()>) {
    thread::spawn(move || {
        if stopped.recv_blocking().is_ok() {
            eprintln!("ringpost: stopping at once; what is under way stays in the spool");
            std::process::exit(1);
        }
    });
    gateway.drain();
}
