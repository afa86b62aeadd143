//! The plan of one attempt: which hosts and addresses are tried, in which order, and why there is none.
//!
//! A plan is driven: [`Plan::poll`] says what is needed next. Hosts are looked up one preference at a time, so that an
//! attempt whose best host answers asks for no other. Not responsible for looking up or connecting.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use mailtier_types::{Domain, Place, RouteHost, TlsFault, Trouble, TroubleKind};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::address::{Families, in_order, may_be_mailed_to};
use crate::demand::{Demands, SendersWish, TlsDemand, Tlsa};
use crate::omission::{Omission, Reason};
use crate::reporting::{HeldAgainst, Withheld};
use crate::sts::StsPolicy;
use crate::way::{Protocol, Route, TlsPolicy, Way};

/// Hosts of one attempt that are looked up.
pub const MAX_HOSTS: usize = 16;
/// Addresses of one attempt that are tried: with the time a connection may take, this bounds an attempt.
pub const MAX_TARGETS: usize = 8;
/// A host gets so many of them whatever the others get (RFC 5321 §5.1: at least two), one of each family.
const LEAST_SHARE: usize = 2;

/// What is the same for all plans of a worker.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The names under which this system takes mail: a mail exchanger of one of them is this system.
    pub own_names: Vec<Domain>,
    /// The same, by address.
    pub own_addresses: Vec<IpAddr>,
    /// Which are used.
    pub families: Families,
    /// Whether DNS and address literals may name private and loopback addresses.
    pub allow_private: bool,
    /// Where no route names another.
    pub port: u16,
    /// Where no route names another.
    pub tls: TlsPolicy,
    /// Whether TLSA records of hosts that DNSSEC vouches for are heeded.
    pub dane: bool,
}

/// A mail exchanger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanger {
    /// Lower is tried earlier.
    pub preference: u16,
    /// Its name.
    pub host: Domain,
}

/// What the MX lookup of a domain gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchangers {
    /// In any order.
    Records(Vec<Exchanger>),
    /// The domain takes no mail (RFC 7505).
    Null,
    /// There are records, and none names a host.
    Unusable,
    /// No record: the domain is its own exchanger.
    Implicit,
}

/// What was found for a domain.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its exchangers.
    pub exchangers: Result<Exchangers, LookupFailure>,
    /// DNSSEC vouches for them.
    pub secure: bool,
    /// Its MTA-STS policy.
    pub sts: Option<Arc<StsPolicy>>,
    /// There is one, and it is not known: what is wrong with it, in the words of reports (RFC 8460 §4.3.2.2), and why.
    pub sts_fault: Option<(TlsFault, String)>,
}

/// A host to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostQuestion {
    /// Its name.
    pub name: Domain,
    /// The port whose TLSA records matter; absent where none do.
    pub tlsa_of_port: Option<u16>,
}

/// What was found for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its TLSA records, where they were asked for.
    pub tlsa: Tlsa,
}

/// A lookup gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupFailure {
    /// Whether asking again can help.
    pub temporary: bool,
    /// For people.
    pub text: String,
}

/// One address of one host, to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// As the MX record, the route or the literal names it.
    pub host: String,
    /// Where.
    pub address: IpAddr,
    /// Where.
    pub port: u16,
    /// How.
    pub tls: TlsDemand,
    /// What the session is held against, where somebody wants to know.
    pub against: Option<Arc<HeldAgainst>>,
}

/// What a plan needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The mail exchangers and the MTA-STS policy of this domain; answered with [`Plan::exchangers`].
    AskExchangers(Domain),
    /// What is known of these hosts, in this order; answered with [`Plan::addresses`].
    AskAddresses {
        /// At most [`MAX_HOSTS`] over the whole plan.
        hosts: Vec<HostQuestion>,
        /// The names stand in the configuration, not in DNS.
        configured: bool,
    },
    /// Try this; poll again when it did not do.
    Try(Target),
    /// Nothing more to try. The trouble is why something was never tried, when that matters: always when nothing was
    /// tried at all, and else when it may pass.
    Exhausted(Option<Trouble>),
}

