//! The engine's dialogues against the real listener: what holds without sockets holds with them.

use std::path::Path;

use bytesize::ByteSize;
use mailtier_config::{ContentLines, ListenerConfig, ListenerProtocol, ListenerTls};

use crate::client::{Client, queued_as};
use crate::delivery::{in_tls, write_certificate};
use crate::dialogue::{self, Dialogue, Step};
use crate::queue::{Mode, Queue};
use crate::system::{System, config};

#[tokio::test]
async fn the_listener_speaks_as_the_engine_does() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../smtp/tests/dialogues"));
    let queue = Queue::new();
    let replica = queue.replica(0, Mode::Accept).await;
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    write_certificate(&certificate, &key);
    let mut taken = 0;
    for dialogue in dialogue::all(directory) {
        let setting = &dialogue.setting;
        if setting.engine_only {
            continue;
        }
        let mut config = config(&[&replica]);
        let inbound = &mut config.inbound;
        inbound.max_message_size = ByteSize::b(setting.max_message_bytes);
        inbound.max_recipients = setting.max_recipients;
        inbound.max_transactions = setting.max_transactions;
        inbound.max_errors = setting.max_errors;
        inbound.discard_ehlo_keywords.clone_from(&setting.withholds);
        if setting.normalize {
            inbound.lines = ContentLines::Normalize;
        }
        if setting.starttls || setting.tls_required {
            (inbound.tls_certificate, inbound.tls_key) = (Some(certificate.clone()), Some(key.clone()));
        }
        if setting.trusted_proxy {
            inbound.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
            inbound.xforward_networks.clone_from(&inbound.xclient_networks);
        }
        inbound.listeners = vec![ListenerConfig {
            name: "tested".into(),
            listen: std::mem::take(&mut inbound.listen),
            protocol: if setting.lmtp { ListenerProtocol::Lmtp } else { ListenerProtocol::Smtp },
            tls: if setting.tls_required { ListenerTls::Required } else { ListenerTls::Offered },
            ..ListenerConfig::default()
        }];
        let system = System::ready(config).await;
        take_through(&dialogue, &queue, Client::connect(system.address).await).await;
        system.shutdown.cancel();
        taken += 1;
    }
    assert!(taken >= 40, "only {taken} dialogues");
}

async fn take_through(dialogue: &Dialogue, queue: &Queue, mut client: Client) {
    let mut last = None;
    for (number, step) in dialogue.steps.iter().enumerate() {
        let place = format!("{} step {number} {step:?}", dialogue.name);
        match step {
            Step::Send { octets, .. } => client.send(octets).await,
            Step::Expect(expected) => {
                let line = client.line().await.unwrap_or_else(|| panic!("{place}: the server has closed"));
                assert!(dialogue::matches(expected, &line), "{place}: the server said {line:?}");
                if line.contains("Queued as") {
                    last = Some(queued_as(&line));
                }
            }
            Step::Message(content) => {
                let stored = queue.content(last.unwrap_or_else(|| panic!("{place}: nothing was accepted")));
                assert!(stored.ends_with(content), "{place}: {:?}", String::from_utf8_lossy(&stored));
            }
            Step::Closed => assert_eq!(client.line().await, None, "{place}"),
            Step::Eof => return,
            Step::Tls => client = in_tls(client).await,
            Step::Timeout | Step::ShutDown => panic!("{place}: for the engine only"),
        }
    }
}
