//! Logins at remotes, and sockets of this machine.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mailtier_sasl::{Bindings, Check, Credentials, Exchange, Password, ScramKeys, Step, check_proof};
use mailtier_smtp::{ClientConfig, ServerConfig};
use mailtier_tls::ClientTls;
use mailtier_transport::client::{ConnectFailure, Connection, Login, TlsMode, TlsUse};
use mailtier_types::{SaslMechanism, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::peers::{PATIENCE, Peer, options, remote, said, transaction};
use crate::served::Served;

const ALL: [SaslMechanism; 3] = [SaslMechanism::ScramSha256, SaslMechanism::Plain, SaslMechanism::Login];

fn login(password: &str, mechanisms: &[SaslMechanism]) -> Login {
    let credentials = Credentials { name: "user".to_owned(), password: Password(password.to_owned()) };
    Login { credentials, mechanisms: mechanisms.to_vec(), in_clear: true }
}

/// Takes the part of a server that lets `user` in with `secret`, and says what it heard.
async fn let_in(peer: &mut Peer, offered: &str) -> Vec<String> {
    peer.greet(&format!("250-AUTH {offered}\r\n")).await;
    let line = peer.hear("\r\n").await;
    let mut heard = vec![line.trim_end().to_owned()];
    let words: Vec<_> = heard[0].split(' ').map(str::to_owned).collect();
    let mechanism = words[1].parse().unwrap();
    let keys = ScramKeys::derive("secret", b"salt".to_vec(), 4096.try_into().unwrap());
    let mut exchange = Exchange::new(mechanism, Bindings::default(), "server-nonce".to_owned());
    let mut step = exchange.begin(words.get(2).map(|text| STANDARD.decode(text).unwrap()).as_deref());
    loop {
        step = match step.unwrap() {
            Step::Challenge(challenge) => {
                peer.say(&format!("334 {}\r\n", STANDARD.encode(challenge))).await;
                let answer = peer.hear("\r\n").await;
                heard.push(answer.trim_end().to_owned());
                exchange.respond(&STANDARD.decode(answer.trim_end()).unwrap())
            }
            Step::Check(Check::Password { name, password }) => {
                Ok(exchange.settled(name == "user" && password.0 == "secret"))
            }
            Step::Check(Check::ScramSalt { .. }) => Ok(exchange.salted(&keys.salt, keys.iterations)),
            Step::Check(Check::ScramProof { auth_message, proof, .. }) => {
                Ok(exchange.proved(check_proof(&keys.stored_key, &keys.server_key, &auth_message, &proof)))
            }
            Step::Check(other) => panic!("{other:?}"),
            Step::Done => {
                peer.say("235 2.7.0 in\r\n").await;
                return heard;
            }
            Step::Failed => {
                peer.say("535 5.7.8 wrong\r\n").await;
                return heard;
            }
        };
    }
}

async fn logged_in(offered: &'static str, login: &Login) -> (Result<(), ConnectFailure>, Vec<String>) {
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let address = remote(move |mut peer, _| {
        let tell = tell.clone();
        async move {
            tell.send(let_in(&mut peer, offered).await).unwrap();
            peer.hear_out().await;
        }
    })
    .await;
    let mut connection = Connection::open(address, &options(TlsMode::Off)).await.unwrap();
    let result = connection.log_in(login).await;
    drop(connection);
    (result, heard.recv().await.unwrap())
}

#[tokio::test]
async fn the_best_mechanism_that_both_sides_have_is_used() {
    for (offered, allowed, used) in [
        ("PLAIN LOGIN SCRAM-SHA-256", &ALL[..], "SCRAM-SHA-256"),
        ("LOGIN PLAIN CRAM-MD5", &ALL, "PLAIN"),
        ("LOGIN", &ALL, "LOGIN"),
        ("PLAIN SCRAM-SHA-256", &[SaslMechanism::Plain], "PLAIN"),
    ] {
        let (result, heard) = logged_in(offered, &login("secret", allowed)).await;
        assert_eq!(result, Ok(()), "{offered}");
        assert_eq!(heard[0].split(' ').nth(1), Some(used), "{offered}: {heard:?}");
        let (result, _) = logged_in(offered, &login("mistaken", allowed)).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.stage, Stage::Ehlo);
        assert!(failure.tls_fault.is_none(), "nobody tries it in clear for that");
        assert_eq!(said(&failure.cause), "Login: the login was refused: 535 5.7.8 wrong", "{offered}");
    }
}

