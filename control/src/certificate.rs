//! Certificates that are not the operator's: a self-signed one to begin with, and the authorities
//! the system trusts.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustls_pki_types::CertificateDer;

/// A certificate and its key, as PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub private_key: Vec<u8>,
}

/// The self-signed certificate in `folder`, made for `hostname` if there is none yet.
///
/// It encrypts; it proves nothing. It is kept so that peers who pin it see the same one after a
/// restart.
///
/// # Errors
///
/// When it cannot be made, read or written, or when one of the two files is there without the
/// other: making a new pair would destroy what an operator may still need.
pub fn self_signed(folder: &Path, hostname: &str) -> io::Result<Pair> {
    let (certificate_path, key_path) = (folder.join(CERTIFICATE), folder.join(PRIVATE_KEY));
    match (certificate_path.try_exists()?, key_path.try_exists()?) {
        (true, true) => {
            let (certificate, private_key) = (fs::read(certificate_path)?, fs::read(key_path)?);
            Ok(Pair { certificate, private_key })
        }
        (true, false) => Err(half_a_pair(CERTIFICATE, PRIVATE_KEY)),
        (false, true) => Err(half_a_pair(PRIVATE_KEY, CERTIFICATE)),
        (false, false) => make(folder, hostname),
    }
}

/// The authorities the system trusts; none if it keeps no list. Deliveries that must verify their
/// next hop fail then, and say why.
#[must_use]
pub fn authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

fn make(folder: &Path, hostname: &str) -> io::Result<Pair> {
    fs::create_dir_all(folder)?;
    let made =
        rcgen::generate_simple_self_signed([hostname.to_owned()]).map_err(io::Error::other)?;
    let certificate = made.cert.pem().into_bytes();
    let private_key = made.signing_key.serialize_pem().into_bytes();
    // A certificate that is there says that its key is there too.
    put(folder, PRIVATE_KEY, &private_key, 0o600)?;
    put(folder, CERTIFICATE, &certificate, 0o644)?;
    Ok(Pair { certificate, private_key })
}

/// Makes a file appear under its name, whole and durable, or not at all.
fn put(folder: &Path, name: &str, octets: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // New, for a file that is there already would keep its mode.
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}

fn half_a_pair(present: &str, missing: &str) -> io::Error {
    io::Error::other(format!(
        "{present} is there, but {missing} is not: put {missing} back, or remove {present} to have \
         a new self-signed pair made"
    ))
}

const CERTIFICATE: &str = "certificate.pem";
const PRIVATE_KEY: &str = "key.pem";

#[cfg(test)]
mod tests {
    use std::{env, os::unix::fs::PermissionsExt, process};

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_half_of_one_is_left_alone() {
        let folder = env::temp_dir().join(format!("ringpost-certificate-{}", process::id()));
        let made = self_signed(&folder, "mx.example").expect("made");
        let mode = fs::metadata(folder.join(PRIVATE_KEY)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 2, "nothing unfinished is left");
        let kept = self_signed(&folder, "other.example").expect("read");
        assert_eq!(made.certificate, kept.certificate);
        assert_eq!(made.private_key, kept.private_key);
        fs::remove_file(folder.join(CERTIFICATE)).expect("removed");
        let refused = self_signed(&folder, "mx.example").err().expect("half a pair").to_string();
        assert!(refused.contains("remove key.pem"), "{refused}");
        assert_eq!(fs::read(folder.join(PRIVATE_KEY)).expect("there"), made.private_key);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
