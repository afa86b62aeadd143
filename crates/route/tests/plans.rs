//! Plans as tables: what DNS says about a domain, and what is then tried in which order.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mailtier_route::{
    Encryption, Exchanger, Exchangers, Families, Found, HostAnswer, HostQuestion, LookupFailure, MAX_HOSTS,
    MAX_TARGETS, Mail, MessageClass, Plan, Policy, Protocol, RouteRule, RouteTable, SendersWish, Step, StsPolicy,
    Target, TlsPolicy, Tlsa, WayRule,
};
use mailtier_types::{Domain, Mailbox, ServerIdentity, TenantId, TlsFault, TlsaRecord};

/// What DNS says, a line each: `mx NAME PREFERENCE HOST`, `mx NAME null|unusable|servfail|nxdomain` and
/// `a NAME ADDRESS…|servfail|nxdomain`. `secure NAME` has DNSSEC vouch for exchangers, `tlsa NAME PORT usable|unusable|servfail`
/// says what TLSA records there are, `sts NAME MODE MX` is a policy. A name without a line does not exist; one with only addresses has no MX.
struct World {
    mx: BTreeMap<String, Result<Exchangers, LookupFailure>>,
    addresses: BTreeMap<String, Result<Vec<IpAddr>, LookupFailure>>,
    secure: BTreeSet<String>,
    tlsa: BTreeMap<String, Tlsa>,
    sts: BTreeMap<String, Arc<StsPolicy>>,
}

fn failure(word: &str, name: &str) -> LookupFailure {
    LookupFailure { temporary: word == "servfail", text: format!("{name}: {word}") }
}

fn tlsa(name: &str, word: &str) -> Tlsa {
    let record = TlsaRecord::usable(3, 1, 1, &[7; 32]).unwrap();
    match word {
        "usable" => Tlsa::Records { base: name.parse().unwrap(), usable: Arc::new([record]) },
        "unusable" => Tlsa::Records { base: name.parse().unwrap(), usable: Arc::new([]) },
        _ => Tlsa::Unknown(word.to_owned()),
    }
}

impl World {
    fn read(lines: &[&str]) -> Self {
        let mut world = Self {
            mx: BTreeMap::new(),
            addresses: BTreeMap::new(),
            secure: BTreeSet::new(),
            tlsa: BTreeMap::new(),
            sts: BTreeMap::new(),
        };
        for line in lines {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["mx", name, "null"] => drop(world.mx.insert((*name).to_owned(), Ok(Exchangers::Null))),
                ["mx", name, "unusable"] => drop(world.mx.insert((*name).to_owned(), Ok(Exchangers::Unusable))),
                ["mx", name, word] => drop(world.mx.insert((*name).to_owned(), Err(failure(word, name)))),
                ["mx", name, preference, host] => {
                    let entry = world.mx.entry((*name).to_owned()).or_insert(Ok(Exchangers::Records(Vec::new())));
                    let Ok(Exchangers::Records(records)) = entry else { panic!("{line}") };
                    records.push(Exchanger { preference: preference.parse().unwrap(), host: host.parse().unwrap() });
                }
                ["a", name, word @ ("servfail" | "nxdomain")] => {
                    world.addresses.insert((*name).to_owned(), Err(failure(word, name)));
                }
                ["a", name, addresses @ ..] => {
                    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
                    world.addresses.insert((*name).to_owned(), Ok(addresses));
                }
                ["secure", name] => drop(world.secure.insert((*name).to_owned())),
                ["tlsa", name, port, word] => {
                    world.tlsa.insert(format!("{name}:{port}"), tlsa(name, word));
                }
                ["sts", name, mode, mx] => {
                    let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n");
                    world.sts.insert((*name).to_owned(), Arc::new(StsPolicy::parse(&text).unwrap()));
                }
                _ => panic!("{line}"),
            }
        }
        world
    }

    fn find(&self, domain: &Domain) -> Found {
        let name = domain.as_str();
        Found {
            exchangers: self.exchangers(domain),
            secure: self.secure.contains(name),
            sts: self.sts.get(name).cloned(),
            sts_fault: None,
        }
    }

    fn host(&self, question: &HostQuestion) -> Result<HostAnswer, LookupFailure> {
        let addresses = self.addresses(&question.name)?;
        let known = |port| self.tlsa.get(&format!("{}:{port}", question.name)).cloned();
        Ok(HostAnswer { addresses, tlsa: question.tlsa_of_port.and_then(known).unwrap_or_default() })
    }

    fn exchangers(&self, domain: &Domain) -> Result<Exchangers, LookupFailure> {
        let name = domain.as_str();
        self.mx.get(name).cloned().unwrap_or_else(|| match self.addresses.get(name) {
            Some(_) => Ok(Exchangers::Implicit),
            None => Err(failure("nxdomain", name)),
        })
    }

    fn addresses(&self, host: &Domain) -> Result<Vec<IpAddr>, LookupFailure> {
        self.addresses.get(host.as_str()).cloned().unwrap_or_else(|| Err(failure("nxdomain", host.as_str())))
    }
}

