//! Logins judged against a real database, by every replica alike.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::accounts::{Account, AccountsClient, Address, Login, ScramProof, ScramSalt};
use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::Filter;
use mailtier_api::users::UserChange;
use mailtier_config::Secret;
use mailtier_sasl::ScramKeys;
use mailtier_types::TenantId;

use crate::changes::change;
use crate::submitter::{Submitter, submission};
use crate::system::{Replica, config, usual};
use crate::worker::{Worker, all};

const NAME: &str = "User@example.org";
const PASSWORD: &str = "correct horse";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn user(exists: bool) -> UserChange {
    UserChange { name: NAME.into(), exists, ..UserChange::default() }
}

async fn add(replica: &Replica) {
    let senders = Some(vec!["User@Example.org".to_owned()]);
    let change = UserChange { password: Some(secret(PASSWORD)), tenant: Some(TenantId(3)), senders, ..user(false) };
    replica.admin().await.put_user(change).await.unwrap();
}

async fn accounts(replica: &Replica) -> AccountsClient {
    AccountsClient::connect(&replica.url(), None).await.unwrap()
}

fn expected() -> Login {
    Login::User(Account {
        name: "user@example.org".into(),
        tenant: TenantId(3),
        senders: vec!["user@example.org".into()],
    })
}

#[tokio::test]
async fn a_user_logs_in_until_that_is_changed() {
    let (database, replica) = usual(|_| {}).await;
    add(&replica).await;
    let (admin, accounts) = (replica.admin().await, accounts(&replica).await);
    let log_in =
        async |password: &str| accounts.check_password("USER@example.org", &secret(password), "192.0.2.1").await;
    assert_eq!(log_in(PASSWORD).await.unwrap(), expected());
    assert_eq!(log_in(PASSWORD).await.unwrap(), expected(), "remembered");
    assert_eq!(log_in("correct hors").await.unwrap(), Login::Invalid);
    assert!(!database.sql("SELECT * FROM account").await.unwrap().contains(PASSWORD));
    assert!(matches!(admin.put_user(user(false)).await, Err(ApiError::Invalid(_))), "there is one");
    admin.put_user(UserChange { enabled: Some(false), ..user(true) }).await.unwrap();
    assert_eq!(log_in(PASSWORD).await.unwrap(), Login::Invalid, "nobody remembers a user who may not");
    assert_eq!(accounts.find_account(NAME).await.unwrap(), Login::Invalid);
    admin
        .put_user(UserChange { enabled: Some(true), password: Some(secret("battery staple")), ..user(true) })
        .await
        .unwrap();
    assert_eq!(log_in(PASSWORD).await.unwrap(), Login::Invalid);
    assert_eq!(log_in("battery staple").await.unwrap(), expected());
    assert_eq!(admin.list_users("", 10).await.unwrap().len(), 1);
    assert!(admin.delete_user(NAME, "").await.unwrap());
    assert_eq!(log_in("battery staple").await.unwrap(), Login::Invalid);
    assert!(matches!(admin.put_user(user(true)).await, Err(ApiError::NotFound(_))));
    let short = UserChange { password: Some(secret("short")), ..user(false) };
    assert!(matches!(admin.put_user(short).await, Err(ApiError::Invalid(_))));
    let nobodys = UserChange { tenant: Some(TenantId(-7)), password: Some(secret(PASSWORD)), ..user(false) };
    assert!(matches!(admin.put_user(nobodys).await, Err(ApiError::Invalid(why)) if why.contains("-7 is negative")));
    assert!(matches!(admin.list_users("\0", 10).await, Err(ApiError::Invalid(_))), "no trouble of the database");
}

