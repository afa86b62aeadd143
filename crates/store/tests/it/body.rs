//! Bodies that nobody finished, and those that somebody just does.

use std::time::Duration;

use bytes::Bytes;

use crate::mail::{accept, connect, message, message_with_id, new_id, now, open, wait_for_a_blocked_statement};

#[tokio::test]
async fn an_upload_that_was_given_up_is_removed_unless_it_was_accepted() {
    let (_database, _store, mut session) = open().await;
    let id = new_id(1);
    session.put_parts(&[(id, 0, Bytes::from_static(b"part"))]).await.unwrap();
    let accepted = message(&["one.example"]);
    accept(&mut session, std::slice::from_ref(&accepted)).await;
    session.drop_body(id).await.unwrap();
    session.drop_body(accepted.id).await.unwrap();
    assert!(session.body_chunk(id, 0).await.unwrap().is_none());
    assert!(session.body_chunk(accepted.id, 0).await.unwrap().is_some());
}

#[tokio::test]
async fn parts_are_swept_before_or_after_but_never_under_an_acceptance() {
    let (database, store, mut session) = open().await;
    let id = new_id(1);
    let mut mail = message_with_id(id, &["one.example"]);
    mail.body = Some((1, Bytes::from_static(b"last")));
    session.put_parts(&[(id, 0, Bytes::from_static(b"part"))]).await.unwrap();
    // The acceptance has its parts and is stopped by a lock on the table it writes to.
    let mut connection = connect(&database).await;
    for text in ["BEGIN", "LOCK TABLE delivery IN EXCLUSIVE MODE"] {
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    }
    let accepting = {
        let (store, mail) = (store.clone(), mail.clone());
        tokio::spawn(async move { store.session().await?.accept(&[mail]).await })
    };
    wait_for_a_blocked_statement(&database).await;
    let later = now().after(Duration::from_secs(60));
    assert_eq!(session.sweep_orphan_bodies(later).await.unwrap(), 0, "the acceptance holds them");
    session.drop_body(id).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    let accepted = accepting.await.unwrap().unwrap();
    assert!(accepted.refused.is_empty(), "{accepted:?}");
    assert_eq!(session.bodies(&[id]).await.unwrap()[&id].len(), 2);
}
