//! Between a plan and its directory: what a plan asks for is looked up. Not responsible for what follows from the answers.

use futures_util::future::join_all;
use mailtier_directory::Directory;
use mailtier_route::{Plan, Step, Target};
use mailtier_types::Trouble;

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
            Step::AskExchangers(domain) => plan.exchangers(directory.exchangers(&domain).await),
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