#[tokio::test]
async fn scram_is_checked_by_keys_and_shows_nobody_who_exists() {
    let (_database, replica) = usual(|_| {}).await;
    add(&replica).await;
    let accounts = accounts(&replica).await;
    let salt = async |name: &str| match accounts.begin_scram(name, "192.0.2.1").await.unwrap() {
        ScramSalt::Salt { salt, iterations } => (salt, iterations),
        ScramSalt::Limited => panic!("limited"),
    };
    let (real, iterations) = salt("user@example.org").await;
    let keys = ScramKeys::derive(PASSWORD, real.clone(), std::num::NonZeroU32::new(iterations).unwrap());
    let finish = async |name: &str, keys: &ScramKeys, password: &str| {
        let (auth_message, proof) = proof(password, keys);
        let name = name.to_owned();
        accounts.finish_scram(ScramProof { name, client: "192.0.2.1".into(), auth_message, proof }).await.unwrap()
    };
    let verdict = finish("user@example.org", &keys, PASSWORD).await;
    assert_eq!(verdict.login, expected());
    assert_ne!(verdict.server_signature, [0; 32]);
    assert_eq!(finish("user@example.org", &keys, "wrong").await.login, Login::Invalid);
    // Somebody who does not exist has a salt, always the same, of the same kind.
    let (fake, also) = salt("nobody@example.org").await;
    assert_eq!((fake.len(), also), (real.len(), iterations));
    assert_eq!(salt("nobody@example.org").await.0, fake);
    assert_ne!(salt("nobody2@example.org").await.0, fake);
    assert_eq!(finish("nobody@example.org", &keys, PASSWORD).await.login, Login::Invalid);
}

/// What a client that knows the password proves.
fn proof(password: &str, keys: &ScramKeys) -> (Vec<u8>, [u8; 32]) {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
    let (mut salted, iterations) = ([0; 32], std::num::NonZeroU32::new(keys.iterations).unwrap());
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &keys.salt, password.as_bytes(), &mut salted);
    let client_key = mac(&salted, b"Client Key");
    let signature = mac(digest::digest(&digest::SHA256, &client_key).as_ref(), b"signed");
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    (b"signed".to_vec(), proof.try_into().unwrap())
}

#[tokio::test]
async fn failures_count_for_all_replicas_by_account_and_by_client() {
    let (database, first) = usual(|config| {
        config.queue.login_failures_per_account = 4;
        config.queue.login_failures_per_client = 2;
    })
    .await;
    let mut settings = config(&database);
    (settings.queue.login_failures_per_account, settings.queue.login_failures_per_client) = (4, 2);
    settings.queue.login_failure_window = Duration::from_secs(900);
    let second = Replica::start(settings).await;
    add(&first).await;
    let (one, other) = (accounts(&first).await, accounts(&second).await);
    let guess =
        async |to: &AccountsClient, client: &str| to.check_password(NAME, &secret("a guess"), client).await.unwrap();
    assert_eq!(guess(&one, "192.0.2.1").await, Login::Invalid);
    assert_eq!(guess(&other, "192.0.2.1").await, Login::Invalid);
    assert_eq!(guess(&one, "192.0.2.1").await, Login::Limited, "the client");
    assert_eq!(guess(&other, "192.0.2.2").await, Login::Invalid);
    assert_eq!(guess(&one, "192.0.2.3").await, Login::Invalid);
    let right = one.check_password(NAME, &secret(PASSWORD), "192.0.2.4").await.unwrap();
    assert_eq!(right, Login::Limited, "the account, whatever the password");
    assert_eq!(one.begin_scram(NAME, "192.0.2.5").await.unwrap(), ScramSalt::Limited);
    // An operator who gives a new password unlocks the account.
    let change = UserChange { password: Some(secret(PASSWORD)), ..user(true) };
    second.admin().await.put_user(change).await.unwrap();
    assert_eq!(other.check_password(NAME, &secret(PASSWORD), "192.0.2.4").await.unwrap(), expected());
    database.sql("UPDATE login_failure SET window_began = now() - interval '1 hour'").await.unwrap();
    assert_eq!(other.check_password(NAME, &secret(PASSWORD), "192.0.2.1").await.unwrap(), expected(), "it is over");
}

