//! What comes back to return paths that were signed here, and what only looks like it.

use std::time::{Duration, SystemTime};

use mailtier_config::{Config, Secret};
use mailtier_message::{ReturnPaths, Returned};
use mailtier_types::{Domain, IdSource, MessageId, NodeNumber, TenantId, Timestamp};

use crate::client::queued_as;
use crate::system::usual;

const DOMAIN: &str = "bounces.example.com";
const CONTENT: &[u8] = b"Subject: it came back\r\n\r\n550 5.1.1 no such user\r\n";

fn secret() -> String {
    "k".repeat(32)
}

fn configure(config: &mut Config) {
    config.feedback.return_path_domain = Some(DOMAIN.into());
    config.feedback.return_path_keys = Some(Secret::new(secret()));
    config.feedback.return_path_lifetime = Duration::from_secs(86_400);
    config.feedback.report_addresses = vec!["fbl@example.com".into()];
}

/// The return path of a message that was accepted so long ago.
fn return_path(secret: &str, age: Duration) -> String {
    let paths = ReturnPaths::new(Domain::parse(DOMAIN).unwrap(), secret, Duration::from_secs(1)).unwrap();
    let accepted = Timestamp::from_system(SystemTime::now()).before(age);
    let message: MessageId = IdSource::new(NodeNumber::new(7).unwrap()).take(1, accepted);
    let returned = Returned { message, delivery: message.delivery(0), tenant: TenantId(7), recipient: None };
    paths.sign(returned).unwrap().to_string()
}

#[tokio::test]
async fn what_comes_back_is_taken_from_anyone_by_its_signature() {
    let (queue, _replica, system) = usual(configure).await;
    let genuine = return_path(&secret(), Duration::from_secs(3600));
    for (sender, recipient) in
        [("", genuine.as_str()), ("other@example.net", &genuine.to_uppercase()), ("", "FBL@example.com")]
    {
        let mut client = system.client().await;
        assert!(client.say(&format!("MAIL FROM:<{sender}>")).await.starts_with("250 "));
        assert!(client.say(&format!("RCPT TO:<{recipient}>")).await.starts_with("250 2.1.5 "), "{recipient}");
        assert!(client.say("DATA").await.starts_with("354 "));
        client.send(CONTENT).await;
        let id = queued_as(&client.say(".").await);
        let (to, report) = queue.read(|stored| {
            let message = &stored.messages[&id];
            (message.envelope.recipients[0].to_string(), message.report)
        });
        assert!(to.eq_ignore_ascii_case(recipient) && report, "{to}");
    }
    let id = queued_as(&system.client().await.mail(&["a@example.org"], CONTENT).await);
    assert!(!queue.read(|stored| stored.messages[&id].report), "which goes to whom it is for");
}

#[tokio::test]
async fn what_was_not_signed_here_is_nobody_and_learns_nothing() {
    let (_queue, _replica, system) = usual(configure).await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<>").await;
    let mut replies = Vec::new();
    for forged in [
        return_path(&"x".repeat(32), Duration::ZERO),
        return_path(&secret(), Duration::from_secs(2 * 86_400)),
        format!("bounces+aaaa@{DOMAIN}"),
        format!("bounces+@{DOMAIN}"),
        format!("bounces@{DOMAIN}"),
        format!("somebody@{DOMAIN}"),
    ] {
        let reply = client.say(&format!("RCPT TO:<{forged}>")).await;
        assert!(reply.starts_with("550 5.1.1 "), "{forged}: {reply}");
        replies.push(reply);
    }
    replies.dedup();
    assert_eq!(replies.len(), 1, "whoever guesses cannot tell how wrong it was: {replies:?}");
}

#[tokio::test]
async fn each_report_comes_alone() {
    let (_queue, _replica, system) = usual(configure).await;
    let mut client = system.client().await;
    let (first, second) = (return_path(&secret(), Duration::ZERO), return_path(&secret(), Duration::from_secs(9)));
    client.say("MAIL FROM:<>").await;
    assert!(client.say(&format!("RCPT TO:<{first}>")).await.starts_with("250 "));
    for other in [second.as_str(), "a@example.org"] {
        let reply = client.say(&format!("RCPT TO:<{other}>")).await;
        assert!(reply.starts_with("452 4.5.3 "), "RFC 5321 section 4.5.3.1.10: the rest is sent again: {reply}");
    }
    client.say("RSET").await;
    client.say("MAIL FROM:<>").await;
    assert!(client.say("RCPT TO:<a@example.org>").await.starts_with("250 "));
    assert!(client.say(&format!("RCPT TO:<{first}>")).await.starts_with("452 4.5.3 "));
}
