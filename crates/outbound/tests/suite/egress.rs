//! Which address a connection leaves from, and what it goes through.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mailtier_api::work::{AvoidedSource, Dispatch, WorkResult};
use mailtier_config::{Config, EgressPoolConfig, EgressProxyConfig, PoolAddressConfig, ProxyProtocol, Secret};
use mailtier_transport::proxy::{Proxied, read_header};
use mailtier_types::{Cause, Egress, Outcome, Stage, TroubleKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::dns::{self, addresses};
use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, only, smarthost};

fn local(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn address(last: u8, weight: u32, ehlo_name: Option<&str>) -> PoolAddressConfig {
    PoolAddressConfig { address: local(last), weight, ehlo_name: ehlo_name.map(str::to_owned) }
}

/// The pool `default` with these addresses.
fn pool(config: &mut Config, addresses: Vec<PoolAddressConfig>) {
    let name = "default".to_owned();
    config.outbound.pools = vec![EgressPoolConfig { name, addresses, ..EgressPoolConfig::default() }];
}

fn wishing(same: Option<u8>, avoided: &[u8]) -> Dispatch {
    Dispatch {
        same_source: same.map(local),
        avoided_sources: avoided
            .iter()
            .map(|last| AvoidedSource {
                address: local(*last),
                time: Duration::from_secs(60 * u64::from(*last)),
                refused_this: false,
            })
            .collect(),
        ..letter(&["a@b.example"])
    }
}

fn source(result: &WorkResult) -> Option<IpAddr> {
    only(result).egress.as_ref().and_then(|egress| egress.source)
}

fn trouble(outcome: &Outcome) -> (TroubleKind, &str) {
    match &outcome.cause {
        Cause::Trouble(trouble) => (trouble.kind, &trouble.text),
        Cause::Reply(_) => panic!("{outcome}"),
    }
}

#[tokio::test]
async fn addresses_share_connections_by_weight_each_with_its_name() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.deliveries_per_connection = 1;
        let addresses = vec![address(2, 3, Some("two.example")), address(3, 1, None), address(4, 0, None)];
        pool(config, addresses);
    })
    .await;
    for _ in 0..8 {
        assert!(only(&queue.deliver(letter(&["a@b.example"])).await).is_delivered());
    }
    let seen = peer.seen();
    assert_eq!(seen.clients, [2, 2, 3, 2, 2, 2, 3, 2].map(local), "127.0.0.4 is drained");
    let hellos: Vec<_> = seen.commands.iter().filter(|command| command.starts_with("EHLO")).collect();
    for (client, hello) in seen.clients.iter().zip(hellos) {
        assert_eq!(hello, if *client == local(2) { "EHLO two.example" } else { "EHLO out.example" });
    }
}

#[tokio::test]
async fn an_attempt_leaves_from_the_address_that_it_is_to_or_not_from_those_it_is_not() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        pool(config, vec![address(2, 1, None), address(3, 1, None), address(4, 0, None)]);
    })
    .await;
    for (wish, expected) in [
        (wishing(None, &[]), 2),
        // The connection from the first idles, and is not used.
        (wishing(Some(3), &[]), 3),
        (wishing(Some(2), &[]), 2),
        (wishing(None, &[3]), 2),
        (wishing(None, &[2]), 3),
        (wishing(Some(2), &[2]), 3),
        // Drained, or no address of ours any more: any will do, and one is open.
        (wishing(Some(4), &[]), 3),
        (wishing(Some(9), &[2]), 3),
    ] {
        let told = format!("{:?} {:?}", wish.same_source, wish.avoided_sources);
        assert_eq!(source(&queue.deliver(wish).await), Some(local(expected)), "{told}");
    }
    assert_eq!(peer.seen().clients, [local(2), local(3)], "one connection each, used again");
}

#[tokio::test]
async fn where_every_address_is_blocked_mail_waits_until_one_is_not() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        pool(config, vec![address(2, 1, None), address(3, 1, None), address(4, 0, None)]);
    })
    .await;
    let result = queue.deliver(wishing(None, &[3, 2])).await;
    let outcome = only(&result);
    let told = "every IPv4 address of the egress pool `default` is blocked there; one is tried again in 120 s";
    assert_eq!(trouble(outcome), (TroubleKind::Local, told));
    assert_eq!(outcome.retry_after, Some(Duration::from_secs(120)));
    assert_eq!(peer.seen().sessions, 0);
}

#[tokio::test]
async fn what_a_destination_blocks_does_not_concern_mail_that_goes_another_way() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.routes[0].sender = Some("from.example".to_owned());
        pool(config, vec![address(2, 1, None), address(3, 1, None)]);
    })
    .await;
    let both = wishing(None, &[2, 3]);
    assert_eq!(source(&queue.deliver(both).await), Some(local(2)), "a smarthost of this sender's own");
    let mut refused = wishing(None, &[2, 3]);
    refused.avoided_sources[0].refused_this = true;
    assert_eq!(source(&queue.deliver(refused).await), Some(local(3)), "but where it was refused itself it does");
}

