//! Logins as real clients make them, and what they are worth.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_config::{
    Config, HeloOwnName, ListenerConfig, ListenerProtocol, ListenerTls, LoginPolicy, NetworkConfig, TenantConfig,
};

use crate::client::{Client, queued_as};
use crate::delivery::{in_tls, tls_client, write_certificate};
use crate::queue::{PASSWORD, Queue, Replica, USER, USERS_TENANT};
use crate::system::{System, usual};

fn base64(text: &[u8]) -> String {
    STANDARD.encode(text)
}

fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", base64(format!("\0{name}\0{password}").as_bytes()))
}

/// A submission service in clear, in place of the ordinary listener.
async fn submission(change: impl FnOnce(&mut Config)) -> (Queue, Replica, System) {
    usual(|config| {
        config.inbound.sasl_in_clear = true;
        config.inbound.listen.clear();
        config.inbound.listeners = vec![ListenerConfig {
            name: "submission".into(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            protocol: ListenerProtocol::Submission,
            ..ListenerConfig::default()
        }];
        change(config);
    })
    .await
}

#[tokio::test]
async fn who_logs_in_sends_to_anyone_from_addresses_of_his_own() {
    let (queue, _replica, system) = submission(|_| {}).await;
    let mut client = system.client().await;
    assert_eq!(client.say("MAIL FROM:<user@example.org>").await, "530 5.7.0 Authentication required");
    assert_eq!(client.say(&plain(USER, "wrong horse")).await, "535 5.7.8 Authentication credentials invalid");
    assert_eq!(
        client.say(&plain("nobody@example.org", PASSWORD)).await,
        "535 5.7.8 Authentication credentials invalid"
    );
    assert_eq!(
        client.say(&plain("guesser@example.org", "x")).await,
        "454 4.7.0 Too many failed logins, try again later"
    );
    assert_eq!(client.say(&plain("away@example.org", "x")).await, "454 4.7.0 Temporary authentication failure");
    assert_eq!(client.say("AUTH LOGIN").await, "334 VXNlcm5hbWU6");
    assert_eq!(client.say(&base64(USER.as_bytes())).await, "334 UGFzc3dvcmQ6");
    assert_eq!(client.say(&base64(PASSWORD.as_bytes())).await, "235 2.7.0 Authentication successful");
    assert_eq!(client.say("MAIL FROM:<boss@example.org>").await, "553 5.7.1 Sender address is not owned by the user");
    assert_eq!(client.say("MAIL FROM:<User@example.org>").await, "250 2.1.0 Sender OK");
    assert_eq!(client.say("RCPT TO:<anyone@example.com>").await, "250 2.1.5 Recipient OK");
    assert!(client.say("DATA").await.starts_with("354 "));
    let id = queued_as(&client.say("Subject: x\r\n\r\ntext\r\n.").await);
    // RFC 6409 section 8: what a message lacks is added.
    let content = String::from_utf8(queue.content(id)).unwrap();
    let (received, rest) = content.split_once("\r\nDate: ").unwrap();
    assert!(received.contains("with ESMTPA "), "{received}");
    assert!(rest.contains(&format!("\r\nMessage-ID: <{id}@mx.example.org>\r\nSubject: x\r\n\r\ntext\r\n")), "{rest}");
    queue.read(|stored| {
        let envelope = &stored.messages[&id].envelope;
        assert_eq!((envelope.tenant.0, envelope.options.user.as_str()), (3, USER));
        assert_eq!(envelope.options.header_message_id, format!("<{id}@mx.example.org>"));
    });
}

#[tokio::test]
async fn a_password_is_never_sent_where_scram_is_spoken() {
    let (_queue, _replica, system) = submission(|_| {}).await;
    let mut client = system.client().await;
    for (password, verdict) in [("wrong horse", "535 5.7.8 "), (PASSWORD, "235 2.7.0 ")] {
        let said = scram(&mut client, "SCRAM-SHA-256", "n,,", &[], password).await;
        assert!(said.starts_with(verdict), "{said}");
    }
}

/// A SCRAM client of a few lines (RFC 5802 section 3).
async fn scram(client: &mut Client, mechanism: &str, header: &str, binding: &[u8], password: &str) -> String {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    let bare = format!("n={USER},r=abc");
    let first = client.say(&format!("AUTH {mechanism} {}", base64(format!("{header}{bare}").as_bytes()))).await;
    let Some(first) = first.strip_prefix("334 ") else { return first };
    let first = String::from_utf8(STANDARD.decode(first).unwrap()).unwrap();
    let parts: Vec<&str> = first.splitn(3, ',').map(|part| &part[2..]).collect();
    let mut salted = [0; 32];
    let (salt, iterations) = (STANDARD.decode(parts[1]).unwrap(), parts[2].parse().unwrap());
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let bound = base64(&[header.as_bytes(), binding].concat());
    let last = format!("c={bound},r={}", parts[0]);
    let auth_message = format!("{bare},{first},{last}");
    let signature = mac(stored_key.as_ref(), auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let reply = client.say(&base64(format!("{last},p={}", base64(&proof)).as_bytes())).await;
    let Some(verifier) = reply.strip_prefix("334 ") else { return reply };
    let expected = format!("v={}", base64(&mac(&mac(&salted, b"Server Key"), auth_message.as_bytes())));
    assert_eq!(STANDARD.decode(verifier).unwrap(), expected.as_bytes(), "the server proves itself");
    client.say("").await
}

#[tokio::test]
async fn in_tls_a_login_can_be_bound_to_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    write_certificate(&certificate, &key);
    let der = rustls_pki_types::pem::PemObject::from_pem_file(&certificate).unwrap();
    let der: rustls_pki_types::CertificateDer<'static> = der;
    let end_point = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref().to_vec();
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.sasl_in_clear = false;
        (config.inbound.tls_certificate, config.inbound.tls_key) = (Some(certificate), Some(key));
        config.inbound.listeners[0].tls = ListenerTls::Required;
    })
    .await;
    let mut clear = system.client().await;
    assert_eq!(clear.say(&plain(USER, PASSWORD)).await, "530 5.7.0 Must issue a STARTTLS command first");
    let mut client = tls_client(&system).await;
    let (plus, header) = ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,");
    assert!(scram(&mut client, plus, header, &[0; 32], PASSWORD).await.starts_with("535 "), "another connection's");
    assert!(scram(&mut client, "SCRAM-SHA-256", "y,,", &[], PASSWORD).await.starts_with("535 "), "a removed offer");
    assert!(scram(&mut client, plus, header, &end_point, PASSWORD).await.starts_with("235 "));
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_messages() {
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.user_sessions = 1;
        config.inbound.max_errors = u32::MAX;
        config.inbound.user_messages_per_hour = 2;
        config.inbound.user_recipients_per_hour = 3;
    })
    .await;
    let mut one = system.client().await;
    assert!(one.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
    let mut other = system.client().await;
    assert_eq!(other.say(&plain(USER, PASSWORD)).await, "454 4.7.0 Too many sessions of this user");
    let mail = format!("MAIL FROM:<{USER}>");
    assert!(one.say(&mail).await.starts_with("250 "));
    for verdict in ["250 ", "250 ", "250 ", "450 4.7.1 Rate limit exceeded"] {
        assert!(one.say("RCPT TO:<a@example.com>").await.starts_with(verdict));
    }
    assert!(one.say("RSET").await.starts_with("250 ") && one.say(&mail).await.starts_with("250 "));
    assert!(one.say("RSET").await.starts_with("250 ") && one.say(&mail).await.starts_with("450 4.7.1 "));
    assert!(one.say("QUIT").await.starts_with("221 "));
    assert_eq!(one.line().await, None);
    loop {
        if other.say(&plain(USER, PASSWORD)).await.starts_with("235 ") {
            break;
        }
    }
}

