//! Operators' tokens: made once, listed, revoked, and never too many.

use std::time::Duration;

use mailtier_store::{MAX_TOKENS, StoredToken, TokenMade};
use mailtier_types::Timestamp;

use crate::mail::{now, open};

fn token(name: &str, digest: u8) -> StoredToken {
    let at = Timestamp::from_millis(now().as_millis());
    StoredToken {
        name: name.into(),
        role: "operator".into(),
        content: true,
        digest: [digest; 32],
        created_by: "root (alice)".into(),
        created_at: at,
        last_used_at: None,
        expires_at: Some(at.after(Duration::from_secs(60))),
    }
}

#[tokio::test]
async fn a_token_is_made_once_and_gone_when_it_is_revoked() {
    let (_database, _store, mut session) = open().await;
    let (bot, other) = (token("bot", 1), StoredToken { expires_at: None, content: false, ..token("a", 2) });
    assert_eq!(session.make_token(&bot).await.unwrap(), TokenMade::Made);
    assert_eq!(session.make_token(&other).await.unwrap(), TokenMade::Made);
    assert_eq!(session.make_token(&token("bot", 3)).await.unwrap(), TokenMade::Exists);
    assert_eq!(session.tokens().await.unwrap(), [other.clone(), bot.clone()], "neither was changed");
    assert!(session.delete_token("bot").await.unwrap());
    assert!(!session.delete_token("bot").await.unwrap());
    assert_eq!(session.tokens().await.unwrap(), [other]);
}

#[tokio::test]
async fn the_latest_use_is_noted_whoever_knows_of_it() {
    let (_database, _store, mut session) = open().await;
    session.make_token(&token("bot", 1)).await.unwrap();
    let at = Timestamp::from_secs(1000);
    for (used, noted) in [
        (at, at),
        (at.after(Duration::from_secs(9)), at.after(Duration::from_secs(9))),
        (at, at.after(Duration::from_secs(9))),
    ] {
        session.token_used("bot", used).await.unwrap();
        assert_eq!(session.tokens().await.unwrap()[0].last_used_at, Some(noted));
    }
    session.token_used("nobody", at).await.unwrap();
}

#[tokio::test]
async fn there_are_no_more_tokens_than_replicas_keep() {
    let (database, _store, mut session) = open().await;
    let fill = format!(
        "INSERT INTO token SELECT 't' || n, 'viewer', false, sha256(n::text::bytea), 'tests', now() FROM generate_series(1, {MAX_TOKENS}) n"
    );
    database.sql(&fill).await.unwrap();
    assert_eq!(session.make_token(&token("one-more", 1)).await.unwrap(), TokenMade::TooMany);
    assert_eq!(session.make_token(&token("t7", 1)).await.unwrap(), TokenMade::Exists);
    assert!(session.delete_token("t7").await.unwrap());
    assert_eq!(session.make_token(&token("one-more", 1)).await.unwrap(), TokenMade::Made);
}
