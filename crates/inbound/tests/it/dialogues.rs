//! The engine's dialogues against the real listener: what holds without sockets holds with them.

use std::path::Path;

use bytesize::ByteSize;

use crate::client::{Client, queued_as};
use crate::dialogue::{self, Dialogue, Step};
use crate::queue::{Mode, Queue};
use crate::system::{System, config};

#[tokio::test]
async fn the_listener_speaks_as_the_engine_does() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../smtp/tests/dialogues"));
    let queue = Queue::new();
    let replica = queue.replica(0, Mode::Accept).await;
    let mut taken = 0;
    for dialogue in dialogue::all(directory) {
        let setting = &dialogue.setting;
        if setting.engine_only || setting.starttls {
            continue;
        }
        let mut config = config(&[&replica]);
        config.inbound.max_message_size = ByteSize::b(setting.max_message_bytes);
        config.inbound.max_recipients = setting.max_recipients;
        config.inbound.max_errors = setting.max_errors;
        let system = System::ready(config).await;
        take_through(&dialogue, &queue, Client::connect(system.address).await).await;
        system.shutdown.cancel();
        taken += 1;
    }
    assert!(taken >= 15, "only {taken} dialogues");
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
            Step::Tls | Step::Timeout | Step::ShutDown => panic!("{place}: for the engine only"),
        }
    }
}