fn policy() -> Policy {
    Policy {
        own_names: vec!["us.example".parse().unwrap()],
        own_addresses: vec!["198.51.100.1".parse().unwrap()],
        families: Families::Both,
        allow_private: false,
        port: 25,
        tls: TlsPolicy::Opportunistic,
        dane: true,
    }
}

/// What differs from the usual.
fn tls_words(target: &Target) -> String {
    let encryption = match target.tls.encryption {
        Encryption::Off => " in clear",
        Encryption::Opportunistic => "",
        Encryption::Required => " encrypted",
    };
    match target.tls.identity.as_deref() {
        None => encryption.to_owned(),
        Some(ServerIdentity::Pkix { .. }) if target.tls.enforced => format!("{encryption} pkix"),
        Some(ServerIdentity::Pkix { .. }) => format!("{encryption} pkix looked for"),
        Some(ServerIdentity::Dane { names, .. }) => format!("{encryption} dane {}", names.join(",")),
    }
}

/// Drives a plan whose every target fails, and lists what it asked, tried and said in the end.
fn drive(mut plan: Plan, world: &World) -> Vec<String> {
    follow(&mut plan, world)
}

fn follow(plan: &mut Plan, world: &World) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..1000 {
        match plan.poll() {
            Step::AskExchangers(domain) => {
                assert_eq!(plan.poll(), Step::AskExchangers(domain.clone()), "a question stands until it is answered");
                plan.exchangers(world.find(&domain));
            }
            Step::AskAddresses { hosts, configured } => {
                let again = Step::AskAddresses { hosts: hosts.clone(), configured };
                assert_eq!(plan.poll(), again, "a question stands until it is answered");
                let mut names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
                names.sort_unstable();
                told.push(format!("ask {}", names.join(" ")));
                plan.addresses(hosts.iter().map(|host| world.host(host)).collect());
            }
            Step::Try(target) => {
                let tls = tls_words(&target);
                let port = if target.port == 25 { String::new() } else { format!(" port {}", target.port) };
                told.push(format!("{} {}{port}{tls}", target.host, target.address));
            }
            Step::Exhausted(trouble) => {
                told.push(trouble.map_or("end".to_owned(), |trouble| format!("{:?}: {}", trouble.kind, trouble.text)));
                return told;
            }
        }
    }
    panic!("the plan never ends: {told:?}");
}