/// A host whose addresses are not known yet.
#[derive(Clone, Debug)]
struct Candidate {
    place: Place,
    port: u16,
}

/// What was asked and not answered yet.
#[derive(Debug)]
enum Asked {
    Nothing,
    Exchangers,
    Addresses(Vec<Candidate>),
}

/// The plan of one attempt.
#[derive(Debug)]
pub struct Plan {
    policy: Arc<Policy>,
    domain: Domain,
    demands: Demands,
    /// Hosts come from the configuration: they are trusted, and failing to find one is no one's final word.
    configured: bool,
    asked: Asked,
    /// Hosts not looked up yet, a group for each preference.
    groups: VecDeque<Vec<Candidate>>,
    /// Targets not tried yet.
    ready: VecDeque<Target>,
    /// Those beyond a host's share: they come when no other host is left.
    spare: VecDeque<Target>,
    hosts_left: usize,
    targets_left: usize,
    /// Why something cannot be tried.
    trouble: Option<Trouble>,
    rng: SmallRng,
    /// What is left out, where somebody wants to know.
    omitted: Option<Vec<Omission>>,
    /// With whom there is no session for what is wrong before, where somebody wants to know.
    withheld: Option<Vec<Withheld>>,
}

impl Plan {
    /// For a recipient's domain with the route found for it, which goes by exchangers or to hosts. `seed` decides the order
    /// among hosts of equal preference (RFC 5321 §5.1: it must be random).
    #[must_use]
    pub fn new(policy: Arc<Policy>, domain: Domain, route: Option<&Route>, wish: SendersWish, seed: u64) -> Self {
        let tls = route.and_then(|route| route.tls).unwrap_or(policy.tls);
        let mut plan = Self {
            policy,
            domain,
            demands: Demands {
                policy: tls,
                require_tls: wish == SendersWish::RequireTls,
                tls_optional: wish == SendersWish::TlsOptional,
                sts: None,
                sts_fault: None,
                names_are_certain: false,
            },
            configured: false,
            asked: Asked::Nothing,
            groups: VecDeque::new(),
            ready: VecDeque::new(),
            spare: VecDeque::new(),
            hosts_left: MAX_HOSTS,
            targets_left: MAX_TARGETS,
            trouble: None,
            rng: SmallRng::seed_from_u64(seed),
            omitted: None,
            withheld: None,
        };
        match route.map(|route| &route.way) {
            Some(Way::Hosts { ranks, protocol }) => plan.follow_route(ranks, *protocol),
            Some(Way::Exchangers { of: Some(other) }) => {
                plan.domain = other.clone();
                plan.follow_domain();
            }
            _ => plan.follow_domain(),
        }
        plan
    }

    /// Keeps account of what is left out.
    #[must_use]
    pub fn explained(mut self) -> Self {
        self.omitted = Some(Vec::new());
        self
    }

    /// Whose exchangers are tried, unless a route names hosts.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Says what sessions are held against, for reports of TLS (RFC 8460). There is nothing to report of hosts of the
    /// configuration and of address literals, nor where encryption is not tried, or the sender does without.
    #[must_use]
    pub fn reported(mut self) -> Self {
        let is_off = self.demands.policy == TlsPolicy::Off && !self.demands.require_tls;
        let is_theirs = !self.configured && self.domain.literal().is_none();
        self.withheld = (is_theirs && !is_off && !self.demands.tls_optional).then(Vec::new);
        self
    }

