//! What operators look at: filters, and calls that look at a bounded number of deliveries.

use std::time::{Duration, SystemTime};

use mailtier_api::ApiError;
use mailtier_api::admin::{AdminClient, ListReply, ListRequest, Shown, TraceBy, TraceReply, TraceRequest};
use mailtier_api::counts::{CountRequest, Group, GroupBy, Groups};
use mailtier_api::filter::{AddressPattern, DeliveryState, Filter, ReplyCode};
use mailtier_api::overview::Overview;
use mailtier_config::{PoolConfig, PoolRuleConfig};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{Domain, EventKind, MessageId, TenantId, Timestamp, WorkerId};

use crate::submitter::{Submitter, submission};
use crate::system::{Replica, another, until_shared, usual, with_provider};
use crate::worker::{Manner, Worker, said_by};

async fn list(admin: &AdminClient, filter: &Filter, after: i64, limit: u32) -> ListReply {
    admin.list(ListRequest { after, limit, filter: filter.clone() }).await.unwrap()
}

async fn found(admin: &AdminClient, change: impl FnOnce(&mut Filter)) -> Vec<String> {
    let mut filter = Filter::default();
    change(&mut filter);
    let page = list(admin, &filter, 0, 100).await;
    assert_eq!(page.next, 0);
    page.deliveries.into_iter().map(|delivery| delivery.destination).collect()
}

/// Three messages: never attempted, deferred by big, deferred elsewhere; in this order.
async fn some_mail(replica: &Replica) -> Vec<MessageId> {
    let (mut submitter, mut worker) = (Submitter::connect(replica).await, Worker::connect(replica).await);
    let mut ids = vec![submitter.accepted("s@a.example", &["x@big.example"]).await];
    let first = worker.dispatch().await;
    worker.report(said_by(&first, "one.mx.big.example", 451)).await;
    let mut other = submission("", &["x@small.example", "y@small.example"]);
    (other.envelope.tenant, other.envelope.options.size_bytes) = (TenantId(7), 5000);
    ids.push(other.id);
    assert_eq!(submitter.submit(other).await.result, Ok(()));
    let second = worker.dispatch().await;
    worker.report(said_by(&second, "mx.small.example", 421)).await;
    drop(worker);
    ids.push(submitter.accepted("s@a.example", &["X@new.example"]).await);
    ids
}

#[tokio::test]
async fn a_filter_means_what_fits_all_of_it() {
    let (_database, replica) = usual(|config| with_provider(config, None)).await;
    let ids = some_mail(&replica).await;
    let admin = replica.admin().await;
    let (all, none): (&[&str], &[&str]) = (&["big.example", "small.example", "new.example"], &[]);
    let hour = Duration::from_secs(3600);
    let now = Timestamp::from_system(SystemTime::now());
    assert_eq!(found(&admin, |_| {}).await, all);
    assert_eq!(found(&admin, |filter| filter.messages = vec![ids[2], ids[0]]).await, ["big.example", "new.example"]);
    assert_eq!(found(&admin, |filter| filter.tenant = Some(TenantId(7))).await, ["small.example"]);
    assert_eq!(found(&admin, |filter| filter.sender = Some(AddressPattern::Null)).await, ["small.example"]);
    let at_a = AddressPattern::sender("@A.example").ok();
    assert_eq!(found(&admin, |filter| filter.sender = at_a).await, ["big.example", "new.example"]);
    let to_y = AddressPattern::recipient("y@small.example").ok();
    assert_eq!(found(&admin, |filter| filter.recipient = to_y).await, ["small.example"]);
    assert_eq!(found(&admin, |filter| filter.destination = Domain::parse("NEW.example").ok()).await, ["new.example"]);
    assert_eq!(found(&admin, |filter| filter.provider = Some("big".into())).await, ["big.example"]);
    assert_eq!(found(&admin, |filter| filter.state = Some(DeliveryState::Waiting)).await, ["new.example"]);
    assert_eq!(found(&admin, |filter| filter.state = Some(DeliveryState::Deferred)).await, all[..2]);
    assert_eq!(found(&admin, |filter| filter.min_attempts = Some(1)).await, all[..2]);
    assert_eq!(found(&admin, |filter| filter.min_attempts = Some(2)).await, none);
    assert_eq!(found(&admin, |filter| filter.reply_text = Some("OTHER side".into())).await, all[..2]);
    assert_eq!(found(&admin, |filter| filter.reply_code = Some(ReplyCode::Code(421))).await, ["small.example"]);
    assert_eq!(found(&admin, |filter| filter.larger_than = Some(4999)).await, ["small.example"]);
    assert_eq!(found(&admin, |filter| filter.accepted_before = Some(now.before(hour))).await, none);
    assert_eq!(found(&admin, |filter| filter.accepted_since = Some(now.before(hour))).await, all);
    let unknown = Filter { provider: Some("bigg".into()), ..Filter::default() };
    let refused = admin.list(ListRequest { limit: 1, filter: unknown, after: 0 }).await.unwrap_err();
    assert!(matches!(&refused, ApiError::Invalid(text) if text.contains("did you mean `big`?")), "{refused}");
}

