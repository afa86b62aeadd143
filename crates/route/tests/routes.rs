//! Which route some mail takes: the tables of `routes.txt`, mistakes in routes, and that many of them cost nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

use mailtier_route::{Mail, MessageClass, Protocol, RouteRule, RouteTable, Way, WayRule};
use mailtier_types::{Mailbox, ReversePath, TenantId};

const TABLES: &str = include_str!("routes.txt");

fn class(word: &str) -> MessageClass {
    let all = [MessageClass::Bulk, MessageClass::Normal, MessageClass::Transactional];
    all.into_iter().find(|class| class.word() == word).unwrap()
}

fn to(hosts: &[&str], protocol: Protocol) -> WayRule {
    WayRule::Hosts { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), protocol }
}

/// `NAME WAY CONDITION=VALUE …`.
fn rule(text: &str) -> RouteRule {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let way = match words.next().unwrap() {
        "smtp" => to(&["relay.example"], Protocol::Smtp),
        "hold" => WayRule::Hold,
        "discard" => WayRule::Discard,
        other => panic!("{other}"),
    };
    let mut rule = RouteRule { name: Some(name), ..RouteRule::new(way) };
    for condition in words {
        let (key, value) = condition.split_once('=').unwrap();
        match key {
            "domain" => rule.domain = Some(value.to_owned()),
            "recipient" => rule.recipient = Some(value.to_owned()),
            "sender" => rule.sender = Some(value.to_owned()),
            "tenant" => rule.tenant = Some(TenantId(value.parse().unwrap())),
            "class" => rule.class = Some(class(value)),
            other => panic!("{other}"),
        }
    }
    rule
}

fn found(
    table: &RouteTable,
    recipient: &str,
    sender: &str,
    tenant: i32,
    class: MessageClass,
    was_held: bool,
) -> String {
    let recipient = Mailbox::parse(recipient).unwrap();
    let sender = ReversePath::parse(if sender == "<>" { "" } else { sender }).unwrap();
    let tenant = TenantId(tenant);
    let mail = Mail { recipient: &recipient, sender: sender.mailbox(), tenant, class, was_held };
    table.find(&mail).map_or("none".to_owned(), |route| route.name.clone())
}

#[test]
fn every_table() {
    let (mut tables, mut cases) = (0, 0);
    for table in TABLES.split("\ntable ").skip(1) {
        let (title, lines) = table.split_once('\n').unwrap();
        let lines: Vec<&str> = lines.lines().filter(|line| !line.trim().is_empty()).collect();
        let rules: Vec<RouteRule> = lines.iter().filter_map(|line| line.strip_prefix("route ")).map(rule).collect();
        let backwards: Vec<RouteRule> = rules.iter().rev().cloned().collect();
        let read = |rules| RouteTable::new(rules).unwrap_or_else(|fault| panic!("{title}: {fault}"));
        // Where routes stand makes no difference.
        for table in [read(rules), read(backwards)] {
            for line in lines.iter().filter(|line| !line.starts_with("route ")) {
                let (question, expected) = line.split_once(" -> ").unwrap();
                let mut words = question.split_whitespace();
                let (recipient, sender) = (words.next().unwrap(), words.next().unwrap());
                let (tenant, word) = (words.next().unwrap().parse().unwrap(), words.next().unwrap());
                let was_held = words.next() == Some("held");
                assert_eq!(
                    found(&table, recipient, sender, tenant, class(word), was_held),
                    expected.trim(),
                    "{title}: {line}"
                );
                cases += 1;
            }
        }
        tables += 1;
    }
    assert!(tables >= 9 && cases >= 80, "{tables} tables, {cases} cases");
}

