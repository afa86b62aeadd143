//! Connections through proxies: whoever fails is named, and only what a proxy says of a host counts as the host's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mailtier_sasl::{Credentials, Password};
use mailtier_transport::client::{ConnectFailure, ConnectOptions, Connection, EgressProxy, ProxyProtocol, TlsMode};
use mailtier_transport::proxy::{Proxied, read_header};
use mailtier_types::Stage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::peers::{PATIENCE, options, remote, said};

/// Where nothing listens; a proxy never connects there by itself.
const TARGET: &str = "192.0.2.25:25";

fn through(server: SocketAddr, protocol: ProxyProtocol, patience: Duration) -> ConnectOptions {
    let proxy = Some(Arc::new(EgressProxy { server, protocol }));
    ConnectOptions { proxy, connect_timeout: patience, ..options(TlsMode::Off) }
}

fn login() -> Option<Credentials> {
    Some(Credentials { name: "user".to_owned(), password: Password("secret".to_owned()) })
}

/// What a proxy is to hear next, and what it says then; nothing to say: it waits for the client to give up.
type Steps = &'static [(&'static [u8], &'static [u8])];

/// A proxy that follows a script and closes after it, or hangs.
async fn scripted(steps: Steps, hangs: bool) -> SocketAddr {
    remote(move |mut peer, _| async move {
        for (heard, told) in steps {
            let mut octets = vec![0; heard.len()];
            peer.0.read_exact(&mut octets).await.unwrap();
            assert_eq!(octets, *heard);
            peer.0.write_all(told).await.unwrap();
        }
        if hangs {
            let _ = peer.0.read_u8().await;
        }
    })
    .await
}

async fn refused(server: SocketAddr, login: Option<Credentials>, patience: Duration) -> ConnectFailure {
    let options = through(server, ProxyProtocol::Socks5 { login }, patience);
    Connection::open(TARGET.parse().unwrap(), &options).await.unwrap_err()
}

// RFC 1928 §3 and §4, RFC 1929 §2.
const HELLO: &[u8] = &[5, 1, 0];
const HELLO_WITH_LOGIN: &[u8] = &[5, 2, 0, 2];
const LOGIN: &[u8] = b"\x01\x04user\x06secret";
const REQUEST: &[u8] = &[5, 1, 0, 1, 192, 0, 2, 25, 0, 25];

/// Whether we log in, what is said, whether the proxy hangs then, and whom the failure blames for what.
const FAILURES: &[(bool, Steps, bool, &str)] = &[
    (false, &[(HELLO, b"HT")], false, "proxy: it does not speak SOCKS5"),
    (false, &[(HELLO, &[5, 2])], false, "proxy: it wants a login, and none is configured"),
    (false, &[(HELLO, &[5])], false, "proxy: early eof"),
    (false, &[(HELLO, &[])], true, "proxy: timed out"),
    (true, &[(HELLO_WITH_LOGIN, &[5, 0xff])], false, "proxy: it takes no login with user and password"),
    (true, &[(HELLO_WITH_LOGIN, &[5, 2]), (LOGIN, &[1, 1])], false, "proxy: it refuses our user or password"),
    (true, &[(HELLO_WITH_LOGIN, &[5, 2]), (LOGIN, &[])], true, "proxy: timed out"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 1, 0, 1])], false, "proxy: it says: general failure"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 2, 0, 1])], false, "proxy: its rules do not allow the connection"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 3, 0, 1])], false, "host: network unreachable"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 4, 0, 1])], false, "host: host unreachable"),
    (
        true,
        &[(HELLO_WITH_LOGIN, &[5, 2]), (LOGIN, &[1, 0]), (REQUEST, &[5, 5, 0, 1])],
        false,
        "host: connection refused",
    ),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 6, 0, 1])], false, "host: its time to live ran out on the way"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 7, 0, 1])], false, "proxy: it does not know the command CONNECT"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 8, 0, 1])], false, "proxy: it does not know this kind of address"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 99, 0, 1])], false, "proxy: it replied with 99, which has no meaning"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[4, 0, 0, 1])], false, "proxy: its reply is none of SOCKS5"),
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[5, 0, 0, 1, 10])], false, "proxy: early eof"),
    // The proxy took the order: what it waits for then is the host.
    (false, &[(HELLO, &[5, 0]), (REQUEST, &[])], true, "host: timed out"),
];

