//! Everything a message meets on its way, on this machine: the stand-ins, the gateway's
//! configuration, the certificate its clients trust.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use ringpost_config::{
    Snapshot,
    init::{self, M365},
};
use ringpost_control::certificate;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    directory::Directory,
    exchanger::{Character, Exchanger},
    mail::{self, Door},
    names,
};
use crate::{check, exit::Exit, gateway::Trouble};

pub(super) struct Scene {
    pub(super) tenant: Exchanger,
    pub(super) internet: Exchanger,
    pub(super) names: SocketAddr,
    pub(super) inbound: SocketAddr,
    pub(super) outbound: SocketAddr,
    pub(super) secret: String,
    pub(super) configuration: PathBuf,
    pub(super) snapshot: Arc<Snapshot>,
    /// What clients trust.
    pub(super) tls: Arc<ClientConfig>,
}

impl Scene {
    /// Starts the stand-ins and writes the configuration of the gateway between them.
    pub(super) fn set(directory: &Directory) -> Result<Self, Trouble> {
        let started = |what: &str, error: io::Error| Trouble {
            exit: Exit::Unavailable,
            text: format!("{what} of the demonstration cannot be started: {error}"),
        };
        let tenant = Exchanger::start(TENANT, &directory.path.join(TENANT_FOLDER))
            .map_err(|error| started("the tenant", error))?;
        let internet = Exchanger::start(INTERNET, &directory.path.join("internet"))
            .map_err(|error| started("the Internet", error))?;
        let names = names::start().map_err(|error| started("the DNS server", error))?;
        let [inbound, outbound] =
            free_addresses().map_err(|error| started("the gateway", error))?;
        let secret = crate::init::new_secret().map_err(|error| started("the secret", error))?;
        let options = M365 {
            hostname: format!("gateway.{}", mail::DOMAIN),
            secret_header: mail::SECRET_HEADER.to_owned(),
            // Beside the configuration, wherever both are.
            data_dir: Directory::DATA.to_owned(),
            inbound,
            outbound,
            dns_servers: vec![names],
            smarthost: Some(format!("{INTERNET_HOST}:{}", internet.address.port())),
            workers: Some(2),
            ..M365::new(mail::DOMAIN, &format!("{TENANT_HOST}:{}", tenant.address.port()), &secret)
        };
        let configuration = directory.configuration();
        let snapshot = Arc::new(configure(&options, &configuration)?);
        let tls = trust(&snapshot).map_err(|error| started("the certificate", error))?;
        Ok(Self {
            tenant,
            internet,
            names,
            inbound,
            outbound,
            secret,
            configuration,
            snapshot,
            tls,
        })
    }

    pub(super) const fn gateway(&self, door: Door) -> SocketAddr {
        match door {
            Door::FromInternet => self.inbound,
            Door::FromTenant => self.outbound,
        }
    }
}

/// Writes the configuration and loads it again, as an operator would.
fn configure(options: &M365, path: &Path) -> Result<Snapshot, Trouble> {
    let text = init::m365(options).map_err(|wrong| {
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Trouble { exit: Exit::Configuration, text: lines.join("; ") }
    })?;
    fs::write(path, text).map_err(|error| Trouble {
        exit: Exit::CannotCreate,
        text: format!("{}: {error}", path.display()),
    })?;
    check::load(path).ok_or_else(|| Trouble {
        exit: Exit::Configuration,
        text: "the configuration of the demonstration does not suit this directory".to_owned(),
    })
}

/// Trusts the certificate that the gateway will show, and nothing else.
fn trust(snapshot: &Snapshot) -> io::Result<Arc<ClientConfig>> {
    let pair = certificate::self_signed(&snapshot.data_dir.join("tls"), &snapshot.hostname)?;
    let identity = ringpost_shard::server_config(&pair.certificate, &pair.private_key)
        .map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_slice(&pair.certificate).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::clone(identity.crypto_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Two different ones that nobody listened on a moment ago.
fn free_addresses() -> io::Result<[SocketAddr; 2]> {
    let listeners = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}

pub(super) const TENANT_HOST: &str = "contoso-example.mail.protection.outlook.com";
pub(super) const INTERNET_HOST: &str = "mx.internet.example";
/// Where in its directory the tenant keeps mail.
pub(super) const TENANT_FOLDER: &str = "tenant";
const TENANT: Character =
    Character { host: TENANT_HOST, wants_tls: true, users: Some(mail::USERS) };
const INTERNET: Character = Character { host: INTERNET_HOST, wants_tls: false, users: None };