struct Case {
    name: &'static str,
    to: &'static str,
    world: &'static [&'static str],
    expect: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "best preference first, worse hosts are asked for only when it fails (RFC 5321 section 5.1)",
        to: "d.example",
        world: &[
            "mx d.example 20 b.example",
            "mx d.example 10 a.example",
            "a a.example 192.0.2.1",
            "a b.example 192.0.2.2",
        ],
        expect: &["ask a.example", "a.example 192.0.2.1", "ask b.example", "b.example 192.0.2.2", "end"],
    },
    Case {
        name: "a host's addresses take turns by family",
        to: "d.example",
        world: &["mx d.example 10 a.example", "a a.example 192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2"],
        expect: &[
            "ask a.example",
            "a.example 2001:db8::1",
            "a.example 192.0.2.1",
            "a.example 2001:db8::2",
            "a.example 192.0.2.2",
            "end",
        ],
    },
    Case {
        name: "a host with many addresses leaves tries to the next, and has the rest of its own in the end",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 b.example",
            "a a.example 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8",
            "a b.example 192.0.2.21",
        ],
        expect: &[
            "ask a.example",
            "a.example 192.0.2.1",
            "a.example 192.0.2.2",
            "a.example 192.0.2.3",
            "a.example 192.0.2.4",
            "ask b.example",
            "b.example 192.0.2.21",
            "a.example 192.0.2.5",
            "a.example 192.0.2.6",
            "a.example 192.0.2.7",
            "end",
        ],
    },
    Case {
        name: "and so does each of several",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 b.example",
            "mx d.example 30 c.example",
            "mx d.example 40 e.example",
            "a a.example 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5",
            "a b.example 192.0.2.11 192.0.2.12 192.0.2.13",
            "a c.example 192.0.2.21 192.0.2.22 192.0.2.23",
            "a e.example 192.0.2.31",
        ],
        expect: &[
            "ask a.example",
            "a.example 192.0.2.1",
            "a.example 192.0.2.2",
            "a.example 192.0.2.3",
            "a.example 192.0.2.4",
            "ask b.example",
            "b.example 192.0.2.11",
            "b.example 192.0.2.12",
            "ask c.example",
            "c.example 192.0.2.21",
            "c.example 192.0.2.22",
            "end",
        ],
    },
    Case {
        name: "without MX records the domain is its own exchanger (RFC 5321 section 5.1)",
        to: "d.example",
        world: &["a d.example 192.0.2.1"],
        expect: &["ask d.example", "d.example 192.0.2.1", "end"],
    },
    Case {
        name: "a null MX takes no mail, even when the domain has an address (RFC 7505)",
        to: "d.example",
        world: &["mx d.example null", "a d.example 192.0.2.1"],
        expect: &["NullMx: d.example takes no mail (null MX)"],
    },
    Case {
        name: "with MX records the domain's own address is never used (RFC 5321 section 5.1)",
        to: "d.example",
        world: &["mx d.example 10 gone.example", "a d.example 192.0.2.1"],
        expect: &["ask gone.example", "NoSuchDomain: gone.example: nxdomain"],
    },
    Case {
        name: "records that name no host",
        to: "d.example",
        world: &["mx d.example unusable", "a d.example 192.0.2.1"],
        expect: &["NoSuchDomain: no MX record of d.example names a host"],
    },
    Case {
        name: "a domain that does not exist",
        to: "d.example",
        world: &[],
        expect: &["NoSuchDomain: d.example: nxdomain"],
    },
    Case {
        name: "a name server that fails is no reason to bounce, and none to guess an address",
        to: "d.example",
        world: &["mx d.example servfail", "a d.example 192.0.2.1"],
        expect: &["DnsTemporary: d.example: servfail"],
    },
    Case {
        name: "doubt about one host outweighs the certainty that another does not exist",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 b.example",
            "a a.example nxdomain",
            "a b.example servfail",
        ],
        expect: &["ask a.example", "ask b.example", "DnsTemporary: b.example: servfail"],
    },
    Case {
        name: "a host that could not be found does not stop the others, and is remembered in the end",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 b.example",
            "a a.example servfail",
            "a b.example 192.0.2.2",
        ],
        expect: &["ask a.example", "ask b.example", "b.example 192.0.2.2", "DnsTemporary: a.example: servfail"],
    },
    Case {
        name: "a host that does not exist does not matter once another was tried",
        to: "d.example",
        world: &["mx d.example 10 a.example", "mx d.example 20 b.example", "a b.example 192.0.2.2"],
        expect: &["ask a.example", "ask b.example", "b.example 192.0.2.2", "end"],
    },
    Case {
        name: "as a backup we send only to better hosts (RFC 5321 section 5.1)",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 us.example",
            "mx d.example 20 b.example",
            "mx d.example 30 c.example",
            "a a.example 192.0.2.1",
            "a b.example 192.0.2.2",
            "a c.example 192.0.2.3",
        ],
        expect: &["ask a.example", "a.example 192.0.2.1", "end"],
    },
    Case {
        name: "the best exchanger is us: a loop",
        to: "d.example",
        world: &["mx d.example 10 us.example", "mx d.example 20 b.example", "a b.example 192.0.2.2"],
        expect: &["Loop: mail for d.example loops back to this system"],
    },
    Case {
        name: "we are the implicit exchanger: a loop",
        to: "us.example",
        world: &["a us.example 203.0.113.5"],
        expect: &["Loop: mail for us.example loops back to this system"],
    },
    Case {
        name: "a name of others for our address is a loop too",
        to: "d.example",
        world: &[
            "mx d.example 10 alias.example",
            "mx d.example 10 b.example",
            "mx d.example 20 c.example",
            "a alias.example 198.51.100.1",
            "a b.example 192.0.2.2",
            "a c.example 192.0.2.3",
        ],
        expect: &["ask alias.example b.example", "Loop: mail for d.example loops back to this system"],
    },
    Case {
        name: "our address among worse hosts ends the list",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 alias.example",
            "mx d.example 30 c.example",
            "a a.example 192.0.2.1",
            "a alias.example 198.51.100.1",
            "a c.example 192.0.2.3",
        ],
        expect: &["ask a.example", "a.example 192.0.2.1", "ask alias.example", "end"],
    },
    Case {
        name: "a backup whose better host does not exist reports that, not a loop",
        to: "d.example",
        world: &["mx d.example 10 a.example", "mx d.example 20 alias.example", "a alias.example 198.51.100.1"],
        expect: &["ask a.example", "ask alias.example", "NoSuchDomain: a.example: nxdomain"],
    },
    Case {
        name: "strangers cannot point us at our own networks",
        to: "d.example",
        world: &["mx d.example 10 a.example", "a a.example 127.0.0.1 10.0.0.1 ::1 169.254.169.254"],
        expect: &[
            "ask a.example",
            "NoSuchDomain: a.example has only addresses that no mail is sent to (private or reserved)",
        ],
    },
    Case {
        name: "and addresses that are fine are used beside those that are not",
        to: "d.example",
        world: &["mx d.example 10 a.example", "a a.example 127.0.0.1 192.0.2.1"],
        expect: &["ask a.example", "a.example 192.0.2.1", "end"],
    },
    Case {
        name: "an address literal needs no lookup (RFC 5321 section 4.1.3)",
        to: "[192.0.2.7]",
        world: &[],
        expect: &["192.0.2.7 192.0.2.7", "end"],
    },
    Case { name: "an IPv6 literal", to: "[IPv6:2001:db8::7]", world: &[], expect: &["2001:db8::7 2001:db8::7", "end"] },
    Case {
        name: "a literal of a private address",
        to: "[127.0.0.1]",
        world: &[],
        expect: &["NoSuchDomain: 127.0.0.1 has only addresses that no mail is sent to (private or reserved)"],
    },
    Case {
        name: "a literal of our own address",
        to: "[198.51.100.1]",
        world: &[],
        expect: &["Loop: mail for [198.51.100.1] loops back to this system"],
    },
    Case {
        name: "smarthosts go before MX records and are tried in their order",
        to: "routed.example",
        world: &[
            "mx routed.example 10 a.example",
            "a a.example 192.0.2.1",
            "mx relay.example 10 a.example",
            "a relay.example 10.0.0.1 10.0.0.2",
        ],
        expect: &[
            "ask relay.example",
            "relay.example 10.0.0.1 port 2525",
            "relay.example 10.0.0.2 port 2525",
            "127.0.0.1 127.0.0.1",
            "end",
        ],
    },
    Case {
        name: "a smarthost that does not exist is a mistake to be repaired, not a reason to bounce",
        to: "mistyped.example",
        world: &[],
        expect: &["ask smarthsot.example", "DnsTemporary: smarthsot.example: nxdomain"],
    },
    Case {
        name: "an exception to a wider route goes by MX",
        to: "direct.routed.example",
        world: &["mx direct.routed.example 10 a.example", "a a.example 192.0.2.1"],
        expect: &["ask a.example", "a.example 192.0.2.1 encrypted", "end"],
    },
    Case {
        name: "hosts that DNSSEC vouches for are used as their TLSA records say (RFC 7672 section 2.2)",
        to: "d.example",
        world: &[
            "mx d.example 10 a.example",
            "mx d.example 20 b.example",
            "mx d.example 30 c.example",
            "mx d.example 40 e.example",
            "secure d.example",
            "a a.example 192.0.2.1",
            "a b.example 192.0.2.2",
            "a c.example 192.0.2.3",
            "a e.example 192.0.2.5",
            "tlsa a.example 25 usable",
            "tlsa b.example 25 servfail",
            "tlsa c.example 25 unusable",
        ],
        expect: &[
            "ask a.example",
            "a.example 192.0.2.1 encrypted dane a.example,d.example",
            "ask b.example",
            "ask c.example",
            "c.example 192.0.2.3 encrypted",
            "ask e.example",
            "e.example 192.0.2.5",
            "DnsTemporary: TLSA records of b.example: servfail",
        ],
    },
    Case {
        name: "where nobody vouches for the exchangers their TLSA records are not asked for (RFC 7672 section 2.2.1)",
        to: "d.example",
        world: &["mx d.example 10 a.example", "a a.example 192.0.2.1", "tlsa a.example 25 usable"],
        expect: &["ask a.example", "a.example 192.0.2.1", "end"],
    },
    Case {
        name: "a policy of MTA-STS leaves out what it does not name (RFC 8461 section 5)",
        to: "d.example",
        world: &[
            "mx d.example 10 rogue.example",
            "mx d.example 20 a.mail.example",
            "a rogue.example 192.0.2.1",
            "a a.mail.example 192.0.2.2",
            "sts d.example enforce *.mail.example",
        ],
        expect: &[
            "ask rogue.example",
            "ask a.mail.example",
            "a.mail.example 192.0.2.2 encrypted pkix",
            "Tls: the MTA-STS policy of d.example does not name its exchanger rogue.example",
        ],
    },
    Case {
        name: "and one that is being tested leaves out nothing",
        to: "d.example",
        world: &["mx d.example 10 a.example", "a a.example 192.0.2.1", "sts d.example testing b.example"],
        expect: &["ask a.example", "a.example 192.0.2.1 pkix looked for", "end"],
    },
    Case {
        name: "a route that asks for DANE gets it for the port it names, though the system finds the host",
        to: "dane.example",
        world: &["a relay.example 10.0.0.1", "tlsa relay.example 587 usable", "tlsa relay.example 25 unusable"],
        expect: &[
            "ask relay.example",
            "relay.example 10.0.0.1 port 587 encrypted dane relay.example,dane.example",
            "end",
        ],
    },
    Case {
        name: "LMTP has a port of its own (RFC 2033 section 5)",
        to: "stored.example",
        world: &[],
        expect: &["10.0.0.9 10.0.0.9 port 24", "end"],
    },
    Case {
        name: "the exchangers of another domain",
        to: "elsewhere.example",
        world: &["mx elsewhere.example 10 a.example", "mx other.example 10 b.example", "a b.example 192.0.2.2"],
        expect: &["ask b.example", "b.example 192.0.2.2", "end"],
    },
    Case {
        name: "a route to ourselves is the operator's own business",
        to: "home.example",
        world: &["a us.example 198.51.100.1"],
        expect: &["ask us.example", "us.example 198.51.100.1 port 26", "end"],
    },
];

