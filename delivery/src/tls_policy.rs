//! What TLS must do for one hop, and whether what it did is enough.
//!
//! AsyncOS documents that the certificate's subjectAltName is compared with the destination domain
//! only. No certificate of a hosted service names its tenants, so the host's own name counts too.

use alloc::{sync::Arc, vec::Vec};

use ringpost_core::event::{Failure, Status};

use crate::{destination::Tls, route::Hop};

/// What the client must do, and for which of these names the certificate is good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Demand {
    /// Whether STARTTLS is used.
    pub encryption: Encryption,
    /// Whether the certificate is verified at all.
    pub verify: bool,
    /// Names of which the certificate must hold at least one, best first: the host's (an address
    /// if the hop has no name), then the destination domain. Empty when nothing is verified.
    pub names: Vec<Arc<str>>,
}

/// How much STARTTLS is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// Never.
    None,
    /// If offered. A refusal before the 220 reply to STARTTLS leaves the connection in clear;
    /// trouble after it ends the connection.
    Preferred,
    /// No transaction without it.
    Required,
}

/// What the connection has become.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// No TLS.
    Clear,
    /// TLS with a certificate that was not looked at, or proved none of the names.
    Encrypted,
    /// TLS with a certificate that leads to a trusted authority and holds one of the names.
    Verified,
}

/// What a destination's TLS setting demands of a connection to this hop.
#[must_use]
pub fn demand(tls: Tls, hop: &Hop, domain: &Arc<str>) -> Demand {
    let encryption = match tls {
        Tls::None => Encryption::None,
        Tls::Preferred | Tls::PreferredVerify => Encryption::Preferred,
        Tls::Required | Tls::RequiredVerify => Encryption::Required,
    };
    let verify = matches!(tls, Tls::PreferredVerify | Tls::RequiredVerify);
    let mut names = Vec::new();
    if verify {
        names.push(hop.name.clone());
        if hop.name != *domain {
            names.push(domain.clone());
        }
    }
    Demand { encryption, verify, names }
}

/// Whether mail may go over a connection that is protected so far.
///
/// # Errors
///
/// The failure of every recipient that would have gone: transient, so that they are tried until
/// the bounce profile's limits (the peer may repair its certificate).
pub fn judge(tls: Tls, protection: Protection, remote: &Arc<str>) -> Result<(), Failure> {
    let (detail, diagnostic) = match (tls, protection) {
        (Tls::Required | Tls::RequiredVerify, Protection::Clear) => {
            (10, "TLS is required and was not available")
        }
        (Tls::RequiredVerify, Protection::Encrypted) => {
            (5, "TLS is required and the certificate was not verified")
        }
        _ => return Ok(()),
    };
    Err(Failure {
        status: Status::new(4, 7, detail),
        reply: None,
        diagnostic: diagnostic.into(),
        remote: remote.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(name: &str) -> Hop {
        let address = "192.0.2.1:25".parse().unwrap();
        Hop { name: name.into(), address, routed: true }
    }

    #[test]
    fn only_verifying_settings_name_names() {
        let domain = Arc::from("contoso.example");
        for (tls, encryption, verify) in [
            (Tls::None, Encryption::None, false),
            (Tls::Preferred, Encryption::Preferred, false),
            (Tls::Required, Encryption::Required, false),
            (Tls::PreferredVerify, Encryption::Preferred, true),
            (Tls::RequiredVerify, Encryption::Required, true),
        ] {
            let demand = demand(tls, &hop("mx.example"), &domain);
            assert_eq!((demand.encryption, demand.verify), (encryption, verify));
            assert_eq!(demand.names.is_empty(), !verify);
        }
    }

    #[test]
    fn the_host_and_the_domain_may_both_prove_it() {
        let domain: Arc<str> = "contoso.example".into();
        let names = demand(Tls::RequiredVerify, &hop("mx.example"), &domain).names;
        assert_eq!(names, ["mx.example".into(), domain.clone()]);
        let names = demand(Tls::RequiredVerify, &hop("contoso.example"), &domain).names;
        assert_eq!(names, [domain]);
    }

    #[test]
    fn mail_goes_exactly_where_the_setting_lets_it() {
        use Protection::{Clear, Encrypted, Verified};
        let remote = Arc::from("mx.example");
        for (tls, allowed) in [
            (Tls::None, [true, true, true]),
            (Tls::Preferred, [true, true, true]),
            (Tls::PreferredVerify, [true, true, true]),
            (Tls::Required, [false, true, true]),
            (Tls::RequiredVerify, [false, false, true]),
        ] {
            let judged = [Clear, Encrypted, Verified].map(|state| judge(tls, state, &remote));
            assert_eq!(judged.each_ref().map(Result::is_ok), allowed, "{tls:?}");
            for failure in judged.into_iter().filter_map(Result::err) {
                assert!(failure.status.is_transient() && failure.remote == remote);
            }
        }
    }
}
