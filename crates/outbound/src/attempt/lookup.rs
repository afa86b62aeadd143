//! Between a plan and DNS: what a plan asks for is looked up. Not responsible for what follows from the answers.

use futures_util::future::join_all;
use mailtier_dns::{DnsError, Host, MxAnswer, Resolver};
use mailtier_route::{Exchanger, Exchangers, Found, HostAnswer, HostQuestion, LookupFailure, Plan, Step, Target, Tlsa};
use mailtier_types::{Domain, Trouble};

use crate::sts::StsPolicies;

/// Who answers a plan's questions.
#[derive(Clone)]
pub(crate) struct Directory {
    pub(crate) resolver: Resolver,
    /// Absent where policies are not heeded.
    pub(crate) sts: Option<StsPolicies>,
}

/// What a plan comes to.
pub(crate) enum Next {
    /// Try this.
    Try(Target),
    /// Nothing is left, and perhaps why.
    Exhausted(Option<Trouble>),
}

/// Drives a plan until it names a target or ends.
pub(crate) async fn next(plan: &mut Plan, directory: &Directory) -> Next {
    loop {
        match plan.poll() {
            Step::AskExchangers(domain) => plan.exchangers(directory.find(&domain).await),
            Step::AskAddresses { hosts, configured } => {
                // All at once; answers in the hosts' order.
                let answers = hosts.iter().map(|host| directory.host(host, configured));
                plan.addresses(join_all(answers).await);
            }
            Step::Try(target) => return Next::Try(target),
            Step::Exhausted(trouble) => return Next::Exhausted(trouble),
        }
    }
}

impl Directory {
    async fn find(&self, domain: &Domain) -> Found {
        let policy = async {
            match &self.sts {
                Some(policies) => policies.find(domain).await,
                None => None,
            }
        };
        let (mx, sts) = tokio::join!(self.resolver.mx(domain), policy);
        match mx {
            Ok(mx) => Found { exchangers: Ok(exchangers(mx.answer)), secure: mx.secure, sts },
            Err(error) => Found { exchangers: Err(failure(error)), secure: false, sts },
        }
    }

    async fn host(&self, host: &HostQuestion, configured: bool) -> Result<HostAnswer, LookupFailure> {
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
