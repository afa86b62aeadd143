//! Who a certificate of an installation is for: the roles it names. Not responsible for believing it.

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// What a URI that names a role begins with (SPIFFE-ID, section 2).
const SCHEME: &str = "spiffe://";
/// Of a name in messages; a certificate's may have any length.
const MOST_SHOWN: usize = 200;

/// A program of an installation, as certificates name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// mailtier-inbound: submits messages, and asks about users and recipients.
    Inbound,
    /// mailtier-queue: answers all, and speaks with its replicas.
    Queue,
    /// mailtier-outbound: takes work.
    Outbound,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inbound, Self::Queue, Self::Outbound];

    /// As a certificate has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Queue => "queue",
            Self::Outbound => "outbound",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The roles of a certificate, and how it names its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    tiers: Vec<Tier>,
    name: String,
}

impl Identity {
    /// What a certificate says: a role for each URI among its alternative names whose last segment is one.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return Self { tiers: Vec::new(), name: "unreadable".to_owned() };
        };
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let uris = names.filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<&str> = uris.collect();
        let tiers =
            Tier::ALL.into_iter().filter(|tier| uris.iter().any(|uri| role(uri) == Some(tier.word()))).collect();
        let name = if uris.is_empty() { parsed.subject().to_string() } else { uris.join(", ") };
        Self { tiers, name: name.escape_debug().take(MOST_SHOWN).collect() }
    }

    /// Whether its holder is of a tier.
    #[must_use]
    pub fn is(&self, tier: Tier) -> bool {
        self.tiers.contains(&tier)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tiers.as_slice() {
            [] => f.write_str("no role")?,
            [one] => write!(f, "the role {one}")?,
            [first, rest @ ..] => {
                write!(f, "the roles {first}")?;
                rest.iter().try_for_each(|tier| write!(f, ", {tier}"))?;
            }
        }
        write!(f, " ({})", self.name)
    }
}

/// The last segment of the path after a trust domain.
fn role(uri: &str) -> Option<&str> {
    let (domain, path) = uri.strip_prefix(SCHEME)?.split_once('/')?;
    path.rsplit('/').next().filter(|_| !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_last_segment_of_a_path() {
        assert_eq!(role("spiffe://mailtier/inbound"), Some("inbound"));
        assert_eq!(role("spiffe://corp.example/ns/mail/sa/queue"), Some("queue"));
        for other in ["spiffe://queue", "spiffe:///queue", "https://mailtier/queue", "queue", "SPIFFE://mailtier/queue"]
        {
            assert_eq!(role(other), None, "{other}");
        }
        assert_eq!(role("spiffe://mailtier/queue/"), Some(""), "which is no role");
    }

    #[test]
    fn a_name_is_shown_on_one_line_and_not_for_ever() {
        let mut params = rcgen::CertificateParams::default();
        let long = format!("spiffe://mailtier/{}", "x".repeat(1000));
        params.subject_alt_names = vec![rcgen::SanType::URI(long.try_into().unwrap())];
        let shown = |params: &rcgen::CertificateParams| {
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            Identity::of(made.der())
        };
        assert!(shown(&params).to_string().len() < 250);
        params.subject_alt_names.clear();
        params.distinguished_name.push(rcgen::DnType::CommonName, "two\nlines");
        let none = shown(&params);
        assert_eq!(none.to_string().lines().count(), 1, "{none}");
        assert!(none.to_string().starts_with("no role (CN="), "{none}");
        assert!(Tier::ALL.iter().all(|tier| !none.is(*tier)));
    }
}
