//! Between a plan and DNS: what a plan asks for is looked up. Not responsible for what follows from the answers.

use std::net::IpAddr;

use futures_util::future::join_all;
use mailtier_dns::{DnsError, MxAnswer, Resolver};
use mailtier_route::{Exchanger, Exchangers, LookupFailure, Plan, Step, Target};
use mailtier_types::{Domain, Trouble};

/// What a plan comes to.
pub(crate) enum Next {
    /// Try this.
    Try(Target),
    /// Nothing is left, and perhaps why.
    Exhausted(Option<Trouble>),
}

/// Drives a plan until it names a target or ends.
pub(crate) async fn next(plan: &mut Plan, resolver: &Resolver) -> Next {
    loop {
        match plan.poll() {
            Step::AskExchangers(domain) => {
                let answer = resolver.mx(&domain).await;
                plan.exchangers(answer.map(exchangers).map_err(failure));
            }
            Step::AskAddresses { hosts, configured } => {
                let answers = addresses(resolver, hosts, configured).await;
                plan.addresses(answers);
            }
            Step::Try(target) => return Next::Try(target),
            Step::Exhausted(trouble) => return Next::Exhausted(trouble),
        }
    }
}

/// All hosts at once; answers in the hosts' order.
async fn addresses(
    resolver: &Resolver,
    hosts: Vec<Domain>,
    configured: bool,
) -> Vec<Result<Vec<IpAddr>, LookupFailure>> {
    join_all(hosts.iter().map(|host| one_host(resolver, host, configured))).await
}

async fn one_host(resolver: &Resolver, host: &Domain, configured: bool) -> Result<Vec<IpAddr>, LookupFailure> {
    let answer = if configured { resolver.configured_addresses(host).await } else { resolver.addresses(host).await };
    answer.map_err(failure)
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
