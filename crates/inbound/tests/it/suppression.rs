//! Recipients on a tenant's suppression list, as its clients meet them.

use mailtier_config::{Config, NetworkConfig, SuppressionMode, SuppressionTenantConfig};

use crate::client::queued_as;
use crate::system::usual;

const CONTENT: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

/// Everyone here is a client of this tenant, and may send to anyone.
fn of_tenant(config: &mut Config, id: i32) {
    let everyone = vec!["127.0.0.0/8".parse().unwrap()];
    config.inbound.relay_networks.clone_from(&everyone);
    config.inbound.networks = vec![NetworkConfig { networks: everyone, tenant: Some(id), ..NetworkConfig::default() }];
}

#[tokio::test]
async fn a_recipient_on_the_list_is_refused_at_rcpt() {
    let (_queue, _replica, system) = usual(|config| {
        of_tenant(config, 7);
        config.suppression.mode = SuppressionMode::Reject;
    })
    .await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<sender@example.com>").await;
    for (recipient, verdict) in [
        ("gone@example.net", "550 5.1.1 Recipient is on your suppression list"),
        ("there@example.net", "250 2.1.5 "),
        ("away@example.net", "450 4.4.0 "),
        ("gone@example.net", "550 5.1.1 Recipient is on your suppression list"),
    ] {
        let reply = client.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(reply.starts_with(verdict), "{recipient}: {reply}");
    }
}

#[tokio::test]
async fn lists_are_each_tenants_own_and_not_for_strangers() {
    let mode = |id, mode| vec![SuppressionTenantConfig { id, mode }];
    for (tenant, tenants, is_ours) in [
        // Nobody is on the list of 9, and 7 has none that counts.
        (9, mode(9, SuppressionMode::Reject), true),
        (7, mode(9, SuppressionMode::Reject), true),
        (7, mode(7, SuppressionMode::Off), true),
        (7, mode(7, SuppressionMode::Reject), false),
    ] {
        let (_queue, _replica, system) = usual(|config| {
            of_tenant(config, tenant);
            config.suppression.tenants = tenants;
            if !is_ours {
                config.inbound.relay_networks.clear();
                config.inbound.relay_domains.push("example.net".into());
            }
        })
        .await;
        let mut client = system.client().await;
        let reply = client.mail(&["gone@example.net"], CONTENT).await;
        assert!(reply.starts_with("250 "), "{tenant}, {is_ours}: {reply}");
    }
}

#[tokio::test]
async fn where_it_is_to_fail_it_is_taken_and_the_queue_looks() {
    let (queue, _replica, system) = usual(|config| {
        of_tenant(config, 7);
        config.suppression.tenants = vec![SuppressionTenantConfig { id: 7, mode: SuppressionMode::Fail }];
    })
    .await;
    let mut client = system.client().await;
    let id = queued_as(&client.mail(&["gone@example.net", "there@example.net"], CONTENT).await);
    queue.read(|stored| {
        assert!(stored.messages[&id].screened);
        assert_eq!(stored.messages[&id].envelope.recipients.len(), 2);
    });
    let (queue, _replica, system) = usual(|config| of_tenant(config, 7)).await;
    let id = queued_as(&system.client().await.mail(&["gone@example.net"], CONTENT).await);
    assert!(!queue.read(|stored| stored.messages[&id].screened), "without a list there is nothing to look at");
}