#[tokio::test]
async fn each_failure_is_the_proxys_or_the_hosts() {
    for (logs_in, steps, hangs, expected) in FAILURES {
        let server = scripted(steps, *hangs).await;
        let patience = if *hangs { Duration::from_millis(200) } else { PATIENCE };
        let failure = refused(server, login().filter(|_| *logs_in), patience).await;
        let expected = match expected.split_once(": ").unwrap() {
            ("host", what) => format!("Connect: connect to 192.0.2.25:25 through the SOCKS5 proxy {server}: {what}"),
            (_, what) => format!("Local: the SOCKS5 proxy {server} cannot be used: {what}"),
        };
        assert_eq!(said(&failure.cause), expected);
        assert_eq!((failure.stage, failure.tls_fault), (Stage::Connect, None));
    }
}

#[tokio::test]
async fn what_ends_before_the_greeting_names_the_proxy() {
    let server = scripted(&[(HELLO, &[5, 0]), (REQUEST, &[5, 0, 0, 1, 10, 0, 0, 1, 4, 0])], false).await;
    let told = said(&refused(server, None, PATIENCE).await.cause);
    assert_eq!(
        told,
        format!("Closed: connection lost while waiting for the greeting through the SOCKS5 proxy {server}")
    );
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_our_trouble() {
    let server: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for protocol in [ProxyProtocol::Socks5 { login: None }, ProxyProtocol::HeaderV1] {
        let options = through(server, protocol, PATIENCE);
        let failure = Connection::open(TARGET.parse().unwrap(), &options).await.unwrap_err();
        let told = said(&failure.cause);
        assert!(told.starts_with("Local: the ") && told.contains("proxy 127.0.0.1:1 cannot be used: "), "{told}");
    }
}

#[tokio::test]
async fn a_session_runs_through_socks_and_no_octet_of_it_is_lost() {
    for reply in [
        &[5, 0, 0, 1, 10, 0, 0, 1, 4, 0][..],
        b"\x05\0\0\x03\x05a.net\0\0",
        &[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
    ] {
        let server = remote(move |mut peer, _| async move {
            let mut octets = [0; 3];
            peer.0.read_exact(&mut octets).await.unwrap();
            peer.0.write_all(&[5, 0]).await.unwrap();
            let mut octets = [0; 22];
            peer.0.read_exact(&mut octets).await.unwrap();
            assert_eq!(octets[..4], [5, 1, 0, 4], "an address of IPv6");
            // The greeting comes along with the reply.
            peer.0.write_all(&[reply, b"220 mx.example.org\r\n"].concat()).await.unwrap();
            peer.hear("EHLO client.example\r\n").await;
            peer.say("250 mx.example.org\r\n").await;
            peer.hear("QUIT\r\n").await;
        })
        .await;
        let options = through(server, ProxyProtocol::Socks5 { login: None }, PATIENCE);
        let connection = Connection::open("[2001:db8::25]:25".parse().unwrap(), &options).await.unwrap();
        connection.quit().await;
    }
}

#[tokio::test]
async fn a_proxy_is_told_from_which_address_to_connect_to_whom() {
    for (protocol, source, target) in [
        (ProxyProtocol::HeaderV1, "192.0.2.1", "192.0.2.25:25"),
        (ProxyProtocol::HeaderV2, "192.0.2.1", "192.0.2.25:25"),
        (ProxyProtocol::HeaderV1, "2001:db8::1", "[2001:db8::25]:587"),
        (ProxyProtocol::HeaderV2, "2001:db8::1", "[2001:db8::25]:587"),
    ] {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let server = remote(move |mut peer, _| {
            let tell = tell.clone();
            async move {
                tell.send(read_header(&mut peer.0, PATIENCE).await.unwrap()).unwrap();
                peer.greet("").await;
                peer.hear("QUIT\r\n").await;
            }
        })
        .await;
        let source: IpAddr = source.parse().unwrap();
        let target: SocketAddr = target.parse().unwrap();
        let options = ConnectOptions { source: Some(source), ..through(server, protocol, PATIENCE) };
        Connection::open(target, &options).await.unwrap().quit().await;
        let expected = Proxied::Client { source: SocketAddr::new(source, 0), destination: target };
        assert_eq!(told.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn nothing_is_said_to_a_proxy_that_cannot_be_told_our_address() {
    for source in [None, Some("2001:db8::1".parse().unwrap())] {
        let server = remote(|mut peer, _| async move { assert_eq!(peer.hear_out().await, "") }).await;
        let options = ConnectOptions { source, ..through(server, ProxyProtocol::HeaderV2, PATIENCE) };
        let failure = Connection::open(TARGET.parse().unwrap(), &options).await.unwrap_err();
        assert!(said(&failure.cause).starts_with("Local: the PROXY protocol proxy "), "{failure:?}");
        drop(TcpStream::connect(server).await);
    }
}

#[test]
fn a_proxys_password_is_not_shown() {
    let proxy = EgressProxy { server: TARGET.parse().unwrap(), protocol: ProxyProtocol::Socks5 { login: login() } };
    assert!(!format!("{proxy} {proxy:?}").contains("secret"));
}
