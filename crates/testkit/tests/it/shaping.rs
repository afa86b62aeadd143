//! What goes first, and how much at a time, with everything real between a client and the other side: mail classes of
//! inbound's configuration, and providers that a worker finds by DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mailtier_testkit::installation::{Installation, Plan, free_port};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, send};
use mailtier_testkit::name_server::NameServer;

/// Longest wait for mail.
const LIMIT: Duration = Duration::from_secs(60);
const CONTENT: &[u8] = b"Subject: x\r\n\r\nx\r\n";
/// Messages of one kind.
const MESSAGES: usize = 5;

fn submit(server: SocketAddr, recipient: &str) {
    assert_eq!(send(server, "<s@client.example>", &[recipient], CONTENT).unwrap(), 250, "{recipient}");
}

#[test]
fn transactional_mail_overtakes_bulk_mail_to_the_same_destination() {
    let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
    let [bulk, transactional] = [(); 2].map(|()| free_port().unwrap());
    let listener = |class: &str, at| format!("{{ name = \"{class}\", listen = [\"{at}\"], class = \"{class}\" }}");
    let listeners = format!("[{}, {}]", listener("bulk", bulk), listener("transactional", transactional));
    let plan = Plan::new(counterpart.address())
        .set("inbound", "listeners", listeners)
        .set("queue", "destination_concurrency", "1")
        .set("queue", "initial_concurrency", "1");
    let installation = Installation::start(&plan).unwrap();
    // Everything waits together before the first of it goes out.
    installation.mailtier(&["queue", "suspend", "--destination", "sink.example"]).unwrap();
    let kinds = [("bulk", bulk), ("normal", installation.smtp()), ("transactional", transactional)];
    let address = |kind: &str, number: usize| format!("{kind}-{number}@sink.example");
    for (kind, server) in kinds {
        (0..MESSAGES).for_each(|number| submit(server, &address(kind, number)));
    }
    assert!(counterpart.letters().is_empty());
    installation.mailtier(&["queue", "resume", "--destination", "sink.example"]).unwrap();
    let letters = counterpart.wait_for_letters(3 * MESSAGES, LIMIT);
    let arrived: Vec<&String> = letters.iter().flat_map(|letter| &letter.recipients).collect();
    let expected: Vec<String> =
        kinds.iter().rev().flat_map(|(kind, _)| (0..MESSAGES).map(|number| address(kind, number))).collect();
    assert_eq!(arrived, expected.iter().collect::<Vec<_>>());
    installation.stop().unwrap();
}

/// Nobody knows whose they are before a worker has asked for their exchangers.
#[test]
fn two_new_domains_of_one_provider_keep_to_its_limit_from_their_first_delivery_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let behaviour = || Behaviour { takes: Duration::from_millis(300), ..Behaviour::default() };
    let provider = Counterpart::start(&Ledger::default(), behaviour()).unwrap();
    let port = provider.address().port();
    let elsewhere: IpAddr = [127, 0, 0, 2].into();
    let others = Counterpart::start_at((elsewhere, port).into(), &Ledger::default(), behaviour()).unwrap();
    let names = runtime.block_on(NameServer::start()).unwrap();
    for (domain, host, address) in [
        ("one.example", "mx-one.big.example", provider.address().ip()),
        ("two.example", "mx-two.big.example", provider.address().ip()),
        ("three.example", "mx.three.example", elsewhere),
        ("four.example", "mx.four.example", elsewhere),
    ] {
        names.add_mx(domain, 10, host).unwrap();
        names.add_address(host, address).unwrap();
    }
    let plan = Plan::new(provider.address())
        .by_dns(&["one.example", "two.example", "three.example", "four.example"])
        .set("outbound", "dns_servers", format!("[\"{}\"]", names.address()))
        .set("outbound", "smtp_port", port.to_string())
        .set("outbound", "allow_private_addresses", "true")
        .set("queue", "providers", "[{ name = \"big\", exchangers = [\"big.example\"], concurrency = 1 }]");
    let installation = Installation::start(&plan).unwrap();
    installation.mailtier(&["queue", "suspend", "--all"]).unwrap();
    for number in 0..MESSAGES {
        for domain in ["one.example", "two.example", "three.example", "four.example"] {
            submit(installation.smtp(), &format!("r{number}@{domain}"));
        }
    }
    installation.mailtier(&["queue", "resume", "--all"]).unwrap();
    for counterpart in [&provider, &others] {
        assert_eq!(counterpart.wait_for_letters(2 * MESSAGES, LIMIT).len(), 2 * MESSAGES);
    }
    assert_eq!(provider.most_at_once(), 1, "the provider's limit");
    assert!(others.most_at_once() > 1, "without one, domains do not wait for each other");
    installation.stop().unwrap();
}
