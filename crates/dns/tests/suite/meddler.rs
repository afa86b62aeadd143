//! Who sits on the way to a resolver and changes what it says. Not responsible for the zones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;

/// What is done to an answer; none is nothing at all.
type Meddle = dyn Fn(Message) -> Option<Message> + Send + Sync;

pub(crate) struct Meddler {
    pub(crate) address: SocketAddr,
    questions: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<(Name, RecordType)>>>,
}

impl Meddler {
    /// Before this resolver.
    pub(crate) async fn start(
        resolver: SocketAddr,
        meddle: impl Fn(Message) -> Option<Message> + Send + Sync + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (questions, asked) = (Arc::default(), Arc::default());
        let this = Self { address: socket.local_addr().unwrap(), questions, asked };
        let (counted, asked) = (Arc::clone(&this.questions), Arc::clone(&this.asked));
        let (socket, meddle): (_, Arc<Meddle>) = (Arc::new(socket), Arc::new(meddle));
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let question = buffer[..length].to_vec();
                counted.fetch_add(1, Ordering::Relaxed);
                let query = Message::from_vec(&question).unwrap().queries[0].clone();
                asked.lock().unwrap().push((query.name().clone(), query.query_type()));
                let (socket, meddle) = (Arc::clone(&socket), Arc::clone(&meddle));
                tokio::spawn(async move {
                    let answer = Message::from_vec(&put(resolver, &question).await).unwrap();
                    if let Some(answer) = meddle(answer) {
                        socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
                    }
                });
            }
        });
        this
    }

    /// How many questions came by.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    /// Whether this was asked.
    pub(crate) fn was_asked(&self, name: &str, kind: RecordType) -> bool {
        let name = Name::from_ascii(format!("{name}.")).unwrap();
        self.asked.lock().unwrap().contains(&(name, kind))
    }
}

/// Asks a resolver, and gives its answer as it came.
pub(crate) async fn put(resolver: SocketAddr, question: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(question, resolver).await.unwrap();
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
    buffer[..length].to_vec()
}