fn routes() -> RouteTable {
    let rule = |domain: &str, way| RouteRule { domain: Some(domain.to_owned()), ..RouteRule::new(way) };
    let to = |domain: &str, hosts: &[&str]| {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        rule(domain, WayRule::Hosts { hosts, protocol: Protocol::Smtp })
    };
    let store = WayRule::Hosts { hosts: vec!["10.0.0.9".to_owned()], protocol: Protocol::Lmtp };
    let other = WayRule::Exchangers { of: Some("other.example".to_owned()) };
    RouteTable::new([
        to("routed.example", &["relay.example:2525", "127.0.0.1"]),
        to(".routed.example", &["relay.example"]),
        RouteRule { tls: Some(TlsPolicy::Required), ..rule("direct.routed.example", WayRule::Exchangers { of: None }) },
        RouteRule { tls: Some(TlsPolicy::Dane), ..to("dane.example", &["relay.example:587"]) },
        to("mistyped.example", &["smarthsot.example"]),
        to("home.example", &["us.example:26"]),
        to("ranked.example", &["10.0.0.1|10.0.0.2:26 | 10.0.0.3", "10.0.1.1"]),
        rule("stored.example", store),
        rule("elsewhere.example", other),
    ])
    .unwrap()
}

fn plan_for(domain: &str, policy: Policy, seed: u64) -> Plan {
    let domain: Domain = domain.parse().unwrap();
    let recipient = Mailbox::from_parts("a", &domain).unwrap();
    let mail =
        Mail { recipient: &recipient, sender: None, tenant: TenantId(0), class: MessageClass::Normal, was_held: false };
    let routes = routes();
    let route = routes.find(&mail).map(Arc::as_ref);
    Plan::new(Arc::new(policy), domain, route, SendersWish::None, seed)
}

