//! The resolver against a name server on loopback: what mail asks for, and every way a name server can fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod meddler;
mod programs;
mod server;
mod tree;
mod validation;

use std::net::IpAddr;
use std::time::Duration;

use mailtier_dns::{DnsError, Mx, MxAnswer, Resolver, Tlsa};
use mailtier_types::Domain;

use crate::server::{NameServer, Say, a, aaaa, cname, mx, tlsa_record, txt};

/// Enough for a name server on the same machine.
const TIMEOUT: Duration = Duration::from_millis(500);

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listed(mx: Mx) -> Vec<String> {
    match mx.answer {
        MxAnswer::Records(records) => {
            records.into_iter().map(|record| format!("{} {}", record.preference, record.host)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn exchangers_come_in_order_of_preference() {
    let server = NameServer::start([
        ("example.com", Say::Records(vec![mx(20, "mx2.example.com"), mx(10, "mx1.example.com")])),
        ("null.example", Say::Records(vec![mx(0, "")])),
        ("bare.example", Say::Records(vec![a("192.0.2.1")])),
    ])
    .await;
    let resolver = server.resolver();
    assert_eq!(
        listed(resolver.mx(&domain("example.com")).await.unwrap()),
        ["10 mx1.example.com", "20 mx2.example.com"]
    );
    assert_eq!(resolver.mx(&domain("null.example")).await.unwrap().answer, MxAnswer::Null, "RFC 7505");
    assert_eq!(resolver.mx(&domain("bare.example")).await.unwrap().answer, MxAnswer::Implicit, "RFC 5321 section 5.1");
}

#[tokio::test]
async fn both_families_are_asked_for() {
    let server = NameServer::start([
        ("dual.example", Say::Records(vec![a("192.0.2.1"), aaaa("2001:db8::1"), a("192.0.2.2")])),
        ("four.example", Say::Records(vec![a("192.0.2.3")])),
        ("six.example", Say::Records(vec![aaaa("2001:db8::3")])),
        ("neither.example", Say::Records(vec![mx(10, "dual.example")])),
    ])
    .await;
    let resolver = server.resolver();
    let dual = resolver.host(&domain("dual.example"), None).await.unwrap().addresses;
    assert_eq!(dual, [ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.2")]);
    assert_eq!(resolver.host(&domain("four.example"), None).await.unwrap().addresses, [ip("192.0.2.3")]);
    assert_eq!(resolver.host(&domain("six.example"), None).await.unwrap().addresses, [ip("2001:db8::3")]);
    let neither = resolver.host(&domain("neither.example"), None).await.unwrap_err();
    assert!(matches!(neither, DnsError::NoData { .. }), "{neither:?}");
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = NameServer::start([
        ("broken.example", Say::ServFail),
        ("refused.example", Say::Refused),
        ("exists.example", Say::Records(vec![])),
    ])
    .await;
    let resolver = server.resolver();
    for (name, temporary) in [("broken.example", true), ("refused.example", true), ("missing.example", false)] {
        let mx = resolver.mx(&domain(name)).await.unwrap_err();
        let addresses = resolver.host(&domain(name), None).await.unwrap_err();
        assert_eq!((mx.is_temporary(), addresses.is_temporary()), (temporary, temporary), "{name}: {mx}, {addresses}");
    }
    let missing = resolver.mx(&domain("missing.example")).await.unwrap_err();
    assert_eq!(missing, DnsError::NoSuchDomain { name: "missing.example".to_owned() });
    let exists = resolver.host(&domain("exists.example"), None).await.unwrap_err();
    assert!(matches!(exists, DnsError::NoData { .. }), "{exists:?}");
}

#[tokio::test]
async fn a_silent_name_server_is_temporary_trouble() {
    let server = NameServer::start([("silent.example", Say::Nothing)]).await;
    let error = server.resolver().mx(&domain("silent.example")).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    assert!(error.to_string().contains("silent.example"), "an operator reads which name: {error}");
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_temporary_trouble() {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let error = Resolver::new(&[address], TIMEOUT).unwrap().mx(&domain("example.com")).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn one_family_failing_does_not_hide_the_other() {
    let server = NameServer::start([("half.example", Say::OnlyA("192.0.2.9"))]).await;
    let resolver = server.resolver();
    assert_eq!(resolver.host(&domain("half.example"), None).await.unwrap().addresses, [ip("192.0.2.9")]);
}

#[tokio::test]
async fn aliases_are_followed() {
    let server = NameServer::start([
        ("alias.example", Say::Records(vec![cname("real.example")])),
        ("real.example", Say::Records(vec![mx(10, "mx.alias.example")])),
        ("mx.alias.example", Say::Records(vec![cname("host.example")])),
        ("host.example", Say::Records(vec![a("192.0.2.4")])),
        ("circle.example", Say::Records(vec![cname("circle.example")])),
        ("dangling.example", Say::Records(vec![cname("nowhere.example")])),
    ])
    .await;
    let resolver = server.resolver();
    assert_eq!(listed(resolver.mx(&domain("alias.example")).await.unwrap()), ["10 mx.alias.example"]);
    assert_eq!(resolver.host(&domain("mx.alias.example"), None).await.unwrap().addresses, [ip("192.0.2.4")]);
    let circle = resolver.host(&domain("circle.example"), None).await.unwrap_err();
    assert!(matches!(circle, DnsError::NoData { .. }), "a circle of aliases ends: {circle:?}");
    let dangling = resolver.mx(&domain("dangling.example")).await.unwrap_err();
    assert!(matches!(dangling, DnsError::NoSuchDomain { .. }), "RFC 6604: {dangling:?}");
}

#[tokio::test]
async fn answers_are_kept_as_long_as_they_live_and_no_longer() {
    let server = NameServer::start([
        ("kept.example", Say::Records(vec![mx(10, "mx.example")])),
        ("fleeting.example", Say::RecordsFor(0, vec![mx(10, "mx.example")])),
    ])
    .await;
    let resolver = server.resolver();
    for _ in 0..3 {
        resolver.mx(&domain("kept.example")).await.unwrap();
        resolver.clone().mx(&domain("KEPT.example")).await.unwrap();
        resolver.mx(&domain("fleeting.example")).await.unwrap();
        resolver.mx(&domain("missing.example")).await.unwrap_err();
    }
    assert_eq!(server.asked("kept.example"), 1);
    assert_eq!(server.asked("fleeting.example"), 3);
    assert_eq!(server.asked("missing.example"), 1, "denials are kept too (RFC 2308)");
}

#[tokio::test]
async fn an_answer_too_large_for_a_datagram_comes_over_tcp() {
    let many = (0..90).map(|n| mx(n, &format!("a-rather-long-name-of-host-number-{n}.big.example"))).collect();
    let server = NameServer::start([("big.example", Say::Records(many))]).await;
    assert_eq!(listed(server.resolver().mx(&domain("big.example")).await.unwrap()).len(), 90);
}

#[tokio::test]
async fn configured_hosts_may_stand_in_the_hosts_file_and_others_may_not() {
    let server = NameServer::start([]).await;
    let resolver = server.resolver();
    let local = resolver.configured_addresses(&domain("localhost")).await.unwrap();
    assert!(local.contains(&ip("127.0.0.1")), "{local:?}");
}

#[tokio::test]
async fn names_longer_than_dns_allows_do_not_exist() {
    let server = NameServer::start([]).await;
    let long = vec!["a".repeat(63); 4].join(".");
    let error = server.resolver().mx(&domain(&long)).await.unwrap_err();
    assert!(matches!(error, DnsError::NoSuchDomain { .. }), "{error:?}");
}

/// Which TLSA records are found for a host, as `base count` or a word.
async fn tlsa(server: &NameServer, host: &str) -> String {
    match server.resolver().host(&domain(host), Some(25)).await.unwrap().tlsa {
        Tlsa::None => "none".to_owned(),
        Tlsa::Records { base, usable } => format!("{base} {}", usable.len()),
        Tlsa::Unknown(error) => format!("unknown, temporary: {}", error.is_temporary()),
    }
}

#[tokio::test]
async fn records_count_where_dnssec_vouches_for_the_whole_way_to_them() {
    let server = NameServer::start([
        ("good.example", Say::Secure(vec![a("192.0.2.1"), aaaa("2001:db8::1")])),
        ("_25._tcp.good.example", Say::Secure(vec![tlsa_record(3, 1, 1), tlsa_record(0, 1, 1)])),
        ("unusable.example", Say::Secure(vec![a("192.0.2.1")])),
        ("_25._tcp.unusable.example", Say::Secure(vec![tlsa_record(1, 1, 1)])),
        ("plain.example", Say::Records(vec![a("192.0.2.1")])),
        ("_25._tcp.plain.example", Say::Secure(vec![tlsa_record(3, 1, 1)])),
        ("loose.example", Say::Secure(vec![a("192.0.2.1")])),
        ("_25._tcp.loose.example", Say::Records(vec![tlsa_record(3, 1, 1)])),
        ("without.example", Say::Secure(vec![a("192.0.2.1")])),
        ("bogus.example", Say::Secure(vec![a("192.0.2.1")])),
        ("_25._tcp.bogus.example", Say::ServFail),
        ("stumbling.example", Say::Records(vec![a("192.0.2.1")])),
        ("_25._tcp.stumbling.example", Say::ServFail),
    ])
    .await;
    for (host, expected) in [
        ("good.example", "good.example 1"),
        ("unusable.example", "unusable.example 0"),
        ("plain.example", "none"),
        ("loose.example", "none"),
        ("without.example", "none"),
        ("bogus.example", "unknown, temporary: true"),
        ("stumbling.example", "none"),
    ] {
        assert_eq!(tlsa(&server, host).await, expected, "{host}");
    }
    assert_eq!(server.asked("_25._tcp.stumbling.example"), 0, "RFC 7672 section 2.1.3");
}

#[tokio::test]
async fn an_alias_has_the_records_of_its_end_or_its_own() {
    let server = NameServer::start([
        ("end.example", Say::Secure(vec![a("192.0.2.1")])),
        ("_25._tcp.end.example", Say::Secure(vec![tlsa_record(3, 1, 1)])),
        ("to.end.example", Say::Secure(vec![cname("end.example")])),
        ("_25._tcp.to.end.example", Say::Secure(vec![tlsa_record(2, 0, 1)])),
        ("bare.example", Say::Secure(vec![a("192.0.2.1")])),
        ("to.bare.example", Say::Secure(vec![cname("bare.example")])),
        ("_25._tcp.to.bare.example", Say::Secure(vec![tlsa_record(3, 1, 1)])),
        ("insecure.example", Say::Records(vec![a("192.0.2.1")])),
        ("_25._tcp.insecure.example", Say::Secure(vec![tlsa_record(3, 1, 1)])),
        ("to.insecure.example", Say::Secure(vec![cname("insecure.example")])),
        ("_25._tcp.to.insecure.example", Say::Secure(vec![tlsa_record(3, 1, 1)])),
        ("insecurely.to.end.example", Say::Records(vec![cname("end.example")])),
        ("_25._tcp.insecurely.to.end.example", Say::Secure(vec![tlsa_record(3, 1, 1)])),
    ])
    .await;
    for (host, expected) in [
        ("to.end.example", "end.example 1"),
        ("to.bare.example", "to.bare.example 1"),
        ("to.insecure.example", "to.insecure.example 1"),
        ("insecurely.to.end.example", "none"),
    ] {
        assert_eq!(tlsa(&server, host).await, expected, "{host} (RFC 7672 section 2.2.3)");
    }
}

#[tokio::test]
async fn dnssec_vouches_for_exchangers_or_not() {
    let server = NameServer::start([
        ("signed.example", Say::Secure(vec![mx(10, "mx.example")])),
        ("unsigned.example", Say::Records(vec![mx(10, "mx.example")])),
        ("to.unsigned.example", Say::Secure(vec![cname("unsigned.example")])),
        ("bare.example", Say::Records(vec![a("192.0.2.1")])),
    ])
    .await;
    for (name, secure) in
        [("signed.example", true), ("unsigned.example", false), ("to.unsigned.example", false), ("bare.example", true)]
    {
        assert_eq!(server.resolver().mx(&domain(name)).await.unwrap().secure, secure, "{name}");
    }
}

#[tokio::test]
async fn texts_come_in_one_piece() {
    let server =
        NameServer::start([("t.example", Say::Records(vec![txt(&["v=STSv1; ", "id=1"]), txt(&["other"])]))]).await;
    assert_eq!(server.resolver().texts("t.example").await.unwrap(), ["v=STSv1; id=1", "other"]);
    assert!(!server.resolver().texts("missing.example").await.unwrap_err().is_temporary());
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question() {
    let server = NameServer::start([("d.example", Say::RecordsFor(0, vec![mx(10, "mx.example")]))]).await;
    let (resolver, name) = (server.resolver(), domain("d.example"));
    let (one, other, third) = tokio::join!(resolver.mx(&name), resolver.mx(&name), resolver.mx(&name));
    assert!(one.is_ok() && other.is_ok() && third.is_ok());
    assert_eq!(server.asked("d.example"), 1);
}

#[tokio::test]
async fn a_name_in_use_is_asked_for_anew_before_its_answer_is_over() {
    let server = NameServer::start([("d.example", Say::RecordsFor(1, vec![mx(10, "mx.example")]))]).await;
    let (resolver, name) = (server.resolver(), domain("d.example"));
    let until = std::time::Instant::now() + Duration::from_secs(10);
    // Asked all the time, so that the last tenth of the second is not missed.
    while server.asked("d.example") < 3 {
        assert!(std::time::Instant::now() < until, "asked {} times", server.asked("d.example"));
        resolver.mx(&name).await.unwrap();
        tokio::task::yield_now().await;
    }
}
