//! What a plan asks, asked of name servers, and everything that it comes to. Not responsible for what is planned.

use std::sync::Arc;

use futures_util::future::join_all;
use mailtier_directory::Directory;
use mailtier_route::{Exchanger, Exchangers, HostAnswer, Omission, Plan, Step, StsPolicy, Target};
use mailtier_types::Trouble;

/// What name servers said of a host.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) answer: Result<HostAnswer, String>,
}

/// Everything that an attempt would try if nothing answered.
#[derive(Default)]
pub(super) struct Found {
    pub(super) exchangers: Vec<Exchanger>,
    /// DNSSEC vouches for them.
    pub(super) secure: bool,
    pub(super) sts: Option<Arc<StsPolicy>>,
    /// Why the policy that the domain has is not known.
    pub(super) sts_fault: Option<String>,
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
pub(super) async fn follow(mut plan: Plan, directory: &Directory) -> Found {
    let mut found = Found::default();
    loop {
        match plan.poll() {
            Step::AskExchangers(domain) => {
                let answer = directory.exchangers(&domain).await;
                if let Ok(Exchangers::Records(records)) = &answer.exchangers {
                    found.exchangers.clone_from(records);
                    found.exchangers.sort_by_key(|record| record.preference);
                    found.secure = answer.secure;
                }
                found.sts.clone_from(&answer.sts);
                let fault = answer.sts_fault.as_ref();
                found.sts_fault = fault.map(|(fault, reason)| format!("{}: {reason}", fault.word()));
                plan.exchangers(answer);
            }
            Step::AskAddresses { hosts, configured } => {
                let answers = join_all(hosts.iter().map(|host| directory.host(host, configured))).await;
                found.hosts.extend(hosts.iter().zip(&answers).map(|(host, answer)| Host {
                    name: host.name.to_string(),
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
        names.add_text("_mta-sts.own.example", "v=STSv1; id=1").unwrap();
        names
    }
}
