//! What a plan asks, asked of name servers, and everything that it comes to. Not responsible for what is planned.

use std::net::IpAddr;

use futures_util::future::join_all;
use mailtier_dns::{DnsError, MxAnswer, Resolver};
use mailtier_route::{Exchanger, Exchangers, LookupFailure, Omission, Plan, Step, Target};
use mailtier_types::{Domain, Trouble};

/// What name servers said of a host.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) answer: Result<Vec<IpAddr>, String>,
}

/// Everything that an attempt would try if nothing answered.
#[derive(Default)]
pub(super) struct Found {
    pub(super) exchangers: Vec<Exchanger>,
    pub(super) hosts: Vec<Host>,
    pub(super) targets: Vec<Target>,
    pub(super) omitted: Vec<Omission>,
    /// Why nothing is tried, or more could not be.
    pub(super) trouble: Option<Trouble>,
}

impl Found {
    /// The one that would be tried first.
    pub(super) fn exchanger(&self) -> Option<&str> {
        self.targets.first().map(|target| target.host.as_str())
    }
}

/// Follows a plan to its end.
pub(super) async fn follow(mut plan: Plan, resolver: &Resolver) -> Found {
    let mut found = Found::default();
    loop {
        match plan.poll() {
            Step::AskExchangers(domain) => {
                let answer = resolver.mx(&domain).await.map(exchangers).map_err(failure);
                if let Ok(Exchangers::Records(records)) = &answer {
                    found.exchangers.clone_from(records);
                    found.exchangers.sort_by_key(|record| record.preference);
                }
                plan.exchangers(answer);
            }
            Step::AskAddresses { hosts, configured } => {
                let answers = join_all(hosts.iter().map(|host| addresses(resolver, host, configured))).await;
                found.hosts.extend(hosts.iter().zip(&answers).map(|(host, answer)| Host {
                    name: host.to_string(),
                    answer: answer.clone().map_err(|failure| failure.text),
                }));
                plan.addresses(answers);
            }
            Step::Try(target) => found.targets.push(target),
            Step::Exhausted(trouble) => {
                found.trouble = trouble;
                found.omitted = plan.omitted().to_vec();
                return found;
            }
        }
    }
}

async fn addresses(resolver: &Resolver, host: &Domain, configured: bool) -> Result<Vec<IpAddr>, LookupFailure> {
    let answer = if configured { resolver.configured_addresses(host).await } else { resolver.addresses(host).await };
    answer.map_err(failure)
}

fn exchangers(answer: MxAnswer) -> Exchangers {
    let record = |one: mailtier_dns::MxRecord| Exchanger { preference: one.preference, host: one.host };
    match answer {
        MxAnswer::Records(records) => Exchangers::Records(records.into_iter().map(record).collect()),
        MxAnswer::Null => Exchangers::Null,
        MxAnswer::Unusable => Exchangers::Unusable,
        MxAnswer::Implicit => Exchangers::Implicit,
    }
}

fn failure(error: DnsError) -> LookupFailure {
    LookupFailure { temporary: error.is_temporary(), text: error.to_string() }
}

#[cfg(test)]
pub(super) mod tests {
    use mailtier_testkit::name_server::NameServer;

    /// With the domains of this module's tests.
    pub(crate) async fn name_server() -> NameServer {
        let names = NameServer::start().await.unwrap();
        for (name, preference, host) in
            [("d.example", 10, "one.mx.example"), ("d.example", 20, "out.example"), ("null.example", 0, ".")]
        {
            names.add_mx(name, preference, host).unwrap();
        }
        for (name, address) in
            [("one.mx.example", "192.0.2.1"), ("one.mx.example", "10.0.0.1"), ("own.example", "192.0.2.3")]
        {
            names.add_address(name, address.parse().unwrap()).unwrap();
        }
        names
    }
}
