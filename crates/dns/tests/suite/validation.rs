//! Validation of our own over real zones: what is signed, what is not, what is broken, and what attackers try.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mailtier_dns::{DnsError, MxAnswer, Resolver, Tlsa, TrustAnchors};

use crate::domain;
use crate::meddler::{Meddler, put};
use crate::tree::Tree;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Names with an exchanger, an address and a TLSA record each.
const NAMES: [&str; 18] = [
    "direct.test",
    "signed.test",
    "a.b.c.signed.test",
    "sub.signed.test",
    "plain.test",
    "a.b.c.plain.test",
    "sub.plain.test",
    "a.b.sub.plain.test",
    "deep.empty.test",
    "a.b.deep.empty.test",
    "bogus.test",
    "a.b.bogus.test",
    "odd.test",
    "costly.test",
    "hashed.test",
    "plain.hashed.test",
    "a.deep.empty.hashed.test",
    "signed.hashed.test",
];

fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    for name in NAMES {
        lines.push(format!("{name}. MX 10 mx.{name}."));
        lines.push(format!("mx.{name}. A 127.0.0.1"));
        lines.push(format!("_25._tcp.mx.{name}. TLSA 3 1 1 {}", "07".repeat(32)));
        lines.push(format!("bare.{name}. TXT \"no exchanger\""));
    }
    for (zone, number) in ["signed.test", "plain.test"].into_iter().flat_map(|zone| (0..90).map(move |n| (zone, n))) {
        lines.push(format!("large.{zone}. MX {number} a-rather-long-name-of-host-number-{number}.{zone}."));
    }
    lines.push(format!("{}. MX 10 mx.signed.test.", deep_name()));
    let others = [
        "to.plain.signed.test. CNAME plain.test.",
        "to.signed.plain.test. CNAME signed.test.",
        "to.bogus.plain.test. CNAME bogus.test.",
        "to.bogus.signed.test. CNAME bogus.test.",
        "to.signed.test. CNAME direct.test.",
        "twice.signed.test. CNAME to.hashed.test.",
        "to.hashed.test. CNAME signed.test.",
        "to-nowhere.signed.test. CNAME nowhere.direct.test.",
        "to-nowhere.hashed.test. CNAME nowhere.signed.test.",
        "*.wild.signed.test. MX 10 mx.signed.test.",
        "*.wild.hashed.test. MX 10 mx.signed.test.",
        "*.alias.signed.test. CNAME direct.test.",
        "real.wild.signed.test. MX 20 mx.signed.test.",
        "*.texts.signed.test. TXT \"no exchanger\"",
        "*.texts.hashed.test. TXT \"no exchanger\"",
        "renamed.signed.test. DNAME direct.test.",
        "x.direct.test. MX 10 mx.direct.test.",
    ];
    lines.extend(others.map(str::to_owned));
    lines
}

/// As deep as names get.
fn deep_name() -> String {
    format!("{}signed.test", "x.".repeat(110))
}

async fn tree() -> Tree {
    Tree::start(&lines()).await
}

fn validating(tree: &Tree, server: SocketAddr) -> Resolver {
    Resolver::validating(&[server], TIMEOUT, TrustAnchors::from_file(&tree.anchors[0]).unwrap()).unwrap()
}