#[tokio::test]
async fn a_refusal_before_mail_names_the_address_that_it_was_said_to() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new().banner("554 5.7.1 blocked")).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        pool(config, vec![address(2, 1, None), address(3, 0, None)]);
    })
    .await;
    let result = queue.deliver(letter(&["a@b.example"])).await;
    let egress = Egress { pool: "default".to_owned(), source: Some(local(2)), has_others: false };
    assert_eq!(only(&result).egress, Some(egress), "what is drained is no other");
}

/// A SOCKS5 proxy that wants `user` and `secret`, and connects; what it was asked for is told.
async fn socks() -> (SocketAddr, mpsc::UnboundedReceiver<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut offer = [0; 4];
                client.read_exact(&mut offer).await.unwrap();
                assert_eq!(offer, [5, 2, 0, 2]);
                client.write_all(&[5, 2]).await.unwrap();
                let mut login = [0; 13];
                client.read_exact(&mut login).await.unwrap();
                let is_right = &login == b"\x01\x04user\x06secret";
                client.write_all(&[1, u8::from(!is_right)]).await.unwrap();
                let mut request = [0; 10];
                if client.read_exact(&mut request).await.is_err() {
                    return;
                }
                let [5, 1, 0, 1, a, b, c, d, high, low] = request else { panic!("{request:?}") };
                let target = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
                tell.send(target).unwrap();
                match TcpStream::connect(target).await {
                    Ok(mut server) => {
                        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                    Err(_) => client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap(),
                }
            });
        }
    });
    (address, told)
}

fn proxied(config: &mut Config, protocol: ProxyProtocol, server: SocketAddr) {
    let login = (protocol == ProxyProtocol::Socks5).then(|| "user".to_owned());
    let password = login.as_ref().map(|_| Secret::new("secret".to_owned()));
    let proxy = EgressProxyConfig { protocol, server, user: login, password, password_file: None };
    config.outbound.pools[0].proxy = Some(proxy);
}

#[tokio::test]
async fn mail_goes_through_a_socks_proxy_and_its_troubles_are_ours() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let (server, mut asked) = socks().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        pool(config, Vec::new());
        proxied(config, ProxyProtocol::Socks5, server);
    })
    .await;
    assert!(only(&queue.deliver(letter(&["a@b.example"])).await).is_delivered());
    assert_eq!(asked.recv().await.unwrap(), peer.address);
    assert_eq!(peer.seen().taken.len(), 1);

    // The host refuses: its trouble. The proxy refuses us: ours.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (right, expected) in [
        (
            true,
            (
                TroubleKind::Connect,
                format!("connect to {closed} through the SOCKS5 proxy {server}: connection refused"),
            ),
        ),
        (
            false,
            (TroubleKind::Local, format!("the SOCKS5 proxy {server} cannot be used: it refuses our user or password")),
        ),
    ] {
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| {
            smarthost(config, &peer);
            config.outbound.routes[0].hosts = vec![closed.to_string()];
            pool(config, Vec::new());
            proxied(config, ProxyProtocol::Socks5, server);
            let proxy = config.outbound.pools[0].proxy.as_mut().unwrap();
            proxy.user = Some(if right { "user" } else { "ruse" }.to_owned());
        })
        .await;
        let result = queue.deliver(letter(&["a@b.example"])).await;
        let (kind, text) = trouble(only(&result));
        assert_eq!((kind, text.to_owned()), expected);
        assert_eq!((only(&result).stage, only(&result).status().class()), (Stage::Connect, 4));
    }
}

#[tokio::test]
async fn a_private_address_is_refused_through_a_proxy_too() {
    let queue = Queue::start().await;
    let names = dns::serve([("inside.example", addresses(&["127.0.0.1", "10.0.0.1"]))]).await;
    let (server, mut asked) = socks().await;
    let _worker = Worker::start(&queue, |config| {
        config.outbound.dns_servers = vec![names];
        pool(config, Vec::new());
        proxied(config, ProxyProtocol::Socks5, server);
    })
    .await;
    let result = queue.deliver(letter(&["a@inside.example"])).await;
    assert!(!only(&result).is_delivered());
    assert!(asked.try_recv().is_err(), "nobody was asked to connect there: {result:?}");
}

#[tokio::test]
async fn a_proxy_is_told_which_address_of_the_pool_to_use() {
    for protocol in [ProxyProtocol::ProxyV1, ProxyProtocol::ProxyV2] {
        let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let header = read_header(&mut client, Duration::from_secs(5)).await.unwrap();
                let Proxied::Client { source, destination } = header else { panic!("{header:?}") };
                tell.send(source.ip()).unwrap();
                let mut host = TcpStream::connect(destination).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut host).await });
            }
        });
        let addresses: [Ipv4Addr; 2] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let _worker = Worker::start(&queue, |config| {
            smarthost(config, &peer);
            config.outbound.deliveries_per_connection = 1;
            pool(config, Vec::new());
            config.outbound.pools[0].source_ipv4 = addresses.to_vec();
            proxied(config, protocol, server);
        })
        .await;
        for address in addresses {
            let result = queue.deliver(letter(&["a@b.example"])).await;
            assert!(only(&result).is_delivered());
            assert_eq!((source(&result), told.recv().await), (Some(address.into()), Some(address.into())));
        }
    }
}