#[test]
fn what_is_tried_in_which_order() {
    for case in CASES {
        for seed in 0..5 {
            let told = drive(plan_for(case.to, policy(), seed), &World::read(case.world));
            assert_eq!(told, case.expect, "{}", case.name);
        }
    }
}

#[test]
fn hosts_of_equal_preference_share_the_load() {
    let world = World::read(&[
        "mx d.example 10 a.example",
        "mx d.example 10 b.example",
        "mx d.example 10 c.example",
        "mx d.example 20 z.example",
        "a a.example 192.0.2.1",
        "a b.example 192.0.2.2",
        "a c.example 192.0.2.3",
        "a z.example 192.0.2.26",
    ]);
    let mut first = BTreeMap::<String, usize>::new();
    let mut orders = BTreeSet::new();
    for seed in 0..600 {
        let told = drive(plan_for("d.example", policy(), seed), &world);
        assert_eq!(told[5], "z.example 192.0.2.26", "a worse host never goes first: {told:?}");
        *first.entry(told[1].clone()).or_default() += 1;
        orders.insert(told[1..4].to_vec());
    }
    assert_eq!(orders.len(), 6, "every order occurs");
    assert!(first.values().all(|&count| count > 120), "evenly: {first:?}");
}

#[test]
fn hosts_of_one_rank_share_the_load_and_the_next_rank_waits() {
    let mut orders = BTreeSet::new();
    for seed in 0..200 {
        let told = drive(plan_for("ranked.example", policy(), seed), &World::read(&[]));
        assert_eq!(told[3..], ["10.0.1.1 10.0.1.1", "end"], "{told:?}");
        orders.insert(told[..3].to_vec());
    }
    assert_eq!(orders.len(), 6, "every order occurs: {orders:?}");
    assert!(orders.iter().all(|order| order.contains(&"10.0.0.2 10.0.0.2 port 26".to_owned())));
}

