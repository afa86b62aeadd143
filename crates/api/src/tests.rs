//! What is said arrives as it was meant, and what cannot be meant is refused by name.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use mailtier_types::{
    BodyEncoding, BounceClass, ByMode, Cause, Day, DeliverBy, DeliveryId, DomainCounts, Egress, EnhancedCode, Envelope,
    EnvelopeId, Epoch, EventDetail, Group, Mailbox, MessageId, Notify, Options, OriginalRecipient, Outcome,
    PolicyCounts, ReceivedTlsReport, RecipientRequest, RemoteHost, ReplicaId, Reply, Return, ReversePath, ShardId,
    SliceReport, SliceWish, Stage, TenantId, Timestamp, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind,
    Transcript, Trouble, TroubleKind, WorkerId,
};
use proptest::prelude::*;
use prost::Message;

use crate::error::ApiError;
use crate::peer::Hint;
use crate::submit::{BodyPart, StoredPart, Submission, SubmitFrame, Verdict, VerdictFrame};
use crate::wire;
use crate::work::{
    AvoidedSource, Dispatch, Hello, Holding, InFlight, Inquire, PoolCredit, QueueFrame, Settled, Welcome, WorkResult,
    WorkerFrame,
};

/// Over the wire and back.
fn carried<T, W>(value: T) -> Result<T, ApiError>
where
    W: From<T> + Message + Default,
    T: TryFrom<W, Error = ApiError>,
{
    W::decode(W::from(value).encode_to_vec().as_slice()).unwrap().try_into()
}

fn texts() -> impl Strategy<Value = String> {
    "[ -~äß€]{0,30}"
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn ids() -> impl Strategy<Value = i64> {
    1..i64::MAX
}

fn messages() -> impl Strategy<Value = MessageId> {
    ids().prop_map(|id| MessageId::from_i64(id).unwrap())
}

fn deliveries() -> impl Strategy<Value = DeliveryId> {
    ids().prop_map(|id| DeliveryId::from_i64(id).unwrap())
}

fn times() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

/// Of every shape: plain, quoted, literal, international.
fn mailboxes() -> impl Strategy<Value = Mailbox> {
    let local =
        prop_oneof!["[a-z0-9]{1,8}(\\.[a-z0-9+]{1,5})?", Just("\"a @ b\"".to_owned()), Just("grüße".to_owned())];
    let domain = prop_oneof![
        "[a-z][a-z0-9]{0,8}\\.example",
        Just("[192.0.2.1]".to_owned()),
        Just("[IPv6:2001:db8::1]".to_owned()),
        Just("müller.example".to_owned())
    ];
    (local, domain).prop_map(|(local, domain)| Mailbox::parse(&format!("{local}@{domain}")).unwrap())
}

fn senders() -> impl Strategy<Value = ReversePath> {
    prop_oneof![Just(ReversePath::Null), mailboxes().prop_map(ReversePath::Mailbox)]
}

fn options() -> impl Strategy<Value = Options> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(texts()));
    let numbers = (any::<u64>(), any::<u32>(), 0..4096_u16, times());
    (flags, numbers, texts(), texts(), texts(), texts()).prop_map(
        |((eight_bit, smtputf8, is_zstd, traceparent), (size_bytes, chunks, fanout, received_at), a, b, c, d)| {
            Options {
                eight_bit,
                smtputf8,
                // An empty one is none.
                traceparent: traceparent.filter(|text| !text.is_empty()),
                received_at,
                client_address: a,
                client_helo: b,
                protocol: c,
                header_message_id: d,
                size_bytes,
                encoding: if is_zstd { BodyEncoding::Zstd } else { BodyEncoding::Identity },
                chunks,
                fanout,
                ..Options::default()
            }
        },
    )
}

