//! `ringpost init m365`: writes the complete configuration of the Microsoft 365 scenario.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use ringpost_config::init::{self, TenantTls};

use crate::{
    cli::{self, M365},
    exit::Exit,
};

pub(crate) fn m365(options: &M365) -> Exit {
    let secret = match secret(options.secret_file.as_deref()) {
        Ok(secret) => secret,
        Err(error) => {
            eprintln!("ringpost: the secret: {error}");
            return Exit::BadInput;
        }
    };
    let text = match init::m365(&meaning(options, secret)) {
        Ok(text) => text,
        Err(wrong) => {
            for option in wrong {
                eprintln!("ringpost: {}: {}", option.option, option.message);
            }
            return Exit::Usage;
        }
    };
    match write(&options.output, &text) {
        Ok(()) => {
            let path = options.output.display();
            eprintln!("ringpost: wrote {path}; it holds the secret, so only its owner can read it");
            eprintln!("ringpost: next: ringpost check --config {path}");
            Exit::Ok
        }
        Err(error) => {
            eprintln!("ringpost: {}: {error}", options.output.display());
            Exit::CannotCreate
        }
    }
}

fn meaning(options: &M365, secret: String) -> init::M365 {
    init::M365 {
        domains: options.domain.clone(),
        tenant_host: options.tenant_host.clone(),
        hostname: options.hostname.clone().unwrap_or_else(own_name),
        secret_header: options.secret_header.clone(),
        secret,
        data_dir: options.data_dir.display().to_string(),
        inbound: options.inbound,
        outbound: options.outbound,
        admin: Some(options.admin),
        dns_servers: options.dns.clone(),
        relay_senders: options.relay_sender.clone(),
        smarthost: options.smarthost.clone(),
        tenant_tls: match options.tenant_tls {
            cli::TenantTls::None => TenantTls::None,
            cli::TenantTls::Preferred => TenantTls::Preferred,
            cli::TenantTls::Required => TenantTls::Required,
            cli::TenantTls::Verify => TenantTls::Verify,
        },
        workers: options.workers,
    }
}

/// The secret of the file, or a new one.
fn secret(file: Option<&Path>) -> io::Result<String> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    new_secret()
}

/// 160 bits from the kernel.
pub(crate) fn new_secret() -> io::Result<String> {
    let mut random = [0_u8; 20];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn own_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}
