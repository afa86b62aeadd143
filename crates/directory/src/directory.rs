//! The questions of a plan, one by one. Not responsible for their order.

use std::sync::Arc;

use mailtier_config::{ConfigError, Dnssec, OutboundConfig};
use mailtier_dns::{DnsError, Host, MxAnswer, Resolver, TrustAnchors, TrustAnchorsError};
use mailtier_route::{
    Exchanger, Exchangers, Found, HostAnswer, HostQuestion, LookupFailure, Tlsa, report_destinations,
};
use mailtier_telemetry::Meters;
use mailtier_types::Domain;

use crate::https::Https;
use crate::keeper::PolicyKeeper;
use crate::posting::ReportPoster;
use crate::sts::{Known, StsPolicies};

/// Why there is no directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A value in the configuration.
    #[error("the configuration cannot be used")]
    Configuration(#[from] ConfigError),
    /// The resolver.
    #[error("DNS cannot be set up")]
    Dns(#[from] DnsError),
}

/// The keys that validation of our own begins with; none where name servers validate.
///
/// # Errors
/// [`ConfigError`] names the key, and of a file the line.
pub fn trust_anchors(outbound: &OutboundConfig) -> Result<Option<TrustAnchors>, ConfigError> {
    let bad = |error: TrustAnchorsError| ConfigError::bad("outbound.trust_anchors", format!("cannot be used: {error}"));
    match (outbound.dnssec, &outbound.trust_anchors) {
        (Dnssec::Resolver, _) => Ok(None),
        (Dnssec::Own, None) => Ok(Some(TrustAnchors::default())),
        (Dnssec::Own, Some(path)) => TrustAnchors::from_file(path).map(Some).map_err(bad),
    }
}

/// See the crate. Cheap to clone; clones share what is known.
#[derive(Clone)]
pub struct Directory {
    resolver: Resolver,
    /// Absent where policies are not heeded.
    sts: Option<StsPolicies>,
    https: Https,
}

impl Directory {
    /// As the configuration says. Where policies of MTA-STS could not be fetched in any case, a warning says why, and none
    /// are heeded.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn new(outbound: &OutboundConfig, meters: &Arc<Meters>) -> Result<Self, DirectoryError> {
        let (servers, timeout) = (&outbound.dns_servers, outbound.dns_timeout);
        let resolver = match trust_anchors(outbound)? {
            None => Resolver::new(servers, timeout)?,
            Some(anchors) => Resolver::validating(servers, timeout, anchors)?,
        };
        let https = Https { resolver: resolver.clone(), allow_private: outbound.allow_private_addresses };
        let policies = outbound.mta_sts.then(|| {
            let roots = outbound.trusted_roots.as_deref();
            StsPolicies::new(https.clone(), outbound.mta_sts_port, roots, Arc::clone(meters))
        });
        let sts = policies.and_then(|policies| {
            let unusable =
                |reason: &String| tracing::warn!(reason, "policies of MTA-STS are not heeded: none can be fetched");
            policies.inspect_err(unusable).ok()
        });
        Ok(Self { resolver, sts, https })
    }

    /// Policies of MTA-STS are kept there beyond this process.
    #[must_use]
    pub fn keeping_policies_with(mut self, keeper: Arc<dyn PolicyKeeper>) -> Self {
        if let Some(policies) = &mut self.sts {
            policies.keep_with(keeper);
        }
        self
    }

    /// Posts reports of TLS.
    ///
    /// # Errors
    /// What is wrong with the authorities of `outbound.trusted_roots`.
    pub fn report_poster(&self, outbound: &OutboundConfig) -> Result<ReportPoster, String> {
        ReportPoster::new(self.https.clone(), outbound.trusted_roots.as_deref())
    }

    /// Where a domain wants reports of TLS (RFC 8460 §3); nothing where that cannot be learnt.
    pub async fn report_destinations(&self, domain: &Domain) -> Option<Vec<String>> {
        match self.resolver.texts(&format!("_smtp._tls.{domain}")).await {
            Ok(texts) => Some(report_destinations(&texts)),
            Err(error) if error.is_temporary() => None,
            Err(_) => Some(Vec::new()),
        }
    }

    /// The exchangers and the policy of a domain.
    pub async fn exchangers(&self, domain: &Domain) -> Found {
        let policy = async {
            match &self.sts {
                Some(policies) => policies.find(domain).await,
                None => Known::default(),
            }
        };
        let (mx, Known { policy: sts, fault: sts_fault }) = tokio::join!(self.resolver.mx(domain), policy);
        match mx {
            Ok(mx) => Found { exchangers: Ok(exchangers(mx.answer)), secure: mx.secure, sts, sts_fault },
            Err(error) => Found { exchangers: Err(failure(error)), secure: false, sts, sts_fault },
        }
    }

    /// The addresses of a host, and its TLSA records where they matter. `configured`: its name stands in the configuration.
    ///
    /// # Errors
    /// Why it has no address.
    pub async fn host(&self, host: &HostQuestion, configured: bool) -> Result<HostAnswer, LookupFailure> {
        let HostQuestion { name, tlsa_of_port } = host;
        if !configured {
            let Host { addresses, tlsa } = self.resolver.host(name, *tlsa_of_port).await.map_err(failure)?;
            return Ok(HostAnswer { addresses, tlsa: records(tlsa) });
        }
        let addresses = self.resolver.configured_addresses(name).await.map_err(failure)?;
        let tlsa = match tlsa_of_port {
            Some(_) => self.tlsa_of_configured(name, *tlsa_of_port).await,
            None => Tlsa::None,
        };
        Ok(HostAnswer { addresses, tlsa })
    }

    /// The address of such a host is the operator's word; its records are still DNS's.
    async fn tlsa_of_configured(&self, name: &Domain, port: Option<u16>) -> Tlsa {
        match self.resolver.host(name, port).await {
            Ok(host) => records(host.tlsa),
            Err(error) if error.is_temporary() => Tlsa::Unknown(error.to_string()),
            Err(_) => Tlsa::None,
        }
    }
}