/// What a sender may ask for.
fn asked() -> impl Strategy<Value = Options> {
    let original = ("[a-z0-9-]{1,8}", "[!-~äß]{1,30}")
        .prop_map(|(kind, address)| OriginalRecipient::new(&kind, &address).unwrap());
    let notify = any::<(bool, bool, bool)>().prop_map(|(success, failure, delay)| Notify { success, failure, delay });
    let requests = (mailboxes(), proptest::option::of(notify), proptest::option::of(original))
        .prop_map(|(recipient, notify, original)| RecipientRequest { recipient, notify, original });
    let by = (times(), any::<bool>(), any::<bool>()).prop_map(|(at, is_returned, trace)| DeliverBy {
        at,
        mode: if is_returned { ByMode::Return } else { ByMode::Notify },
        trace,
    });
    let ret = proptest::option::of(proptest::sample::select(vec![Return::Full, Return::Headers]));
    let id = proptest::option::of("[ -~]{1,30}".prop_map(|text| EnvelopeId::new(&text).unwrap()));
    let extras = (ret, id, proptest::collection::vec(requests, 0..3), proptest::option::of(by));
    (options(), extras, any::<(bool, bool, bool)>(), proptest::option::of(ids()), texts()).prop_map(
        |(options, (ret, envelope_id, requests, deliver_by), (binary, require_tls, tls_optional), release_at, user)| {
            Options {
                ret,
                envelope_id,
                requests,
                deliver_by,
                binary,
                require_tls,
                tls_optional,
                release_at: release_at.map(Timestamp::from_micros),
                tls: user.clone(),
                user,
                ..options
            }
        },
    )
}

fn stages() -> impl Strategy<Value = Stage> {
    proptest::sample::select(vec![
        Stage::Resolve,
        Stage::Connect,
        Stage::Banner,
        Stage::Ehlo,
        Stage::StartTls,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Final,
    ])
}

