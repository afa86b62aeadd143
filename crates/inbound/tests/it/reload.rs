//! Another configuration while sessions are open.

use mailtier_config::{NetworkConfig, SuppressionMode};

use crate::client::{Client, queued_as};
use crate::system::{System, usual};

const CONTENT: &[u8] = b"Subject: x\r\n\r\ntext\r\n";
const ELSEWHERE: &str = "RCPT TO:<b@elsewhere.example>";

async fn in_transaction(system: &System) -> Client {
    let mut client = system.client().await;
    client.say("MAIL FROM:<sender@example.com>").await;
    client
}

#[tokio::test]
async fn sessions_begin_with_the_configuration_as_it_is_and_end_with_it() {
    let (queue, _replica, system) = usual(|config| config.inbound.max_recipients = 200).await;
    let mut before = in_transaction(&system).await;
    assert!(before.say(ELSEWHERE).await.starts_with("550 5.7.1 "));
    system
        .reload(|config| {
            config.inbound.relay_domains = vec!["elsewhere.example".into()];
            config.inbound.max_recipients = 100;
        })
        .unwrap();
    let mut after = in_transaction(&system).await;
    assert!(after.say(ELSEWHERE).await.starts_with("250 "));
    assert!(after.say("RCPT TO:<a@example.org>").await.starts_with("550 5.7.1 "));
    assert!(after.offered().await.contains(&"LIMITS RCPTMAX=100".to_owned()));
    assert!(before.say(ELSEWHERE).await.starts_with("550 5.7.1 "), "what it began with holds");
    before.say("RSET").await;
    queued_as(&before.mail(&["a@example.org"], CONTENT).await);
    queued_as(&after.mail(&["b@elsewhere.example"], CONTENT).await);
    assert_eq!(queue.read(|stored| stored.messages.len()), 2);
}

#[tokio::test]
async fn listeners_that_are_bound_stay_whatever_the_configuration_says() {
    let (_queue, _replica, system) = usual(|_| {}).await;
    system
        .reload(|config| {
            config.inbound.listen = Vec::new();
            config.inbound.networks = vec![NetworkConfig {
                networks: vec!["127.0.0.0/8".parse().unwrap()],
                refuse: Some("not here".into()),
                ..NetworkConfig::default()
            }];
        })
        .unwrap();
    system.client().await;
    system
        .reload(|config| {
            config.inbound.networks = vec![NetworkConfig {
                networks: vec!["127.0.0.0/8".parse().unwrap()],
                refuse: Some("not here".into()),
                ..NetworkConfig::default()
            }];
        })
        .unwrap();
    let mut refused = Client::connect(system.address).await;
    assert_eq!(refused.reply().await, "554 5.7.1 not here");
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let (_queue, _replica, system) = usual(|_| {}).await;
    let said = system.reload(|config| {
        config.inbound.relay_domains = vec!["elsewhere.example".into()];
        config.inbound.aliases_file = Some("/nonexistent".into());
    });
    assert!(said.unwrap_err().to_string().contains("inbound.aliases_file"));
    let mut client = in_transaction(&system).await;
    assert!(client.say(ELSEWHERE).await.starts_with("550 5.7.1 "));
    assert!(client.say("RCPT TO:<a@example.org>").await.starts_with("250 "));
}

#[tokio::test]
async fn a_file_of_aliases_is_read_by_sessions_of_before_too() {
    let folder = tempfile::tempdir().unwrap();
    let aliases = folder.path().join("aliases");
    std::fs::write(&aliases, "x@example.org: y@example.org\n").unwrap();
    let (queue, _replica, system) = usual(|config| config.inbound.aliases_file = Some(aliases.clone())).await;
    let mut before = system.client().await;
    std::fs::write(&aliases, "x@example.org: somebody.else@example.org\n").unwrap();
    system.reload(|_| {}).unwrap();
    let id = queued_as(&before.mail(&["x@example.org"], CONTENT).await);
    queue.read(|stored| {
        let recipients = &stored.messages[&id].envelope.recipients;
        assert_eq!(recipients[0].to_string(), "somebody.else@example.org");
    });
}

#[tokio::test]
async fn reports_and_suppression_lists_are_those_of_the_moment() {
    let (_queue, _replica, system) = usual(|config| {
        let everyone = vec!["127.0.0.0/8".parse().unwrap()];
        config.inbound.networks =
            vec![NetworkConfig { networks: everyone, tenant: Some(7), ..NetworkConfig::default() }];
        config.inbound.relay_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut before = in_transaction(&system).await;
    assert!(before.say("RCPT TO:<gone@example.net>").await.starts_with("250 "));
    system.reload(|config| config.suppression.mode = SuppressionMode::Reject).unwrap();
    let mut after = in_transaction(&system).await;
    assert!(
        after.say("RCPT TO:<gone@example.net>").await.starts_with("550 5.1.1 Recipient is on your suppression list")
    );

    let strangers = |config: &mut mailtier_config::Config| config.inbound.relay_networks.clear();
    system.reload(strangers).unwrap();
    let mut before = in_transaction(&system).await;
    assert!(before.say("RCPT TO:<fbl@example.com>").await.starts_with("550 5.7.1 "));
    system
        .reload(|config| {
            strangers(config);
            config.feedback.report_addresses = vec!["fbl@example.com".into()];
        })
        .unwrap();
    let mut after = in_transaction(&system).await;
    assert!(after.say("RCPT TO:<fbl@example.com>").await.starts_with("250 "));
}