#[test]
fn an_attempt_is_bounded_whatever_dns_says() {
    let mut lines = Vec::new();
    for n in 0..100 {
        lines.push(format!("mx d.example {} h{n}.example", n / 50));
        lines.push(format!("a h{n}.example servfail"));
    }
    let world = World::read(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let told = drive(plan_for("d.example", policy(), 1), &world);
    let asked: usize =
        told.iter().filter_map(|line| line.strip_prefix("ask ")).map(|hosts| hosts.split(' ').count()).sum();
    assert_eq!(asked, MAX_HOSTS);

    let addresses: Vec<_> = (1..=200).map(|n| format!("192.0.2.{n}")).collect();
    let line = format!("a d.example {}", addresses.join(" "));
    let told = drive(plan_for("d.example", policy(), 1), &World::read(&[&line]));
    assert_eq!(told.iter().filter(|line| line.starts_with("d.example")).count(), MAX_TARGETS);
    assert_eq!(told.last().unwrap(), "end");
}

#[test]
fn who_asks_is_told_what_is_left_out_and_why() {
    let omitted = |policy: Policy, lines: &[&str]| {
        let (mut plan, world) = (plan_for("d.example", policy, 1).explained(), World::read(lines));
        loop {
            match plan.poll() {
                Step::AskExchangers(domain) => plan.exchangers(world.find(&domain)),
                Step::AskAddresses { hosts, .. } => {
                    plan.addresses(hosts.iter().map(|host| world.host(host)).collect());
                }
                Step::Try(_) => {}
                Step::Exhausted(_) => break,
            }
        }
        let told = plan.omitted().iter().map(|one| {
            let place = one.address.map_or(one.host.clone(), |address| format!("{} {address}", one.host));
            format!("{place}: {:?}", one.reason)
        });
        told.collect::<Vec<_>>()
    };
    let only_v4 = Policy { families: Families::Ipv4, ..policy() };
    assert_eq!(
        omitted(only_v4, &["mx d.example 10 a.example", "a a.example 127.0.0.1 192.0.2.1 2001:db8::1"]),
        ["a.example 127.0.0.1: Private", "a.example 2001:db8::1: Family"]
    );
    assert_eq!(
        omitted(
            policy(),
            &[
                "mx d.example 10 a.example",
                "mx d.example 20 us.example",
                "mx d.example 30 b.example",
                "a a.example 10.0.0.1"
            ]
        ),
        ["us.example: OwnName", "b.example: NotBetterThanUs", "a.example 10.0.0.1: Private"]
    );
    assert_eq!(
        omitted(
            policy(),
            &["mx d.example 10 a.example", "mx d.example 20 b.example", "a a.example 198.51.100.1 192.0.2.1"]
        ),
        ["a.example 198.51.100.1: OwnAddress", "a.example 192.0.2.1: BesideUs", "b.example: BesideUs"]
    );
    assert_eq!(
        omitted(
            policy(),
            &[
                "mx d.example 10 a.example",
                "mx d.example 20 b.example",
                "mx d.example 30 c.example",
                "a a.example 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5",
                "a b.example 192.0.2.11 192.0.2.12 192.0.2.13 192.0.2.14 192.0.2.15",
            ]
        ),
        ["b.example 192.0.2.14: TooMany", "b.example 192.0.2.15: TooMany"],
        "c.example does not exist: what is spare comes instead"
    );
    assert_eq!(
        omitted(
            policy(),
            &[
                "mx d.example 10 a.example",
                "mx d.example 20 b.example",
                "mx d.example 30 c.example",
                "mx d.example 40 e.example",
                "a a.example 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5",
                "a b.example 192.0.2.11 192.0.2.12",
                "a c.example 192.0.2.21 192.0.2.22",
            ]
        ),
        ["a.example 192.0.2.5: TooMany", "e.example: TooMany"]
    );
    assert!(plan_for("d.example", policy(), 1).omitted().is_empty());
}

#[test]
fn private_addresses_are_used_where_an_operator_allows_them() {
    let allowing = Policy { allow_private: true, ..policy() };
    let world = World::read(&["mx d.example 10 a.example", "a a.example 127.0.0.1"]);
    assert_eq!(drive(plan_for("d.example", allowing, 1), &world)[1], "a.example 127.0.0.1");
}

#[test]
fn a_host_of_the_other_family_may_be_reached_some_day() {
    let world = World::read(&["a d.example 2001:db8::1", "a e.example 2001:db8::1 192.0.2.1"]);
    let only_v4 = Policy { families: Families::Ipv4, ..policy() };
    let told = drive(plan_for("d.example", only_v4.clone(), 1), &world);
    assert_eq!(told[1], "Connect: d.example has no address of the family that is used here");
    assert_eq!(drive(plan_for("e.example", only_v4, 1), &world)[1..], ["e.example 192.0.2.1", "end"]);
}

#[test]
fn requiretls_is_for_hosts_whose_names_are_certain() {
    for (lines, expected) in [
        (vec![], "RequireTls: REQUIRETLS is asked for, and the host was found by DNS without DNSSEC or MTA-STS"),
        (vec!["secure d.example"], "a.example 192.0.2.1 encrypted pkix"),
        (vec!["sts d.example enforce a.example"], "a.example 192.0.2.1 encrypted pkix"),
        (
            vec!["secure d.example", "tlsa a.example 25 usable"],
            "a.example 192.0.2.1 encrypted dane a.example,d.example",
        ),
    ] {
        let world = World::read(&[&["mx d.example 10 a.example", "a a.example 192.0.2.1"], &lines[..]].concat());
        let plan = Plan::new(Arc::new(policy()), "d.example".parse().unwrap(), None, SendersWish::RequireTls, 1);
        assert_eq!(drive(plan, &world)[1], expected, "{lines:?}");
    }
}

#[test]
fn who_does_without_tls_gets_past_dane_and_mta_sts_and_not_past_the_operator() {
    let world = World::read(&[
        "mx d.example 10 a.example",
        "a a.example 192.0.2.1",
        "secure d.example",
        "tlsa a.example 25 usable",
        "sts d.example enforce other.example",
    ]);
    let plan = |tls, wish| {
        let policy = Policy { tls, ..policy() };
        Plan::new(Arc::new(policy), "d.example".parse().unwrap(), None, wish, 1)
    };
    for (tls, wish, expected) in [
        (TlsPolicy::Opportunistic, SendersWish::None, "a.example 192.0.2.1 encrypted dane a.example,d.example"),
        (TlsPolicy::Opportunistic, SendersWish::TlsOptional, "a.example 192.0.2.1"),
        (TlsPolicy::Required, SendersWish::TlsOptional, "a.example 192.0.2.1 encrypted"),
        (TlsPolicy::Verified, SendersWish::TlsOptional, "a.example 192.0.2.1 encrypted pkix"),
        (TlsPolicy::Dane, SendersWish::TlsOptional, "a.example 192.0.2.1 encrypted dane a.example,d.example"),
    ] {
        assert_eq!(drive(plan(tls, wish), &world)[1], expected, "{tls:?} {wish:?}");
    }
    let mut optional = plan(TlsPolicy::Opportunistic, SendersWish::TlsOptional).reported();
    assert!(matches!(optional.poll(), Step::AskExchangers(_)) && optional.take_withheld().is_empty());
}

#[test]
fn hosts_that_get_no_mail_for_a_policy_are_reported_once() {
    let plan = |policy: Policy| Plan::new(Arc::new(policy), "d.example".parse().unwrap(), None, SendersWish::None, 1);
    let world =
        World::read(&["mx d.example 10 a.example", "a a.example 192.0.2.1", "sts d.example enforce other.example"]);
    let mut reported = plan(policy()).reported();
    follow(&mut reported, &world);
    let told = reported.take_withheld();
    let fault = told[0].against.fault.as_ref().map(|(fault, _)| *fault);
    assert_eq!((told.len(), told[0].host.as_str(), fault), (1, "a.example", Some(TlsFault::ValidationFailure)));
    assert!(reported.take_withheld().is_empty());
    let mut other = plan(Policy { tls: TlsPolicy::Off, ..policy() }).reported();
    follow(&mut other, &world);
    assert!(other.take_withheld().is_empty(), "nobody tries TLS");
    let mut unasked = plan(policy());
    follow(&mut unasked, &world);
    assert!(unasked.take_withheld().is_empty(), "nobody wants to know");
}