fn causes() -> impl Strategy<Value = Cause> {
    let kinds = proptest::sample::select(vec![
        TroubleKind::DnsTemporary,
        TroubleKind::NoSuchDomain,
        TroubleKind::NullMx,
        TroubleKind::Connect,
        TroubleKind::Timeout,
        TroubleKind::Closed,
        TroubleKind::Tls,
        TroubleKind::Protocol,
        TroubleKind::Conversion,
        TroubleKind::Smtputf8,
        TroubleKind::Loop,
        TroubleKind::Login,
        TroubleKind::Held,
        TroubleKind::Local,
    ]);
    let status = proptest::option::of((0..999_u16, 0..999_u16).prop_map(|(s, d)| EnhancedCode::new(4, s, d)));
    prop_oneof![
        (200..600_u16, status, texts())
            .prop_map(|(code, status, text)| Cause::Reply(Reply::received(code, status, text))),
        (kinds, texts()).prop_map(|(kind, text)| Cause::Trouble(Trouble { kind, text })),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let host = ("[a-z]{1,9}", any::<bool>()).prop_map(|(name, has_address)| RemoteHost {
        name,
        address: has_address.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    });
    let spans = (any::<u32>(), any::<u32>(), any::<u32>());
    let tls = proptest::option::of("[A-Z0-9_]{1,9}");
    (stages(), causes(), proptest::option::of(host), tls, spans, times()).prop_map(
        |(stage, cause, remote, tls, (waiting, connecting, sending), at)| {
            let micros = |micros: u32| Duration::from_micros(micros.into());
            let (waiting, connecting, sending) = (micros(waiting), micros(connecting), micros(sending));
            let egress = tls.is_some().then(|| Egress {
                pool: "warm".into(),
                source: remote.as_ref().and_then(|host| host.address),
                has_others: sending.as_micros() % 2 == 1,
            });
            let retry_after = (waiting.as_micros() % 2 == 1).then_some(Duration::from_secs(7));
            Outcome {
                stage,
                cause,
                remote,
                tls,
                waiting,
                connecting,
                sending,
                at,
                notifies: false,
                egress,
                retry_after,
                transcript: (waiting.as_micros() % 3 == 1).then(|| Transcript::from_text("1 < 220 x\n".to_owned())),
            }
        },
    )
}

fn dispatches() -> impl Strategy<Value = Dispatch> {
    let numbers = (deliveries(), messages(), any::<u8>(), any::<i64>(), any::<u16>(), any::<i32>(), times());
    let body = proptest::option::of(proptest::collection::vec(bytes(), 0..3));
    (numbers, texts(), senders(), proptest::collection::vec(mailboxes(), 1..4), bytes(), body).prop_map(
        |(
            (delivery, message, shard, epoch, attempt, tenant, expires_at),
            destination,
            sender,
            recipients,
            options,
            body,
        )| {
            Dispatch {
                priority: -3,
                pool: "warm".into(),
                resolve_first: attempt % 2 == 1,
                delivery,
                message,
                shard: ShardId::new(shard),
                epoch: Epoch(epoch),
                attempt,
                tenant: TenantId(tenant),
                destination,
                return_path: (!sender.is_null()).then(|| ReversePath::parse("bounces+abc@back.example").unwrap()),
                return_paths: match attempt % 7 {
                    0 => recipients.iter().cloned().map(ReversePath::Mailbox).collect(),
                    _ => Vec::new(),
                },
                sender,
                recipients,
                options,
                expires_at,
                body,
                hosts: vec!["relay.example:2525".parse().unwrap(), "[2001:db8::1]:25".parse().unwrap()],
                was_held: attempt % 3 == 1,
                traceparent: (attempt % 2 == 0).then(|| "00-0af7-b7ad-01".to_owned()),
                same_source: (attempt % 5 == 1).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                avoided_sources: vec![
                    AvoidedSource {
                        address: "2001:db8::1".parse().unwrap(),
                        time: Duration::from_secs(60),
                        refused_this: attempt % 2 == 1,
                    };
                    usize::from(attempt % 3)
                ],
            }
        },
    )
}

fn results() -> impl Strategy<Value = WorkResult> {
    let groups = proptest::collection::vec((proptest::collection::vec(mailboxes(), 1..3), outcomes()), 0..3);
    (deliveries(), any::<u8>(), any::<i64>(), any::<u16>(), groups).prop_map(
        |(delivery, shard, epoch, attempt, outcomes)| WorkResult {
            delivery,
            shard: ShardId::new(shard),
            epoch: Epoch(epoch),
            attempt,
            not_attempted: outcomes.is_empty(),
            exchanger: outcomes.is_empty().then(|| "mx.b.example".to_owned()),
            own_way: attempt % 2 == 1,
            outcomes,
        },
    )
}

fn policy_counts() -> impl Strategy<Value = PolicyCounts> {
    let address = || proptest::option::of(any::<u32>().prop_map(|number| IpAddr::V4(Ipv4Addr::from(number))));
    let fault = proptest::sample::select(TlsFault::ALL.to_vec());
    let failure = (fault, address(), texts(), address(), texts(), any::<u64>()).prop_map(
        |(fault, sending_address, host, host_address, reason, sessions)| {
            (TlsFailure { fault, sending_address, host, host_address, reason }, sessions)
        },
    );
    let kind = proptest::sample::select(TlsPolicyKind::ALL.to_vec());
    let texts = || proptest::collection::vec(texts(), 0..3);
    (kind, texts(), texts(), any::<u64>(), proptest::collection::vec(failure, 0..3)).prop_map(
        |(kind, lines, hosts, successes, failures)| PolicyCounts {
            policy: TlsPolicyFound { kind, lines, hosts },
            successes,
            failures,
        },
    )
}

fn tls_reports() -> impl Strategy<Value = ReceivedTlsReport> {
    (policy_counts(), texts(), texts(), times(), times()).prop_map(|(counts, organization, id, begins_at, ends_at)| {
        ReceivedTlsReport { organization, id, begins_at, ends_at, domain: "d.example".to_owned(), counts }
    })
}

fn shards() -> impl Strategy<Value = Vec<(ShardId, Epoch)>> {
    let shard = (any::<u8>(), any::<i64>()).prop_map(|(shard, epoch)| (ShardId::new(shard), Epoch(epoch)));
    proptest::collection::vec(shard, 0..4)
}

proptest! {
    #[test]
    fn a_worker_is_understood(
        results in proptest::collection::vec(results(), 0..3),
        shards in shards(),
        held in proptest::collection::vec((deliveries(), any::<u16>(), any::<Option<u8>>()), 0..3),
        (credit, name, speaks) in (any::<u32>(), texts(), any::<bool>()),
    ) {
        let held = held.into_iter().map(|(delivery, attempt, shard)| (delivery, attempt, shard.map(ShardId::new)));
        let in_flight = held.map(|(delivery, attempt, shard)| InFlight { delivery, attempt, shard }).collect();
        let frame = WorkerFrame {
            hello: speaks.then(|| Hello { worker: WorkerId::random(), name, pools: vec!["default".into(), "warm".into()] }),
            credit,
            pool_credits: vec![PoolCredit { pool: "warm".into(), credit }],
            results,
            holding: Some(Holding { shards, in_flight }),
        };
        prop_assert_eq!(carried::<_, wire::WorkerFrame>(frame.clone()), Ok(frame));
    }

    #[test]
    fn a_queue_is_understood(
        dispatches in proptest::collection::vec(dispatches(), 0..3),
        shards in shards(),
        settled in proptest::collection::vec((deliveries(), any::<u16>()), 0..3),
        (draining, name) in (any::<bool>(), texts()),
    ) {
        let frame = QueueFrame {
            welcome: Some(Welcome { replica: ReplicaId::random(), name }),
            dispatches,
            settled: settled.into_iter().map(|(delivery, attempt)| Settled { delivery, attempt }).collect(),
            inquire: Some(Inquire { shards }),
            draining,
        };
        prop_assert_eq!(carried::<_, wire::QueueFrame>(frame.clone()), Ok(frame));
    }

    #[test]
    fn what_sessions_came_to_is_understood(
        policies in proptest::collection::vec(policy_counts(), 0..3),
        (day, destinations) in (any::<i32>(), proptest::collection::vec(texts(), 0..3)),
    ) {
        let counts =
            DomainCounts { day: Day::new(day), domain: "d.example".to_owned(), destinations, policies };
        let wire = wire::DomainCounts::from(&counts);
        prop_assert_eq!(DomainCounts::try_from(wire::DomainCounts::decode(&*wire.encode_to_vec()).unwrap()), Ok(counts));
    }

    #[test]
    fn a_submitter_is_understood(
        (id, resubmission, parts) in (messages(), any::<bool>(), any::<u32>()),
        (sender, recipients) in (senders(), proptest::collection::vec(mailboxes(), 1..4)),
        (tenant, priority, options) in (any::<i32>(), any::<i16>(), asked()),
        (body, data, seq, screened, report) in (bytes(), bytes(), any::<u32>(), any::<bool>(), any::<bool>()),
    ) {
        let envelope = Envelope { sender, recipients, tenant: TenantId(tenant), priority, options };
        let frame = SubmitFrame {
            submissions: vec![Submission { id, resubmission, envelope, body, parts, screened, report }],
            parts: vec![BodyPart { id, seq, data }],
            aborted: vec![id],
        };
        prop_assert_eq!(carried::<_, wire::SubmitFrame>(frame.clone()), Ok(frame));
    }

    #[test]
    fn what_a_replica_has_and_needs_is_understood(
        (view, term, sequence, is_whole) in (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()),
        group in prop_oneof![
            any::<i32>().prop_map(|tenant| Group::Tenant(TenantId(tenant))),
            texts().prop_map(Group::Provider),
            texts().prop_map(Group::Pool),
        ],
        (concurrency, interval_us) in (any::<Option<u32>>(), proptest::option::of(1_i64..)),
        (holds, in_use, wanted, unused) in (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()),
    ) {
        let wishes = vec![SliceWish { group, concurrency, interval_us, holds, in_use, wanted, unused }];
        let report = SliceReport { replica: ReplicaId::random(), view, term, sequence, is_whole, wishes };
        prop_assert_eq!(carried::<_, wire::LeaseRequest>(report.clone()), Ok(report));
    }

    #[test]
    fn a_verdict_is_understood(id in messages(), code in 400..600_u16, text in texts(), is_yes in any::<bool>()) {
        let refusal = Reply::received(code, Some(EnhancedCode::new(4, 3, 0)), text);
        let verdict = Verdict { id, result: if is_yes { Ok(()) } else { Err(refusal) } };
        let frame = VerdictFrame { verdicts: vec![verdict], stored: vec![StoredPart { id, seq: u32::from(code) }] };
        prop_assert_eq!(carried::<_, wire::VerdictFrame>(frame.clone()), Ok(frame));
    }

    #[test]
    fn what_is_stored_is_read_again(
        options in asked(),
        outcome in outcomes(),
        (next, about, operator, reason) in (times(), messages(), "[a-z]{1,8}", "[a-z]{1,8}"),
        tls_report in proptest::option::of(tls_reports().prop_map(Box::new)),
    ) {
        prop_assert_eq!(crate::decode_options(&crate::encode_options(options.clone())), Ok(options.clone()));
        prop_assert_eq!(crate::decode_outcome(&crate::encode_outcome(outcome.clone())), Ok(outcome.clone()));
        let detail = EventDetail {
            outcome: Some(outcome),
            next_attempt_at: Some(next),
            options: Some(options),
            dsn_about: Some(about),
            dsn: Some(about),
            operator: Some(operator),
            reason: Some(reason),
            hosts: vec!["relay.example:2525".to_owned()],
            class: Some(BounceClass::Greylisted),
            report: Some(about),
            source_avoided_until: Some(next),
            tls_report,
        };
        prop_assert_eq!(crate::decode_detail(&crate::encode_detail(detail.clone())), Ok(detail));
    }

    /// Whatever arrives is understood or refused; nothing else happens.
    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = crate::decode_options(&noise);
        let _ = crate::decode_outcome(&noise);
        let _ = crate::decode_detail(&noise);
        let _ = wire::WorkerFrame::decode(noise.as_slice()).map(WorkerFrame::try_from);
        let _ = wire::QueueFrame::decode(noise.as_slice()).map(QueueFrame::try_from);
        let _ = wire::SubmitFrame::decode(noise.as_slice()).map(SubmitFrame::try_from);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let reason = |refused: Result<Hint, ApiError>| match refused {
        Err(ApiError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    let hint = wire::Hint { delivery_id: 1, ..wire::Hint::default() };
    assert!(Hint::try_from(hint.clone()).is_ok());
    assert!(reason(wire::Hint { delivery_id: 0, ..hint.clone() }.try_into()).contains("delivery"));
    assert!(reason(wire::Hint { priority: 1 << 20, ..hint }.try_into()).contains("priority"));

    let dispatch =
        wire::Dispatch { delivery_id: 1, message_id: 1, recipients: vec!["a@b.example".into()], ..Default::default() };
    let reason = |dispatch: wire::Dispatch| match Dispatch::try_from(dispatch) {
        Err(ApiError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(Dispatch::try_from(dispatch.clone()).is_ok());
    assert_eq!(Dispatch::try_from(dispatch.clone()).unwrap().pool, "default");
    assert!(reason(wire::Dispatch { pool: "x".repeat(65), ..dispatch.clone() }).contains("pool"));
    assert!(reason(wire::Dispatch { shard: 256, ..dispatch.clone() }).contains("shard"));
    assert!(reason(wire::Dispatch { attempt: 1 << 16, ..dispatch.clone() }).contains("attempt"));
    assert!(reason(wire::Dispatch { recipients: vec!["nobody".into()], ..dispatch.clone() }).contains("recipient"));
    assert!(reason(wire::Dispatch { sender: "no body".into(), ..dispatch }).contains("sender"));
}
