//! Pages for schedulers: bounded whatever they find, and past what cannot be read.

use mailtier_store::{DeliveryFilter, Extras, PageBounds};
use mailtier_types::ShardId;

use crate::mail::{accept, bounds, loaded, message, open};

#[tokio::test]
async fn a_page_looks_at_so_many_whatever_it_finds() {
    let (_database, _store, mut session) = open().await;
    let mut mails: Vec<_> = (0..6).map(|_| message(&["many.example"])).collect();
    mails.push(message(&["few.example"]));
    accept(&mut session, &mails).await;
    let (few, many) = (ShardId::of("few.example"), ShardId::of("many.example"));
    let of = |place: usize| mails[place].id.delivery(0);
    let mut pages = Vec::new();
    for shard in [few, many] {
        let mut after = Some(0);
        while let Some(from) = after {
            let bounds = PageBounds { rows: 4, ..bounds(from, 3) };
            let page = session.load(bounds, &[shard], Extras::default()).await.unwrap();
            pages.push((page.deliveries.iter().map(|one| one.id).collect(), page.next));
            after = page.next.map(|id| id.as_i64());
        }
    }
    let expected: [(Vec<_>, _); 5] = [
        (vec![], Some(of(3))),
        (vec![of(6)], None),
        (vec![of(0), of(1), of(2)], Some(of(2))),
        (vec![of(3), of(4), of(5)], Some(of(5))),
        (vec![], None),
    ];
    assert_eq!(pages, expected);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other() {
    let (database, _store, mut session) = open().await;
    let mails: Vec<_> = (0..4).map(|_| message(&["one.example"])).collect();
    accept(&mut session, &mails).await;
    let ids: Vec<_> = mails.iter().map(|mail| mail.id.delivery(0)).collect();
    let damage = format!(
        "INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome) \
         VALUES ({}, now(), -1, ARRAY['a@one.example'], '')",
        ids[1].as_i64()
    );
    database.sql(&damage).await.unwrap();
    let shard = [ShardId::of("one.example")];
    let of = |places: [usize; 3]| places.map(|place| ids[place]).to_vec();
    let found: Vec<_> = loaded(&mut session, &shard).await.iter().map(|one| one.id).collect();
    assert_eq!(found, of([0, 2, 3]));
    let page = session.load(bounds(0, 2), &shard, Extras::default()).await.unwrap();
    assert_eq!((page.deliveries.len(), page.next), (1, Some(ids[1])), "the next page goes on behind it");
    let found: Vec<_> = session.fetch(&ids).await.unwrap().iter().map(|one| one.id).collect();
    assert_eq!(found, of([0, 2, 3]));
    let page = session.list(&DeliveryFilter { max_attempts: 5, ..Default::default() }, bounds(0, 100)).await.unwrap();
    assert_eq!(page.deliveries.len(), 3);
    assert!(session.show(mails[1].id).await.unwrap().is_empty());
    // Who settles takes what is missing for over: it is not left out there.
    let mut settlement = session.begin_settle().await.unwrap();
    assert!(settlement.lock(&ids).await.is_err());
}
