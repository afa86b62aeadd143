//! What operators look at: filters, and calls that look at a bounded number of deliveries.

use std::time::{Duration, SystemTime};

use mailtier_api::ApiError;
use mailtier_api::admin::{AdminClient, ListReply, ListRequest};
use mailtier_api::filter::{AddressPattern, DeliveryState, Filter, ReplyCode};
use mailtier_api::work::{Dispatch, WorkResult};
use mailtier_config::{Config, ProviderConfig};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{Domain, MessageId, Outcome, RemoteHost, TenantId, Timestamp};

use crate::submitter::{Submitter, submission};
use crate::system::{Replica, usual};
use crate::worker::{Worker, outcome, result};

/// Exchangers below mx.big.example are big's.
fn with_provider(config: &mut Config) {
    config.queue.providers =
        vec![ProviderConfig { name: "big".into(), exchangers: vec!["mx.big.example".into()], ..Default::default() }];
}

/// What this exchanger says.
fn said_by(dispatch: &Dispatch, exchanger: &str, code: u16) -> WorkResult {
    let remote = Some(RemoteHost { name: exchanger.to_owned(), address: None });
    result(dispatch, vec![(dispatch.recipients.clone(), Outcome { remote, ..outcome(code) })])
}

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
    let (_database, replica) = usual(with_provider).await;
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