/// Deliveries as they are after a long night, to ten destinations, half of them of messages with an octet.
pub(crate) async fn many(database: &TestDatabase, count: u32) {
    let rows = format!(
        "INSERT INTO delivery (id, message_id, expires_at, tenant_id, shard, priority, destination, sender, recipients, \
                               options) \
         SELECT id, id, now() + interval '5 days', 0, 1, 0, 'd' || n % 10 || '.example', 's@a.example', \
                ARRAY['x@d' || n % 10 || '.example'], CASE WHEN n % 20 < 10 THEN '\\x4801' ELSE '' END::bytea \
         FROM (SELECT n, {} + n * 4194304::bigint AS id FROM generate_series(1, {count}) n) numbered",
        MessageId::first_at(Timestamp::from_secs(1_790_000_000))
    );
    database.sql(&rows).await.unwrap();
}

#[tokio::test]
async fn one_call_looks_at_a_bounded_number_and_tells_where_the_next_goes_on() {
    let (database, replica) = usual(|_| {}).await;
    many(&database, 120_000).await;
    let admin = replica.admin().await;
    let nobodys = Filter { tenant: Some(TenantId(99)), ..Filter::default() };
    let (mut after, mut looked_at, mut calls) = (0, 0, 0);
    loop {
        let page = list(&admin, &nobodys, after, 10).await;
        assert!(page.deliveries.is_empty() && page.looked_at <= 100_000, "{} were looked at", page.looked_at);
        assert!(page.next == 0 || page.next > after);
        (after, looked_at, calls) = (page.next, looked_at + page.looked_at, calls + 1);
        if after == 0 {
            break;
        }
    }
    assert!(looked_at == 120_000 && calls > 1, "{looked_at} in {calls} calls");
    // What is found is found page by page, none twice and none left out, whoever compares it.
    let by_database = Filter { destination: Domain::parse("d3.example").ok(), ..Filter::default() };
    assert_eq!(all_of(&admin, &by_database).await, 12_000);
    let compared_here = Filter { larger_than: Some(0), ..by_database };
    assert_eq!(all_of(&admin, &compared_here).await, 6_000);
}

/// How many fit a filter, asked for by pages.
async fn all_of(admin: &AdminClient, filter: &Filter) -> usize {
    let mut ids = Vec::new();
    let mut after = 0;
    loop {
        let page = list(admin, filter, after, 700).await;
        ids.extend(page.deliveries.iter().map(|delivery| delivery.delivery));
        after = page.next;
        if after == 0 {
            break;
        }
    }
    assert!(ids.is_sorted_by(|one, other| one < other));
    ids.len()
}

/// All parts of a count, added up, and how many calls it took.
async fn counted(admin: &AdminClient, filter: &Filter, by: GroupBy) -> (Vec<Group>, u32) {
    let (mut groups, mut after, mut calls) = (Groups::default(), 0, 0);
    loop {
        let request = CountRequest { filter: filter.clone(), by, after, at: None };
        let part = admin.count(request).await.unwrap();
        assert!(part.next == 0 || part.next > after);
        assert!(part.groups.len() < 10_000 + 2_000, "{} groups in one answer", part.groups.len());
        groups.add(part.groups);
        (after, calls) = (part.next, calls + 1);
        if after == 0 {
            let (groups, others) = groups.finish();
            assert_eq!(others, None);
            return (groups, calls);
        }
    }
}