#[tokio::test]
async fn nothing_is_said_where_no_login_may_be_made() {
    let strict = Login { in_clear: false, ..login("secret", &ALL) };
    for (extensions, login, expected) in [
        ("250-AUTH PLAIN\r\n", &strict, "Tls: the password is for TLS only, and this connection has none"),
        ("", &login("secret", &ALL), "Login: the remote does not offer logins"),
        ("250-AUTH CRAM-MD5\r\n", &login("secret", &ALL), "Login: the remote does not offer logins"),
        ("250-AUTH PLAIN\r\n", &login("secret", &ALL[..1]), "Login: the remote offers no login with SCRAM-SHA-256"),
    ] {
        let address = remote(move |mut peer, _| async move {
            peer.greet(extensions).await;
            assert_eq!(peer.hear_out().await, "");
        })
        .await;
        let mut connection = Connection::open(address, &options(TlsMode::Off)).await.unwrap();
        assert_eq!(said(&connection.log_in(login).await.unwrap_err().cause), expected);
    }
}

#[tokio::test]
async fn a_server_that_offers_no_login_within_tls_hears_no_password() {
    let served = Served::start(
        ServerConfig { starttls: true, ..ServerConfig::new("mx.example.org") },
        Some(crate::tls::server_tls()),
    )
    .await;
    let tls = TlsUse::with_anyone(ClientTls::new().unwrap());
    let mut connection = Connection::open(served.address, &options(TlsMode::Required(tls))).await.unwrap();
    let failure = connection.log_in(&login("secret", &ALL)).await.unwrap_err();
    assert_eq!(said(&failure.cause), "Login: the remote does not offer logins");
}

#[tokio::test]
async fn a_server_that_lets_anybody_in_does_not_pass_for_one_that_knows_the_password() {
    for end in ["235 2.7.0 in\r\n", "334 dj1BQUFB\r\n"] {
        let address = remote(move |mut peer, _| async move {
            peer.greet("250-AUTH SCRAM-SHA-256\r\n").await;
            let line = peer.hear("\r\n").await;
            let first = STANDARD.decode(line.trim_end().rsplit(' ').next().unwrap()).unwrap();
            let nonce = String::from_utf8(first).unwrap().rsplit_once("r=").unwrap().1.to_owned();
            let challenge = format!("r={nonce}x,s={},i=4096", STANDARD.encode("salt"));
            peer.say(&format!("334 {}\r\n", STANDARD.encode(challenge))).await;
            peer.hear("\r\n").await;
            peer.say(end).await;
            assert_eq!(peer.hear_out().await, "", "nothing is said to an impostor");
        })
        .await;
        let mut connection = Connection::open(address, &options(TlsMode::Off)).await.unwrap();
        let failure = connection.log_in(&login("secret", &ALL)).await.unwrap_err();
        assert_eq!(
            said(&failure.cause),
            "Login: the login was broken off: the server did not prove that it knows the password"
        );
    }
}

#[tokio::test]
async fn lmtp_over_a_socket_tells_each_recipient_apart() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("lmtp");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hear = async |say: &str, lines: usize| {
            stream.write_all(say.as_bytes()).await.unwrap();
            let mut heard = String::new();
            while heard.matches("\r\n").count() < lines {
                heard.push(char::from(stream.read_u8().await.unwrap()));
            }
            heard
        };
        assert_eq!(hear("220 store\r\n", 1).await, "LHLO client.example\r\n");
        hear("250-store\r\n250 PIPELINING\r\n", 4).await;
        hear("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", 2).await;
        hear("250 2.0.0 one\r\n452 4.2.2 full\r\n", 1).await
    });
    let smtp = Arc::new(ClientConfig { lmtp: true, ..ClientConfig::new("client.example") });
    let mut connection = Connection::open_local(&path, &smtp, PATIENCE).await.unwrap();
    let report =
        connection.deliver(transaction(&["a@example.org", "b@example.org"], 3), &[Bytes::from_static(b"x\r\n")]).await;
    assert!(report.recipients[0].is_delivered() && report.reusable);
    assert_eq!(said(&report.recipients[1].cause), "452 4.2.2 full");
    assert_eq!(connection.peer(), None);
    connection.quit().await;
    assert_eq!(server.await.unwrap(), "QUIT\r\n");

    let failure = Connection::open_local(&folder.path().join("none"), &smtp, PATIENCE).await.unwrap_err();
    assert!(said(&failure.cause).contains("No such file"), "{failure:?}");
    assert_eq!(failure.stage, Stage::Connect);
}
