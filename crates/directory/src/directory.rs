//! The questions of a plan, one by one. Not responsible for their order.

use std::sync::Arc;

use mailtier_config::OutboundConfig;
use mailtier_dns::{DnsError, Host, MxAnswer, Resolver};
use mailtier_route::{
    Exchanger, Exchangers, Found, HostAnswer, HostQuestion, LookupFailure, Tlsa, report_destinations,
};
use mailtier_telemetry::Meters;
use mailtier_types::Domain;

use crate::https::Https;
use crate::keeper::PolicyKeeper;
use crate::posting::ReportPoster;
use crate::sts::{Known, StsPolicies};

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
    /// [`DnsError::Configuration`] when the resolver cannot be set up.
    pub fn new(outbound: &OutboundConfig, meters: &Arc<Meters>) -> Result<Self, DnsError> {
        let resolver = Resolver::new(&outbound.dns_servers, outbound.dns_timeout)?;
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