#[tokio::test]
async fn what_fits_a_filter_is_counted_in_groups() {
    let (_database, replica) = usual(|config| with_provider(config, None)).await;
    some_mail(&replica).await;
    let admin = replica.admin().await;
    let (all, _) = counted(&admin, &Filter::default(), GroupBy::Nothing).await;
    assert_eq!((all[0].deliveries, all[0].recipients, all[0].by_age[0]), (3, 4, 4));
    assert!(all[0].octets > 5000);
    let deferred = Filter { state: Some(DeliveryState::Deferred), ..Filter::default() };
    let told = |groups: Vec<Group>| -> Vec<(String, u64)> {
        groups.into_iter().map(|group| (group.key, group.recipients)).collect()
    };
    let by_provider = told(counted(&admin, &deferred, GroupBy::Provider).await.0);
    assert_eq!(by_provider, [(String::new(), 2), ("big".to_owned(), 1)]);
    let by_reply = told(counted(&admin, &deferred, GroupBy::Reply).await.0);
    assert_eq!(by_reply, [("421 said the other side".to_owned(), 2), ("451 said the other side".to_owned(), 1)]);
    let nothing = Filter { tenant: Some(TenantId(99)), ..Filter::default() };
    assert_eq!(counted(&admin, &nothing, GroupBy::Destination).await, (Vec::new(), 1));
}

#[tokio::test]
async fn a_long_count_takes_several_calls_and_is_exact() {
    let (database, replica) = usual(|_| {}).await;
    many(&database, 110_000).await;
    let admin = replica.admin().await;
    let (groups, calls) = counted(&admin, &Filter::default(), GroupBy::Destination).await;
    assert!(calls > 1 && groups.len() == 10 && groups.iter().all(|group| group.deliveries == 11_000), "{groups:?}");
    database.sql("DELETE FROM delivery WHERE destination <> 'd3.example'").await.unwrap();
    database.sql("UPDATE delivery SET sender = id || '@a.example'").await.unwrap();
    // More groups than one answer may have.
    let (groups, calls) = counted(&admin, &Filter::default(), GroupBy::Sender).await;
    assert!(calls > 1 && groups.len() == 11_000, "{} groups in {calls} calls", groups.len());
}

/// Until the replica says so of itself.
async fn until_status(admin: &AdminClient, is_so: impl Fn(&Overview) -> bool) -> Overview {
    let mut rounds = tokio::time::interval(Duration::from_millis(50));
    let mut overview = Overview::default();
    for _ in 0..400 {
        rounds.tick().await;
        overview = admin.status().await.unwrap().overview;
        if is_so(&overview) {
            return overview;
        }
    }
    panic!("never so: {overview:?}");
}

#[tokio::test]
async fn a_replica_tells_how_it_stands() {
    let (_database, replica) = usual(|_| {}).await;
    let admin = replica.admin().await;
    let idle = until_status(&admin, |overview| overview.shards == 256 && overview.taking_over == 0).await;
    assert!(idle.is_dispatching && !idle.is_draining && idle.workers.is_empty() && idle.oldest_ready.is_none());
    let mut submitter = Submitter::connect(&replica).await;
    let oldest = submitter.accepted("s@a.example", &["x@b.example"]).await;
    submitter.accepted("s@a.example", &["x@c.example"]).await;
    let full = until_status(&admin, |overview| overview.ready == 2).await;
    assert_eq!((full.oldest_ready, full.in_flight), (Some(oldest.delivery(0)), 0));
    let worker = Worker::connect_as(WorkerId::random(), &replica, Manner::default()).await;
    worker.grant(1).await;
    let busy = until_status(&admin, |overview| overview.in_flight == 1).await;
    assert_eq!((busy.ready, busy.workers.len()), (1, 1));
    let known = &busy.workers[0];
    assert_eq!((known.id, known.name.as_str(), known.credit, known.in_flight), (worker.id, "a test's", 0, 1));
}

#[tokio::test]
async fn a_replica_tells_which_pools_mail_waits_for() {
    let (_database, replica) = usual(|config| {
        config.queue.pools = vec![PoolConfig { name: "special".into(), ..PoolConfig::default() }];
        let rule = PoolRuleConfig { pool: "special".into(), tenant: Some(7), ..PoolRuleConfig::default() };
        config.queue.pool_rules = vec![rule];
    })
    .await;
    let (admin, mut submitter) = (replica.admin().await, Submitter::connect(&replica).await);
    let mut other = Worker::serving(&replica, &["default"]).await;
    let mut special = submission("s@a.example", &["x@b.example"]);
    special.envelope.tenant = TenantId(7);
    submitter.submit(special).await.result.unwrap();
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    assert_eq!(other.dispatch().await.tenant, TenantId(0));
    let told = |overview: &Overview| -> Vec<(String, u64, u64, bool)> {
        let pools = overview.pools.iter();
        pools.map(|pool| (pool.name.clone(), pool.ready, pool.in_flight, pool.is_unserved)).collect()
    };
    let (default, special) = ("default".to_owned(), "special".to_owned());
    let waits = [(default.clone(), 0, 1, false), (special.clone(), 1, 0, true)];
    until_status(&admin, |overview| told(overview) == waits).await;
    let _serving = Worker::serving(&replica, &["special"]).await;
    let goes = [(default, 0, 1, false), (special, 0, 1, false)];
    until_status(&admin, |overview| told(overview) == goes).await;
}

