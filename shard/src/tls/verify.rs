//! What the certificate of a next hop must prove, and what it did prove.
//!
//! Opportunistic TLS takes any certificate: encryption to a stranger beats clear text (RFC 7435).
//! What was seen is recorded all the same, so that logs can say "verified" and mean it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// The authorities a verified connection trusts.
pub(crate) type Roots = Arc<RootCertStore>;

/// Whether the certificate was issued by an authority for one of the names that count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof(Arc<AtomicBool>);

impl Proof {
    pub(crate) fn holds(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the delivery connections of a shard have in common.
pub(crate) struct Clients {
    /// For next hops that need to prove nothing. Their sessions are resumed.
    opportunistic: Arc<ClientConfig>,
    /// For the others; each connection brings a verifier of its own. No session is resumed: a
    /// resumed one shows no certificate, and would be called verified because of another
    /// connection, perhaps one that asked for other names.
    verifying: ClientConfig,
    /// None if no authority is trusted.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    /// For connections that trust `roots`.
    pub(crate) fn new(roots: &Roots) -> Self {
        let provider = provider();
        let authorities = (!roots.is_empty()).then(|| {
            WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider.clone())
                .build()
                .expect("there are authorities, and no revocation lists to be misread")
        });
        let taker = NextHop {
            authorities: None,
            names: Vec::new(),
            must_verify: false,
            proof: Proof::default(),
            provider: provider.clone(),
        };
        let mut opportunistic = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider can do TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(taker))
            .with_no_client_auth();
        opportunistic.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let mut verifying = opportunistic.clone();
        verifying.resumption = Resumption::disabled();
        Self { opportunistic: Arc::new(opportunistic), verifying, authorities, provider }
    }

    /// The configuration of one connection: `names` are those that prove the next hop (its host
    /// name, the destination domain). With `must_verify` an unproven certificate fails the
    /// handshake; without, it is only noted in the [`Proof`], which is of this connection alone.
    pub(crate) fn config(
        &self,
        names: Vec<ServerName<'static>>,
        must_verify: bool,
    ) -> (Arc<ClientConfig>, Proof) {
        let proof = Proof::default();
        if names.is_empty() && !must_verify {
            return (Arc::clone(&self.opportunistic), proof);
        }
        let verifier = NextHop {
            authorities: self.authorities.clone(),
            names,
            must_verify,
            proof: proof.clone(),
            provider: Arc::clone(&self.provider),
        };
        // A handful of reference counts; what is costly to make is shared.
        let mut config = self.verifying.clone();
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        (Arc::new(config), proof)
    }
}

/// The one place that names the TLS provider (decision 7; feature `ring` for small builds).
pub(super) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(all(feature = "ring", not(feature = "aws-lc")))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

#[derive(Debug)]
struct NextHop {
    authorities: Option<Arc<WebPkiServerVerifier>>,
    names: Vec<ServerName<'static>>,
    must_verify: bool,
    proof: Proof,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NextHop {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut refusal = Error::General("no certificate authorities are configured".into());
        if let Some(authorities) = &self.authorities {
            for name in &self.names {
                match authorities.verify_server_cert(
                    end_entity,
                    intermediates,
                    name,
                    ocsp_response,
                    now,
                ) {
                    Ok(verified) => {
                        self.proof.0.store(true, Ordering::Relaxed);
                        return Ok(verified);
                    }
                    Err(error) => refusal = error,
                }
            }
        }
        if self.must_verify { Err(refusal) } else { Ok(ServerCertVerified::assertion()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Sessions with next hops that a shard remembers; beyond it the oldest is forgotten.
const SESSIONS_MAX: usize = 1_024;