fn records(tlsa: mailtier_dns::Tlsa) -> Tlsa {
    match tlsa {
        mailtier_dns::Tlsa::None => Tlsa::None,
        mailtier_dns::Tlsa::Records { base, usable } => Tlsa::Records { base, usable },
        mailtier_dns::Tlsa::Unknown(error) => Tlsa::Unknown(error.to_string()),
    }
}

fn exchangers(answer: MxAnswer) -> Exchangers {
    match answer {
        MxAnswer::Records(records) => Exchangers::Records(
            records.into_iter().map(|record| Exchanger { preference: record.preference, host: record.host }).collect(),
        ),
        MxAnswer::Null => Exchangers::Null,
        MxAnswer::Unusable => Exchangers::Unusable,
        MxAnswer::Implicit => Exchangers::Implicit,
    }
}

fn failure(error: DnsError) -> LookupFailure {
    LookupFailure { temporary: error.is_temporary(), text: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_trust_anchors_are_named_with_key_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let mut outbound = OutboundConfig { trust_anchors: Some(path.clone()), ..OutboundConfig::default() };
        assert!(trust_anchors(&outbound).unwrap().is_none(), "the name servers' own count");
        outbound.dnssec = Dnssec::Own;
        let told = |outbound: &OutboundConfig| trust_anchors(outbound).err().unwrap().to_string();
        let missing = told(&outbound);
        let expected = format!("`outbound.trust_anchors` cannot be used: {}: No such file", path.display());
        assert!(missing.starts_with(&expected), "{missing}");
        std::fs::write(&path, "; the root\nroot 20326\n").unwrap();
        let expected =
            format!("`outbound.trust_anchors` cannot be used: {}, line 2: expected a record", path.display());
        assert!(told(&outbound).starts_with(&expected), "{}", told(&outbound));
        outbound.trust_anchors = None;
        assert!(trust_anchors(&outbound).unwrap().is_some(), "the root's own");
    }
}
