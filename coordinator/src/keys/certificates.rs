//! A certificate authority of one's own, and what it signs: servers for their names, roles for
//! their clients. Keys are ECDSA P-256.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// How long all of them are good. Nobody renews them: who wants shorter ones has an authority.
const GOOD_FOR: Duration = Duration::days(3650);

/// Clocks of machines differ: they are good from so long before now.
const EARLIER: Duration = Duration::days(1);

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// To clients.
    Server,
    /// To servers.
    Client,
    /// To both: a leaf is a server to its workers and a client to the hub.
    Both,
}

/// A certificate and its key, as PEM.
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) certificate: String,
    /// Its key, a secret.
    pub(crate) key: String,
}

/// An authority that signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub(crate) fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        named(&mut params, "A3S authority");
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// Its certificate, which everybody trusts, and its key, which signs more.
    pub(crate) fn own(&self) -> Certificate {
        Certificate {
            certificate: self.0.pem(),
            key: self.0.key().serialize_pem(),
        }
    }

    /// A certificate of this name, for servers that are reached as `hosts`.
    ///
    /// # Errors
    /// When a host is neither an address nor a name.
    pub(crate) fn sign(
        &self,
        name: &str,
        hosts: &[String],
        r#use: Use,
    ) -> Result<Certificate, Error> {
        let hosts = match r#use {
            Use::Client => Vec::new(),
            Use::Server | Use::Both => hosts.to_vec(),
        };
        let mut params = CertificateParams::new(hosts)?;
        named(&mut params, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match r#use {
            Use::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Use::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Use::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Certificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn named(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - EARLIER;
    params.not_after = now + GOOD_FOR;
}