    /// With whom there was no session for what was wrong before; told once.
    pub fn take_withheld(&mut self) -> Vec<Withheld> {
        self.withheld.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What was left out so far, where that is kept account of.
    #[must_use]
    pub fn omitted(&self) -> &[Omission] {
        self.omitted.as_deref().unwrap_or_default()
    }

    fn omit(&mut self, host: &dyn fmt::Display, address: Option<IpAddr>, reason: Reason) {
        if let Some(omitted) = &mut self.omitted {
            omitted.push(Omission { host: host.to_string(), address, reason });
        }
    }

    /// What is needed next.
    pub fn poll(&mut self) -> Step {
        match &self.asked {
            Asked::Exchangers => return Step::AskExchangers(self.domain.clone()),
            Asked::Addresses(group) => return self.question(group),
            Asked::Nothing => {}
        }
        loop {
            if self.targets_left == 0 {
                self.omit_the_rest();
                return Step::Exhausted(None);
            }
            if let Some(target) = self.ready.pop_front() {
                self.targets_left -= 1;
                return Step::Try(target);
            }
            let Some(group) = self.next_group() else {
                if self.spare.is_empty() {
                    return Step::Exhausted(self.last_word());
                }
                self.ready.append(&mut self.spare);
                continue;
            };
            if group.iter().any(|candidate| matches!(candidate.place, Place::Name(_))) {
                let question = self.question(&group);
                self.asked = Asked::Addresses(group);
                return question;
            }
            self.prepare(&group, &[]);
        }
    }

    /// The hosts that are looked up next, as many as may be.
    fn next_group(&mut self) -> Option<Vec<Candidate>> {
        let mut group = self.groups.pop_front()?;
        for candidate in group.iter().skip(self.hosts_left) {
            self.omit(&candidate.place, None, Reason::TooMany);
        }
        group.truncate(self.hosts_left);
        self.hosts_left -= group.len();
        Some(group)
    }

    /// What would come if more were tried.
    fn omit_the_rest(&mut self) {
        let targets = std::mem::take(&mut self.ready).into_iter().chain(std::mem::take(&mut self.spare));
        for Target { host, address, .. } in targets {
            self.omit(&host, Some(address), Reason::TooMany);
        }
        for candidate in std::mem::take(&mut self.groups).into_iter().flatten() {
            self.omit(&candidate.place, None, Reason::TooMany);
        }
    }

    /// The answer to [`Step::AskExchangers`].
    pub fn exchangers(&mut self, found: Found) {
        self.asked = Asked::Nothing;
        self.demands.names_are_certain = found.secure;
        // RFC 8689 §5: the sender does without what the domain asks for.
        if !self.demands.tls_optional {
            (self.demands.sts, self.demands.sts_fault) = (found.sts, found.sts_fault);
        }
        let domain = self.domain.clone();
        match found.exchangers {
            Ok(Exchangers::Records(records)) => self.rank(records),
            // RFC 5321 §5.1: the domain is then its own exchanger with preference 0.
            Ok(Exchangers::Implicit) => self.rank(vec![Exchanger { preference: 0, host: domain }]),
            // RFC 7505 §3.
            Ok(Exchangers::Null) => self.note(TroubleKind::NullMx, format!("{domain} takes no mail (null MX)")),
            Ok(Exchangers::Unusable) => {
                self.note(TroubleKind::NoSuchDomain, format!("no MX record of {domain} names a host"));
            }
            Err(failure) => self.note_failure(failure),
        }
    }

    /// The answer to [`Step::AskAddresses`], one for each host asked for, in the same order.
    pub fn addresses(&mut self, answers: Vec<Result<HostAnswer, LookupFailure>>) {
        if let Asked::Addresses(group) = std::mem::replace(&mut self.asked, Asked::Nothing) {
            self.prepare(&group, &answers);
        }
    }

    /// The configured hosts, one rank after the other.
    fn follow_route(&mut self, ranks: &[Vec<RouteHost>], protocol: Protocol) {
        self.configured = true;
        self.demands.names_are_certain = true;
        let port = protocol.port(self.policy.port);
        for rank in ranks {
            let candidate = |host: &RouteHost| Candidate { place: host.place.clone(), port: host.port.unwrap_or(port) };
            let mut group: Vec<Candidate> = rank.iter().map(candidate).collect();
            group.shuffle(&mut self.rng);
            self.groups.push_back(group);
        }
    }

    /// The domain's own exchangers, or the address it is written as (RFC 5321 §4.1.3, §5.1).
    fn follow_domain(&mut self) {
        match self.domain.literal() {
            Some(address) => {
                let port = self.policy.port;
                self.groups.push_back(vec![Candidate { place: Place::Address(address), port }]);
            }
            None => self.asked = Asked::Exchangers,
        }
    }

    /// Groups hosts by preference, shuffles each group, and cuts the list where this system stands in it: to go to
    /// itself or to a worse host would be a loop (RFC 5321 §5.1).
    fn rank(&mut self, records: Vec<Exchanger>) {
        let own = records.iter().filter(|record| self.policy.own_names.contains(&record.host));
        let limit = own.map(|record| record.preference).min();
        let mut groups: BTreeMap<u16, Vec<Candidate>> = BTreeMap::new();
        for record in records {
            if limit.is_none_or(|limit| record.preference < limit) {
                let candidate = Candidate { place: Place::Name(record.host), port: self.policy.port };
                groups.entry(record.preference).or_default().push(candidate);
            } else if self.omitted.is_some() {
                let is_own = self.policy.own_names.contains(&record.host);
                let reason = if is_own { Reason::OwnName } else { Reason::NotBetterThanUs };
                self.omit(&record.host, None, reason);
            }
        }
        if groups.is_empty() {
            self.note_loop();
        }
        for group in groups.into_values() {
            let mut group = group;
            group.shuffle(&mut self.rng);
            self.groups.push_back(group);
        }
    }

    fn question(&self, group: &[Candidate]) -> Step {
        let heeds_tlsa = self.heeds_tlsa();
        let hosts = group.iter().filter_map(|candidate| match &candidate.place {
            Place::Name(name) => {
                Some(HostQuestion { name: name.clone(), tlsa_of_port: heeds_tlsa.then_some(candidate.port) })
            }
            Place::Address(_) => None,
        });
        Step::AskAddresses { hosts: hosts.collect(), configured: self.configured }
    }

    /// Whether TLSA records of the hosts matter: where nobody vouches for their names, a certificate proves nothing
    /// (RFC 7672 §2.2.1). Hosts of the configuration are looked up as the system does it, and their TLSA records are heeded
    /// where a route says so.
    fn heeds_tlsa(&self) -> bool {
        let Demands { policy, require_tls, tls_optional, names_are_certain, .. } = self.demands;
        match policy {
            TlsPolicy::Off => require_tls && self.policy.dane && !self.configured && names_are_certain,
            TlsPolicy::Dane => names_are_certain,
            _ => self.policy.dane && !self.configured && names_are_certain && !tls_optional,
        }
    }

    /// Makes targets of a group whose addresses are known.
    fn prepare(&mut self, group: &[Candidate], answers: &[Result<HostAnswer, LookupFailure>]) {
        let mut answers = answers.iter();
        let mut found = Vec::with_capacity(group.len());
        for candidate in group {
            match &candidate.place {
                Place::Address(address) => {
                    found.push((candidate, HostAnswer { addresses: vec![*address], tlsa: Tlsa::None }));
                }
                Place::Name(_) => match answers.next() {
                    Some(Ok(answer)) => found.push((candidate, answer.clone())),
                    Some(Err(failure)) => self.note_failure(failure.clone()),
                    None => {}
                },
            }
        }
        let is_own = |address: &IpAddr| self.policy.own_addresses.contains(&address.to_canonical());
        if !self.configured && found.iter().any(|(_, answer)| answer.addresses.iter().any(is_own)) {
            self.omit_from_us_on(&found);
            self.groups.clear();
            if self.targets_left == MAX_TARGETS {
                self.note_loop();
            }
            return;
        }
        let count = found.len();
        for ((candidate, answer), place) in found.into_iter().zip(1..) {
            let is_last = place == count && (self.groups.is_empty() || self.hosts_left == 0);
            self.prepare_host(candidate, &answer, is_last);
        }
    }

    /// Hosts among which we are, and all that are worse.
    fn omit_from_us_on(&mut self, found: &[(&Candidate, HostAnswer)]) {
        if self.omitted.is_none() {
            return;
        }
        for (candidate, answer) in found {
            for address in &answer.addresses {
                let is_own = self.policy.own_addresses.contains(&address.to_canonical());
                let reason = if is_own { Reason::OwnAddress } else { Reason::BesideUs };
                self.omit(&candidate.place, Some(*address), reason);
            }
        }
        for candidate in std::mem::take(&mut self.groups).into_iter().flatten() {
            self.omit(&candidate.place, None, Reason::BesideUs);
        }
    }

    /// A host that others follow takes half of the tries that are left: one with many addresses, all of them dead, must not
    /// keep mail from the next for ever.
    fn prepare_host(&mut self, candidate: &Candidate, answer: &HostAnswer, is_last: bool) {
        let host = candidate.place.to_string();
        let allowed = |address: &IpAddr| self.configured || may_be_mailed_to(*address, self.policy.allow_private);
        let usable: Vec<IpAddr> = answer.addresses.iter().copied().filter(allowed).collect();
        if usable.is_empty() {
            answer.addresses.iter().for_each(|address| self.omit(&host, Some(*address), Reason::Private));
            // To the outside such a host is one without an address.
            let text = format!("{host} has only addresses that no mail is sent to (private or reserved)");
            return self.note(TroubleKind::NoSuchDomain, text);
        }
        let ordered = in_order(&usable, self.policy.families);
        if self.omitted.is_some() {
            for address in answer.addresses.iter().filter(|address| !ordered.contains(address)) {
                let is_of_family = !in_order(&[*address], self.policy.families).is_empty();
                let reason = match () {
                    () if !usable.contains(address) => Reason::Private,
                    () if !is_of_family => Reason::Family,
                    () => Reason::TooMany,
                };
                self.omit(&host, Some(*address), reason);
            }
        }
        if ordered.is_empty() {
            return self.note(TroubleKind::Connect, format!("{host} has no address of the family that is used here"));
        }
        let against = self.withheld.is_some().then(|| {
            let against = self.demands.held_against(&host, &self.domain, &answer.tlsa);
            Arc::new(against)
        });
        let tls = match self.demands.of_host(&host, &self.domain, &answer.tlsa) {
            Ok(tls) => tls,
            Err(Trouble { kind, text }) => {
                self.withhold(host, against);
                return self.note(kind, text);
            }
        };
        let left = self.targets_left.saturating_sub(self.ready.len());
        let share = if is_last { left } else { (left / 2).max(LEAST_SHARE) };
        for (address, place) in ordered.into_iter().zip(0..) {
            let (host, port) = (host.clone(), candidate.port);
            let queue = if place < share { &mut self.ready } else { &mut self.spare };
            queue.push_back(Target { host, address, port, tls: tls.clone(), against: against.clone() });
        }
    }

    /// A host gets no mail; whether its owner is to hear of it, what is wrong with its policy says.
    fn withhold(&mut self, host: String, against: Option<Arc<HeldAgainst>>) {
        if let Some(withheld) = &mut self.withheld
            && let Some(against) = against.filter(|against| against.fault.is_some())
        {
            withheld.push(Withheld { host, against });
        }
    }

    /// RFC 5321 §5.1 with §6.3: the best exchanger that is left is this system.
    fn note_loop(&mut self) {
        self.note(TroubleKind::Loop, format!("mail for {} loops back to this system", self.domain));
    }

    /// A missing name is final in DNS; in the configuration it is a mistake that an operator will repair.
    fn note_failure(&mut self, failure: LookupFailure) {
        let temporary = failure.temporary || self.configured;
        let kind = if temporary { TroubleKind::DnsTemporary } else { TroubleKind::NoSuchDomain };
        self.note(kind, failure.text);
    }

    /// Keeps the trouble that decides: the first one that may pass, else the first.
    fn note(&mut self, kind: TroubleKind, text: String) {
        let decided = self.trouble.as_ref().is_some_and(|known| known.kind.is_temporary() || !kind.is_temporary());
        if !decided {
            self.trouble = Some(Trouble { kind, text });
        }
    }

    fn last_word(&self) -> Option<Trouble> {
        let tried = self.targets_left < MAX_TARGETS;
        self.trouble.clone().filter(|trouble| !tried || trouble.kind.is_temporary())
    }
}
