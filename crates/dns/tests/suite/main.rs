//! The resolver against a name server on loopback: what mail asks for, and every way a name server can fail.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod server;

use std::net::IpAddr;
use std::time::Duration;

use mailtier_dns::{DnsError, MxAnswer, Resolver};
use mailtier_types::Domain;

use crate::server::{NameServer, Say, a, aaaa, cname, mx};

/// Enough for a name server on the same machine.
const TIMEOUT: Duration = Duration::from_millis(500);

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listed(answer: MxAnswer) -> Vec<String> {
    match answer {
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
    assert_eq!(resolver.mx(&domain("null.example")).await.unwrap(), MxAnswer::Null, "RFC 7505");
    assert_eq!(resolver.mx(&domain("bare.example")).await.unwrap(), MxAnswer::Implicit, "RFC 5321 section 5.1");
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
    let dual = resolver.addresses(&domain("dual.example")).await.unwrap();
    assert_eq!(dual, [ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.2")]);
    assert_eq!(resolver.addresses(&domain("four.example")).await.unwrap(), [ip("192.0.2.3")]);
    assert_eq!(resolver.addresses(&domain("six.example")).await.unwrap(), [ip("2001:db8::3")]);
    let neither = resolver.addresses(&domain("neither.example")).await.unwrap_err();
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
        let addresses = resolver.addresses(&domain(name)).await.unwrap_err();
        assert_eq!((mx.is_temporary(), addresses.is_temporary()), (temporary, temporary), "{name}: {mx}, {addresses}");
    }
    let missing = resolver.mx(&domain("missing.example")).await.unwrap_err();
    assert_eq!(missing, DnsError::NoSuchDomain { name: "missing.example".to_owned() });
    let exists = resolver.addresses(&domain("exists.example")).await.unwrap_err();
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
    assert_eq!(resolver.addresses(&domain("half.example")).await.unwrap(), [ip("192.0.2.9")]);
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
    assert_eq!(resolver.addresses(&domain("mx.alias.example")).await.unwrap(), [ip("192.0.2.4")]);
    let circle = resolver.addresses(&domain("circle.example")).await.unwrap_err();
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