/// Clients of this host are of one tenant until they log in.
fn of_tenant(config: &mut Config, tenant: i32) {
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    config.inbound.networks = vec![NetworkConfig { networks, tenant: Some(tenant), ..NetworkConfig::default() }];
}

fn with_sessions(id: i32, sessions: u32) -> TenantConfig {
    TenantConfig { id, sessions, ..TenantConfig::default() }
}

#[tokio::test]
async fn a_tenant_has_so_many_sessions_of_its_users() {
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.max_errors = u32::MAX;
        config.inbound.tenants = vec![with_sessions(USERS_TENANT, 1)];
    })
    .await;
    let (mut one, mut other) = (system.client().await, system.client().await);
    assert!(one.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
    assert_eq!(other.say(&plain(USER, PASSWORD)).await, "454 4.7.0 Too many sessions of this tenant");
    assert!(one.say("QUIT").await.starts_with("221 "));
    assert_eq!(one.line().await, None);
    while !other.say(&plain(USER, PASSWORD)).await.starts_with("235 ") {}
}

#[tokio::test]
async fn a_session_counts_for_one_tenant_at_a_time() {
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.tenants = vec![with_sessions(5, 1)];
        of_tenant(config, 5);
    })
    .await;
    let mut one = system.client().await;
    let mut two = Client::connect(system.address).await;
    assert_eq!(two.reply().await, "421 4.7.0 Too many sessions of this tenant");
    assert_eq!(two.line().await, None);
    assert!(one.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
    let mut three = system.client().await;
    assert!(three.say("NOOP").await.starts_with("250 "), "the first is another tenant's since its login");
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.tenants = vec![with_sessions(USERS_TENANT, 1)];
        of_tenant(config, USERS_TENANT);
    })
    .await;
    let mut client = system.client().await;
    assert!(client.say(&plain(USER, PASSWORD)).await.starts_with("235 "), "it was the tenant's already");
    assert_eq!(Client::connect(system.address).await.reply().await, "421 4.7.0 Too many sessions of this tenant");
}