#[tokio::test]
async fn the_map_tells_who_owns_what() {
    let (database, replica) = usual(|_| {}).await;
    let other = another(&database, |_| {}).await;
    until_shared(&database).await;
    let map = replica.admin().await.shard_map().await.unwrap();
    let mut addresses: Vec<&str> = map.replicas.iter().map(|replica| replica.address.as_str()).collect();
    addresses.sort_unstable();
    let mut expected = [replica.address.to_string(), other.address.to_string()];
    expected.sort_unstable();
    assert_eq!(addresses, expected);
    assert!(map.replicas.iter().all(|replica| replica.lease_left > Duration::ZERO));
    for replica in &map.replicas {
        let owned = map.shards.iter().filter(|shard| shard.owner.is_some_and(|(owner, _)| owner == replica.id));
        assert_eq!(owned.count(), 128);
    }
    let asked = replica.admin().await.status().await.unwrap();
    let address = map.replicas.iter().find(|known| known.id == asked.replica).unwrap().address.clone();
    assert_eq!((address, asked.overview.shards), (replica.address.to_string(), 128));
}

fn kinds(reply: &TraceReply) -> Vec<EventKind> {
    reply.events.iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn a_message_is_found_by_its_field_with_its_whole_history() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let field = "<1@a.example>";
    let mut wanted = submission("s@a.example", &["x@b.example"]);
    wanted.envelope.options.header_message_id = field.into();
    let id = wanted.id;
    submitter.submit(wanted).await.result.unwrap();
    let dispatch = worker.dispatch().await;
    worker.report(said_by(&dispatch, "mx.b.example", 451)).await;
    // The same octets in another place.
    let mut other = submission("s@a.example", &["x@c.example"]);
    (other.envelope.options.header_message_id, other.envelope.options.client_helo) =
        ("<2@a.example>".into(), field.into());
    submitter.submit(other).await.result.unwrap();
    let admin = replica.admin().await;
    let trace = |by: TraceBy, until: Option<Timestamp>| {
        let admin = admin.clone();
        async move { admin.trace(TraceRequest { by, limit: 10, since: None, until }).await }
    };
    let told = trace(TraceBy::HeaderMessageId(field.into()), None).await.unwrap();
    assert_eq!(kinds(&told), [EventKind::MessageAccepted, EventKind::AttemptDeferred]);
    assert!(told.events.iter().all(|event| event.message == id) && told.next_until.is_none());
    let outcome = told.events[1].detail.outcome.as_ref().unwrap();
    assert_eq!(outcome.remote.as_ref().unwrap().name, "mx.b.example");
    let earlier = trace(TraceBy::HeaderMessageId(field.into()), Some(id.made_at())).await.unwrap();
    assert!(earlier.events.is_empty() && earlier.looked_back_to < id.made_at());
    let of_address = trace(TraceBy::Address("s@a.example".into()), None).await.unwrap();
    assert_eq!(of_address.events.len(), 3);
    for nonsense in ["1@a.example", "<>", "<1@a.example>\n"] {
        let refused = trace(TraceBy::HeaderMessageId(nonsense.into()), None).await.unwrap_err();
        assert!(matches!(&refused, ApiError::Invalid(text) if text.contains("message_id_field")), "{refused}");
    }
}

#[tokio::test]
async fn a_header_section_is_shown_without_the_rest() {
    let (_database, replica) = usual(|_| {}).await;
    let id = Submitter::connect(&replica).await.accepted("s@a.example", &["x@b.example"]).await;
    let admin = replica.admin().await;
    let shown = admin.show(id, Shown::Headers).await.unwrap();
    assert_eq!(shown.headers.as_ref(), b"Subject: a test\r\nMessage-ID: <1@a.example>\r\n");
    assert!(shown.content.is_empty());
    let shown = admin.show(id, Shown::Nothing).await.unwrap();
    assert!(shown.headers.is_empty() && shown.content.is_empty() && shown.deliveries.len() == 1);
}
