//! The certificate and key we show to clients.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::verify::provider;

/// Why a certificate or key cannot be used.
#[derive(Debug)]
pub enum IdentityError {
    /// The certificate file holds no PEM certificate.
    NoCertificate,
    /// The key file holds no PEM private key.
    NoKey,
    /// The two do not fit together, or the key is of an unknown kind.
    Unusable(rustls::Error),
}

/// What every shard's listeners offer after STARTTLS: TLS 1.2 and 1.3 (RFC 8996, RFC 9325).
///
/// # Errors
///
/// When `chain` or `key` is not PEM, or the key does not belong to the certificate.
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, IdentityError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::NoCertificate)?;
    if chain.is_empty() {
        return Err(IdentityError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::NoKey)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(IdentityError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(IdentityError::Unusable)?;
    Ok(Arc::new(config))
}

impl fmt::Display for IdentityError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => out.write_str("no PEM certificate in it"),
            Self::NoKey => out.write_str("no PEM private key in it"),
            Self::Unusable(error) => write!(out, "certificate and key cannot be used: {error}"),
        }
    }
}

impl std::error::Error for IdentityError {}