#[tokio::test]
async fn a_session_that_forgets_its_login_is_its_networks_again() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    write_certificate(&certificate, &key);
    let (_queue, _replica, system) = submission(|config| {
        (config.inbound.tls_certificate, config.inbound.tls_key) = (Some(certificate), Some(key));
        config.inbound.tenants = vec![with_sessions(5, 1), with_sessions(USERS_TENANT, 1)];
        of_tenant(config, 5);
    })
    .await;
    let mut client = system.client().await;
    assert!(client.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
    assert_eq!(client.say("STARTTLS").await, "220 2.0.0 Ready to start TLS");
    let mut client = in_tls(client).await;
    assert!(client.say("EHLO client.example.com").await.starts_with("250 "));
    assert_eq!(Client::connect(system.address).await.reply().await, "421 4.7.0 Too many sessions of this tenant");
    assert!(client.say(&plain(USER, PASSWORD)).await.starts_with("235 "), "the user's place was given back");
}

#[tokio::test]
async fn a_user_that_a_proxy_names_has_so_many_sessions_too() {
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.user_sessions = 1;
        config.inbound.max_errors = u32::MAX;
        config.inbound.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let login = format!("XCLIENT ADDR=192.0.2.9 LOGIN={}", USER.replace('@', "+40"));
    let mut one = system.client().await;
    assert_eq!(one.say(&login).await, "220 mx.example.org ESMTP");
    let mut other = system.client().await;
    assert_eq!(other.say(&plain(USER, PASSWORD)).await, "454 4.7.0 Too many sessions of this user");
    assert_eq!(system.client().await.say(&login).await, "421 4.7.0 Too many sessions of this user");
    assert_eq!(one.say(&login).await, "220 mx.example.org ESMTP", "its place was given back");
    // Somebody else is behind the proxy now.
    assert_eq!(one.say("XCLIENT ADDR=192.0.2.10 LOGIN=[UNAVAILABLE]").await, "220 mx.example.org ESMTP");
    assert!(other.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
}

#[tokio::test]
async fn what_strangers_are_always_refused_is_not_announced_to_them() {
    let restricted = |offered: Vec<String>| -> Vec<String> {
        offered.into_iter().filter(|one| ["ETRN", "VRFY", "EXPN", "XCLIENT"].contains(&&**one)).collect()
    };
    let offering = |config: &mut Config| {
        (config.inbound.vrfy, config.inbound.expn) = (true, true);
        config.inbound.etrn_networks = vec!["192.0.2.0/24".parse().unwrap()];
        config.inbound.listeners[0].login = Some(LoginPolicy::Offered);
    };
    let (_queue, _replica, system) = submission(offering).await;
    let mut client = system.client().await;
    assert_eq!(restricted(client.offered().await), Vec::<String>::new());
    assert!(client.say("VRFY a@example.org").await.starts_with("252 "));
    assert!(client.say("EXPN a@example.org").await.starts_with("550 "));
    assert!(client.say("ETRN example.org").await.starts_with("459 "));
    assert!(client.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
    assert_eq!(restricted(client.offered().await), ["VRFY", "EXPN"]);
    let (_queue, _replica, system) = submission(|config| {
        offering(config);
        let local = vec!["127.0.0.0/8".parse().unwrap()];
        (config.inbound.relay_networks, config.inbound.etrn_networks) = (local.clone(), local);
    })
    .await;
    assert_eq!(restricted(system.client().await.offered().await), ["ETRN", "VRFY", "EXPN"]);
}

#[tokio::test]
async fn who_logs_in_may_go_by_our_name() {
    let (_queue, _replica, system) = submission(|config| {
        config.inbound.helo_own_name = HeloOwnName::Refuse;
        config.inbound.listeners[0].login = Some(LoginPolicy::Offered);
    })
    .await;
    let mut client = system.client().await;
    assert!(client.say("EHLO mx.example.org").await.starts_with("250 "));
    assert_eq!(client.say(&format!("MAIL FROM:<{USER}>")).await, "550 5.7.1 You are not me");
    assert!(client.say(&plain(USER, PASSWORD)).await.starts_with("235 "));
    assert_eq!(client.say(&format!("MAIL FROM:<{USER}>")).await, "250 2.1.0 Sender OK");
}

#[tokio::test]
async fn a_user_who_is_deleted_does_not_go_on() {
    let (queue, _replica, system) = submission(|config| config.inbound.user_recheck = std::time::Duration::ZERO).await;
    let mut client = system.client().await;
    assert_eq!(client.say(&plain(USER, PASSWORD)).await, "235 2.7.0 Authentication successful");
    assert_eq!(client.say("MAIL FROM:<user@example.org>").await, "250 2.1.0 Sender OK");
    client.say("RSET").await;
    queue.delete_user();
    assert_eq!(client.say("MAIL FROM:<user@example.org>").await, "421 4.7.0 The user may not send any more");
    assert_eq!(client.line().await, None);
}