/// What is known of a name's exchangers, in a word.
async fn word(resolver: &Resolver, name: &str) -> &'static str {
    match resolver.mx(&domain(name)).await {
        Ok(mx) => match (mx.answer, mx.secure) {
            (MxAnswer::Implicit, _) => "none",
            (_, true) => "secure",
            (_, false) => "insecure",
        },
        Err(DnsError::NoSuchDomain { .. }) => "missing",
        Err(error @ DnsError::Bogus { .. }) => {
            assert!(error.is_temporary(), "nothing bounces for it: {error}");
            assert!(error.to_string().starts_with("DNSSEC validation of MX of "), "{error}");
            "bogus"
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// The same of a host's TLSA records.
async fn tlsa(resolver: &Resolver, host: &str) -> &'static str {
    match resolver.host(&domain(host), Some(25)).await {
        Ok(host) => match host.tlsa {
            Tlsa::None => "none",
            Tlsa::Records { .. } => "records",
            Tlsa::Unknown(error) if error.is_temporary() => "unknown",
            Tlsa::Unknown(error) => panic!("{error}"),
        },
        Err(DnsError::Bogus { .. }) => "bogus",
        Err(error) => panic!("{host}: {error}"),
    }
}

#[tokio::test]
async fn what_is_signed_is_secure_what_is_shown_to_be_unsigned_is_not_and_the_rest_is_bogus() {
    let tree = tree().await;
    let resolver = validating(&tree, tree.resolver);
    let rows = [
        ("direct.test", "secure", "records"),
        ("signed.test", "secure", "records"),
        ("a.b.c.signed.test", "secure", "records"),
        ("sub.signed.test", "secure", "records"),
        ("plain.test", "insecure", "none"),
        ("a.b.c.plain.test", "insecure", "none"),
        ("sub.plain.test", "insecure", "none"),
        ("a.b.sub.plain.test", "insecure", "none"),
        ("deep.empty.test", "insecure", "none"),
        ("a.b.deep.empty.test", "insecure", "none"),
        ("bogus.test", "bogus", "bogus"),
        ("a.b.bogus.test", "bogus", "bogus"),
        ("odd.test", "insecure", "none"),
        // RFC 9276 section 3.2: what such a zone denies, that one of its names begins another zone, counts for nothing.
        ("costly.test", "secure", "none"),
        ("hashed.test", "secure", "records"),
        ("plain.hashed.test", "insecure", "none"),
        ("a.deep.empty.hashed.test", "insecure", "none"),
        ("signed.hashed.test", "secure", "records"),
    ];
    assert_eq!(rows.map(|(name, ..)| name), NAMES);
    for (name, exchangers, records) in rows {
        assert_eq!(word(&resolver, name).await, exchangers, "{name}");
        assert_eq!(tlsa(&resolver, &format!("mx.{name}")).await, records, "mx.{name}");
    }
    for (name, expected) in [
        ("bare.signed.test", "none"),
        ("bare.hashed.test", "none"),
        ("bare.plain.test", "none"),
        ("empty.test", "none"),
        ("c.signed.test", "none"),
        ("nowhere.test", "missing"),
        ("nowhere.signed.test", "missing"),
        ("far.from.nowhere.signed.test", "missing"),
        ("nowhere.hashed.test", "missing"),
        ("nowhere.signed.hashed.test", "missing"),
        ("nowhere.plain.test", "missing"),
        ("nowhere.costly.test", "missing"),
        ("nowhere.bogus.test", "bogus"),
        ("bare.bogus.test", "bogus"),
        ("to.plain.signed.test", "insecure"),
        ("to.signed.plain.test", "insecure"),
        ("to.bogus.plain.test", "bogus"),
        ("to.bogus.signed.test", "bogus"),
        ("to.signed.test", "secure"),
        ("twice.signed.test", "secure"),
        ("to-nowhere.signed.test", "missing"),
        ("to-nowhere.hashed.test", "missing"),
        ("any.wild.signed.test", "secure"),
        ("x.y.wild.signed.test", "secure"),
        ("real.wild.signed.test", "secure"),
        ("any.alias.signed.test", "secure"),
        ("any.texts.signed.test", "none"),
        ("any.texts.hashed.test", "none"),
        ("x.y.texts.signed.test", "none"),
        ("x.y.texts.hashed.test", "none"),
        ("z.c.signed.test", "missing"),
        ("a.c.signed.test", "missing"),
        ("z.empty.test", "missing"),
        ("a.empty.test", "missing"),
        ("a.empty.hashed.test", "missing"),
        ("0.signed.test", "missing"),
        ("zzz.signed.test", "missing"),
        ("below.mx.signed.test", "missing"),
        ("below.bare.hashed.test", "missing"),
        ("renamed.signed.test", "none"),
        ("x.renamed.signed.test", "secure"),
    ] {
        assert_eq!(word(&resolver, name).await, expected, "{name}");
    }
    for (name, secure) in [("large.signed.test", true), ("large.plain.test", false)] {
        let mx = resolver.mx(&domain(name)).await.unwrap();
        let MxAnswer::Records(records) = mx.answer else { panic!("{name}: {:?}", mx.answer) };
        assert_eq!((records.len(), mx.secure), (90, secure), "{name}, over TCP");
    }
    // RFC 5155 section 6: where a wildcard stands in for a name that an opt-out leaves open, nobody vouches for it.
    assert_eq!(word(&resolver, "any.wild.hashed.test").await, "insecure");
}

#[tokio::test]
async fn digests_anchor_as_keys_do_and_others_do_not() {
    let tree = tree().await;
    let with = |anchors| Resolver::validating(&[tree.resolver], TIMEOUT, anchors).unwrap();
    let by_digest = with(TrustAnchors::from_file(&tree.anchors[1]).unwrap());
    for (name, expected) in [("signed.test", "secure"), ("plain.test", "insecure"), ("bogus.test", "bogus")] {
        assert_eq!(word(&by_digest, name).await, expected, "{name}");
    }
    // The keys of the world's root are not those of this one.
    let foreign = with(TrustAnchors::default());
    for name in ["signed.test", "plain.test"] {
        let error = foreign.mx(&domain(name)).await.unwrap_err();
        assert!(error.to_string().contains("the root does not carry signatures of a trust anchor"), "{error}");
    }
}

#[tokio::test]
async fn few_questions_are_asked_and_none_below_an_unsigned_delegation_but_the_one() {
    let tree = tree().await;
    let meddler = Meddler::start(tree.resolver, Some).await;
    let resolver = validating(&tree, meddler.address);
    assert_eq!(word(&resolver, "plain.test").await, "insecure");
    let first = meddler.questions();
    assert!(first <= 5, "the root's keys, two delegations, the keys of test, and the question itself: {first}");
    assert_eq!(word(&resolver, "a.b.sub.plain.test").await, "insecure");
    assert_eq!(meddler.questions(), first + 1);
    assert!(!meddler.was_asked("sub.plain.test", RecordType::DS), "name servers of unsigned zones stumble over it");
    let before = meddler.questions();
    assert_eq!(word(&resolver, &deep_name()).await, "secure");
    let deep = meddler.questions() - before;
    assert!(deep <= 30, "a stranger's name does not choose how much is asked: {deep}");
}

#[tokio::test]
async fn a_resolver_that_drops_signatures_gives_nothing_that_could_be_believed() {
    let tree = tree().await;
    let strip = |mut answer: Message| {
        let is_plain = |kind: RecordType| !matches!(kind, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3);
        answer.answers.retain(|record| is_plain(record.record_type()));
        answer.authorities.retain(|record| is_plain(record.record_type()));
        Some(answer)
    };
    let meddler = Meddler::start(tree.resolver, strip).await;
    let resolver = validating(&tree, meddler.address);
    for name in ["signed.test", "plain.test"] {
        assert_eq!(word(&resolver, name).await, "bogus", "{name}");
        let error = resolver.mx(&domain(name)).await.unwrap_err().to_string();
        assert!(error.contains("do not pass on DNSSEC's records"), "{error}");
    }
}

#[tokio::test]
async fn signatures_missing_below_a_zone_are_told_with_its_name_and_hold_nobody_else_up() {
    let tree = tree().await;
    let strip = |mut answer: Message| {
        let below = name("signed.test");
        if below.zone_of(answer.queries[0].name()) && answer.queries[0].query_type() != RecordType::DS {
            answer.answers.retain(|record| record.record_type() != RecordType::RRSIG);
        }
        Some(answer)
    };
    let meddler = Meddler::start(tree.resolver, strip).await;
    let resolver = validating(&tree, meddler.address);
    let error = resolver.mx(&domain("signed.test")).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "DNSSEC validation of MX of signed.test failed: it does not carry valid signatures of signed.test"
    );
    for (name, expected) in [("direct.test", "secure"), ("plain.test", "insecure"), ("hashed.test", "secure")] {
        assert_eq!(word(&resolver, name).await, expected, "{name}");
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

/// What a resolver says, with everything that DNSSEC needs.
async fn answer(resolver: SocketAddr, of: &str, kind: RecordType) -> Message {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    let mut edns = Edns::new();
    edns.enable_dnssec();
    edns.set_max_payload(4096);
    question.add_query(Query::query(name(of), kind)).set_edns(edns);
    question.metadata.recursion_desired = true;
    Message::from_vec(&put(resolver, &question.to_vec().unwrap()).await).unwrap()
}

/// Answers the question for one kind of record of one name as `change` says.
async fn on_the_way(
    tree: &Tree,
    of: &'static str,
    kind: RecordType,
    change: impl Fn(&mut Message) + Send + Sync + 'static,
) -> (Meddler, Resolver) {
    let meddler = Meddler::start(tree.resolver, move |mut answer| {
        if *answer.queries[0].name() == name(of) && answer.queries[0].query_type() == kind {
            change(&mut answer);
        }
        Some(answer)
    });
    let meddler = meddler.await;
    let resolver = validating(tree, meddler.address);
    (meddler, resolver)
}

/// Says another answer instead, under the name that was asked for.
fn pass_off(other: Message) -> impl Fn(&mut Message) + Send + Sync {
    move |answer| {
        let (asked, meant) = (answer.queries[0].name().clone(), other.queries[0].name().clone());
        answer.metadata.response_code = other.metadata.response_code;
        answer.authorities = other.authorities.clone();
        answer.answers = other.answers.clone();
        for record in answer.answers.iter_mut().filter(|record| record.name == meant) {
            record.name = asked.clone();
        }
    }
}

#[tokio::test]
async fn what_an_attacker_says_in_place_of_signed_records_is_bogus() {
    let tree = tree().await;
    let forge = |answer: &mut Message| {
        for record in &mut answer.answers {
            if let RData::MX(mx) = &mut record.data {
                mx.exchange = name("mx.plain.test");
            }
        }
    };
    let deny = |answer: &mut Message| {
        answer.metadata.response_code = ResponseCode::NXDomain;
        answer.answers.clear();
    };
    let mx = RecordType::MX;
    let others = |of, kind| answer(tree.resolver, of, kind);
    let tries = [
        ("other records", on_the_way(&tree, "signed.test", mx, forge).await),
        ("nothing", on_the_way(&tree, "signed.test", mx, deny).await),
        (
            "the denial of another name",
            on_the_way(&tree, "signed.test", mx, pass_off(others("nowhere.signed.test", mx).await)).await,
        ),
        (
            "the denial of an unsigned name",
            on_the_way(&tree, "signed.test", mx, pass_off(others("nowhere.plain.test", mx).await)).await,
        ),
        (
            "that another zone is unsigned",
            on_the_way(&tree, "signed.test", RecordType::DS, pass_off(others("plain.test", RecordType::DS).await))
                .await,
        ),
    ];
    for (what, (_meddler, resolver)) in tries {
        assert_eq!(word(&resolver, "signed.test").await, "bogus", "{what}");
    }
    let wildcard = pass_off(others("any.wild.signed.test", mx).await);
    let (_meddler, resolver) = on_the_way(&tree, "real.wild.signed.test", mx, wildcard).await;
    assert_eq!(word(&resolver, "real.wild.signed.test").await, "bogus", "RFC 4035 section 5.3.4: a wildcard");
}

#[tokio::test]
async fn an_attacker_cannot_hide_what_is_said_of_certificates() {
    let tree = tree().await;
    let place = "_25._tcp.mx.signed.test";
    let of_unsigned = answer(tree.resolver, "_26._tcp.mx.plain.test", RecordType::TLSA).await;
    let of_another = answer(tree.resolver, "_26._tcp.mx.signed.test", RecordType::TLSA).await;
    for (what, other) in [("an unsigned denial", of_unsigned), ("that of another port", of_another)] {
        let (_meddler, resolver) = on_the_way(&tree, place, RecordType::TLSA, pass_off(other)).await;
        assert_eq!(tlsa(&resolver, "mx.signed.test").await, "unknown", "{what}");
    }
    let fail = |answer: &mut Message| {
        answer.metadata.response_code = ResponseCode::ServFail;
        answer.answers.clear();
    };
    for kind in [RecordType::TLSA, RecordType::DS] {
        let (_meddler, resolver) = on_the_way(&tree, place, kind, fail).await;
        let expected = if kind == RecordType::DS { "records" } else { "unknown" };
        assert_eq!(tlsa(&resolver, "mx.signed.test").await, expected, "{kind} fails");
    }
}

#[tokio::test]
async fn an_opt_out_of_the_zone_above_does_not_reach_into_a_signed_zone() {
    let tree = tree().await;
    let mut hashes: Vec<Name> = Vec::new();
    let mut all: Vec<Record> = Vec::new();
    for number in 0..40 {
        for record in answer(tree.resolver, &format!("x{number}.hashed.test"), RecordType::DS).await.authorities {
            if record.record_type() == RecordType::NSEC3 && !hashes.contains(&record.name) {
                hashes.push(record.name.clone());
            }
            all.push(record);
        }
    }
    assert!(hashes.len() > 3, "some of them covers any name: {hashes:?}");
    // Each on its own, since nobody says which one covers the name; with the signed zone shown to be there, and hidden.
    for (hash, hidden) in hashes.iter().flat_map(|hash| [(hash, false), (hash, true)]) {
        let mut covering: Vec<_> = all.iter().filter(|record| record.name == *hash).cloned().collect();
        covering.dedup();
        covering.truncate(2);
        let meddler = Meddler::start(tree.resolver, move |mut answer| {
            let asked = answer.queries[0].clone();
            if asked.query_type() == RecordType::DS && name("signed.hashed.test").zone_of(asked.name()) {
                let is_zone = *asked.name() == name("signed.hashed.test");
                if is_zone && hidden {
                    answer.metadata.response_code = ResponseCode::ServFail;
                    answer.answers.clear();
                } else if !is_zone {
                    answer.metadata.response_code = ResponseCode::NoError;
                    answer.answers.clear();
                    answer.authorities = covering.clone();
                }
            }
            Some(answer)
        });
        let meddler = meddler.await;
        let resolver = validating(&tree, meddler.address);
        let expected: &[_] = if hidden { &["bogus", "unknown"] } else { &["records"] };
        let found = tlsa(&resolver, "mx.signed.hashed.test").await;
        assert!(expected.contains(&found), "{hash}, hidden {hidden}: {found}");
        assert!(meddler.was_asked("mx.signed.hashed.test", RecordType::DS));
    }
}

#[tokio::test]
async fn a_resolver_that_falls_silent_costs_a_bounded_time() {
    let tree = tree().await;
    let meddler =
        Meddler::start(tree.resolver, |answer| (answer.queries[0].query_type() != RecordType::DS).then_some(answer));
    let meddler = meddler.await;
    let anchors = TrustAnchors::from_file(&tree.anchors[0]).unwrap();
    let resolver = Resolver::validating(&[meddler.address], Duration::from_millis(200), anchors).unwrap();
    let begun = std::time::Instant::now();
    let error = resolver.mx(&domain("signed.test")).await.unwrap_err();
    assert!(matches!(error, DnsError::Temporary { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_resolver_that_refuses_is_told_as_such() {
    let tree = tree().await;
    let refuse = |mut answer: Message| {
        answer.metadata.response_code = ResponseCode::Refused;
        answer.answers.clear();
        Some(answer)
    };
    let meddler = Meddler::start(tree.resolver, refuse).await;
    for anchors in &tree.anchors {
        let anchors = TrustAnchors::from_file(anchors).unwrap();
        let resolver = Resolver::validating(&[meddler.address], TIMEOUT, anchors).unwrap();
        let error = resolver.mx(&domain("signed.test")).await.unwrap_err();
        assert!(matches!(error, DnsError::Temporary { .. }), "{error:?}");
        assert!(error.to_string().starts_with("looking up DNSKEY of . failed: "), "{error}");
    }
}