#[tokio::test]
async fn guesses_from_elsewhere_do_not_shut_a_user_out() {
    let (_database, replica) = usual(|config| {
        config.queue.login_failures_per_account = 3;
        config.queue.login_failures_per_client = 2;
    })
    .await;
    add(&replica).await;
    let accounts = accounts(&replica).await;
    let log_in =
        async |password: &str, client: &str| accounts.check_password(NAME, &secret(password), client).await.unwrap();
    // Where the user is, and a host of ours before which many users sit: it has no name.
    for client in ["192.0.2.1", ""] {
        assert_eq!(log_in(PASSWORD, client).await, expected());
    }
    for guesser in 1..=3 {
        assert_eq!(log_in("a guess", &format!("198.51.100.{guesser}")).await, Login::Invalid);
    }
    assert_eq!(log_in(PASSWORD, "198.51.100.9").await, Login::Limited);
    assert_eq!(log_in(PASSWORD, "192.0.2.1").await, expected());
    assert_eq!(log_in(PASSWORD, "").await, expected());
    assert!(matches!(accounts.begin_scram(NAME, "192.0.2.1").await.unwrap(), ScramSalt::Salt { .. }));
    // There is an end for them too: each by itself, and all together.
    for _ in 0..2 {
        assert_eq!(log_in("a slip", "192.0.2.1").await, Login::Invalid);
    }
    assert_eq!(log_in(PASSWORD, "192.0.2.1").await, Login::Limited);
    for failures in 5..30 {
        assert_eq!(log_in("a guess", "").await, Login::Invalid, "{failures}");
    }
    assert_eq!(log_in(PASSWORD, "").await, Login::Limited);
}

#[tokio::test]
async fn recipients_are_known_when_an_operator_says_so() {
    let (_database, replica) = usual(|_| {}).await;
    let (admin, accounts) = (replica.admin().await, accounts(&replica).await);
    let address = |pattern: &str, targets: &[&str]| Address {
        pattern: pattern.into(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
    };
    admin.put_address(address("Info@Example.org", &["a@example.net"]), "").await.unwrap();
    admin.put_address(address("@open.example", &[]), "").await.unwrap();
    assert!(matches!(admin.put_address(address("nonsense", &[]), "").await, Err(ApiError::Invalid(_))));
    assert!(matches!(admin.put_address(address("a@b.example", &["nonsense"]), "").await, Err(ApiError::Invalid(_))));
    let wanted = ["info@example.org", "@example.org", "@open.example"].map(str::to_owned).to_vec();
    let mut found = accounts.find_addresses(wanted).await.unwrap();
    found.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    assert_eq!(found, [address("@open.example", &[]), address("info@example.org", &["a@example.net"])]);
    assert_eq!(admin.list_addresses("@open.example", 10).await.unwrap().len(), 1, "a page after it");
    assert!(admin.delete_address("INFO@example.org", "").await.unwrap());
    assert!(!admin.delete_address("info@example.org", "").await.unwrap());
}

#[tokio::test]
async fn a_node_that_asks_gets_what_waits_for_it() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@b.example"]).await;
    let first = worker.dispatch().await;
    worker.report(all(&first, 451)).await;
    let accounts = accounts(&replica).await;
    assert_eq!(accounts.start_queue("c.example").await.unwrap(), 0);
    assert_eq!(accounts.start_queue("B.example").await.unwrap(), 1);
    assert_eq!(worker.dispatch().await.attempt, 2);
}

/// Whoever has it, only an operator overrules the sender's time (RFC 4865).
#[tokio::test]
async fn what_its_sender_wants_kept_until_later_no_node_gets_before() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let mut kept = submission("s@a.example", &["x@b.example"]);
    kept.envelope.options.release_at = Some(kept.id.made_at().after(Duration::from_secs(3600)));
    let id = kept.id;
    assert_eq!(submitter.submit(kept).await.result, Ok(()));
    assert_eq!(accounts(&replica).await.start_queue("b.example").await.unwrap(), 0);
    worker.is_left_alone().await;
    assert_eq!(change(&replica, Filter::of(vec![id]), DeliveryChange::RetryNow).await.changed, 1);
    assert_eq!(worker.dispatch().await.message, id);
}