#[test]
fn mistakes_are_named_with_the_key_they_are_in() {
    let all = || RouteRule::new(to(&["a"], Protocol::Smtp));
    let text = |text: &str| Some(text.to_owned());
    let wrong = |rule: RouteRule| {
        let fault = RouteTable::new([all(), rule]).unwrap_err();
        assert_eq!(fault.place, 1);
        format!("{}: {}", fault.error.key(), fault.error)
    };
    for pattern in ["", ".", "*.example.com", "a b", "..", "a@example.com", "<>"] {
        let told = wrong(RouteRule { domain: text(pattern), ..all() });
        assert!(told.starts_with(&format!("domain: {pattern:?} is not a domain of a route")), "{told}");
    }
    for pattern in ["", "example.com", "a@", "*", "<>", "@example.com"] {
        let told = wrong(RouteRule { recipient: text(pattern), ..all() });
        assert!(told.starts_with(&format!("recipient: {pattern:?} is not an address")), "{told}");
    }
    for pattern in ["", "a@", "*.example.com", "< >"] {
        let told = wrong(RouteRule { sender: text(pattern), ..all() });
        assert!(told.starts_with(&format!("sender: {pattern:?} is not a sender")), "{told}");
    }
    for (rule, expected) in [
        (RouteRule { domain: text("b"), recipient: text("a@b"), ..all() }, "domain: is set beside `recipient`"),
        (RouteRule { name: text("x"), ..all() }, ": there are two routes for all mail"),
        (RouteRule { sender: text("*"), ..all() }, ": there are two routes for sender *"),
        (RouteRule::new(to(&["a:b"], Protocol::Smtp)), "hosts: \"a:b\" is not a host"),
        (RouteRule::new(to(&["a | b:0"], Protocol::Smtp)), "hosts: \"b:0\" is not a host"),
        (RouteRule::new(to(&["a|"], Protocol::Smtp)), "hosts: \"\" is not a host"),
        (RouteRule::new(to(&[], Protocol::Smtp)), "hosts: names no host"),
        (RouteRule::new(to(&["unix:/a"], Protocol::Smtp)), "hosts: names a socket, which only LMTP"),
        (RouteRule::new(to(&["unix:a"], Protocol::Lmtp)), "hosts: \"unix:a\" is no socket"),
        (RouteRule::new(to(&["unix:/a", "b"], Protocol::Lmtp)), "hosts: \"b\" is no socket"),
        (RouteRule::new(WayRule::Exchangers { of: text("a b") }), "exchangers_of: \"a b\" is not a domain"),
    ] {
        let told = wrong(rule);
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn a_route_without_a_name_is_called_by_what_it_is_for() {
    let rule = RouteRule {
        domain: Some(".example.com".into()),
        sender: Some("<>".into()),
        tenant: Some(TenantId(7)),
        class: Some(MessageClass::Bulk),
        ..RouteRule::new(to(&["unix:/run/a", "unix:/run/b"], Protocol::Lmtp))
    };
    let table = RouteTable::new([rule]).unwrap();
    let recipient = Mailbox::parse("a@b.example.com").unwrap();
    let (tenant, class) = (TenantId(7), MessageClass::of_priority(-1));
    let mail = Mail { recipient: &recipient, sender: None, tenant, class, was_held: false };
    let route = table.find(&mail).unwrap();
    assert_eq!(route.name, "domain .example.com, sender <>, tenant 7, class bulk");
    assert!(matches!(&route.way, Way::Sockets(paths) if paths.len() == 2) && !route.is_for_all);
}

#[test]
fn among_a_hundred_thousand_routes_each_is_found() {
    const MANY: usize = 100_000;
    let to_relay = || RouteRule::new(to(&["relay.example"], Protocol::Smtp));
    let by_domain = (0..MANY).map(|n| RouteRule { domain: Some(format!("d{n}.example")), ..to_relay() });
    let by_sender = (0..MANY).map(|n| RouteRule { sender: Some(format!("s{n}.example")), ..to_relay() });
    let table = RouteTable::new(by_domain.chain(by_sender)).unwrap();
    let other = Mailbox::parse("a@x.y.z.example").unwrap();
    for n in (0..MANY).step_by(997) {
        let (recipient, sender) = (format!("a@d{n}.example"), format!("a@s{n}.example"));
        let (recipient, sender) = (Mailbox::parse(&recipient).unwrap(), Mailbox::parse(&sender).unwrap());
        for (recipient, name) in
            [(&recipient, format!("domain d{n}.example")), (&other, format!("sender s{n}.example"))]
        {
            let mail = Mail {
                recipient,
                sender: Some(&sender),
                tenant: TenantId(1),
                class: MessageClass::Normal,
                was_held: false,
            };
            assert_eq!(table.find(&mail).unwrap().name, name);
        }
    }
}
