//! A name server for one test, over UDP on a port of the loopback address; what it says can change.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, MX, TXT};
use hickory_proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;

/// What a name gives.
pub(crate) enum Say {
    Records(Vec<RData>),
    /// The same, not to be kept.
    Fleeting(Vec<RData>),
    ServFail,
}

pub(crate) fn txt(text: &str) -> Say {
    Say::Fleeting(vec![RData::TXT(TXT::new(vec![text.to_owned()]))])
}

pub(crate) fn mx(hosts: &[(u16, &str)]) -> Say {
    Say::Records(hosts.iter().map(|(preference, host)| RData::MX(MX::new(*preference, absolute(host)))).collect())
}

pub(crate) fn addresses(addresses: &[&str]) -> Say {
    let record = |address: &&str| match address.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Say::Records(addresses.iter().map(record).collect())
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).unwrap()
}

/// Starts a name server; names not given do not exist.
pub(crate) async fn serve<const N: usize>(names: [(&str, Say); N]) -> SocketAddr {
    NameServer::start(names).await.address
}

/// One whose answers can be changed.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    names: Names,
}

type Names = Arc<Mutex<HashMap<Name, Say>>>;

impl NameServer {
    pub(crate) async fn start<const N: usize>(names: [(&str, Say); N]) -> Self {
        let names: HashMap<_, _> = names.into_iter().map(|(name, say)| (absolute(name), say)).collect();
        let names: Names = Arc::new(Mutex::new(names));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: socket.local_addr().unwrap(), names: Arc::clone(&names) };
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&names.lock().unwrap(), &Message::from_vec(&buffer[..length]).unwrap());
                socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        server
    }

    /// From now on a name gives this, or does not exist.
    pub(crate) fn set(&self, name: &str, say: Option<Say>) {
        let mut names = self.names.lock().unwrap();
        match say {
            Some(say) => drop(names.insert(absolute(name), say)),
            None => drop(names.remove(&absolute(name))),
        }
    }
}

fn answer(names: &HashMap<Name, Say>, question: &Message) -> Message {
    let query = question.queries.first().unwrap().clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    match names.get(query.name()) {
        Some(say @ (Say::Records(records) | Say::Fleeting(records))) => {
            let ttl = if matches!(say, Say::Fleeting(_)) { 0 } else { 300 };
            let fitting = records.iter().filter(|data| data.record_type() == query.query_type());
            answer.add_answers(fitting.map(|data| Record::from_rdata(query.name().clone(), ttl, data.clone())));
        }
        Some(Say::ServFail) => answer.metadata.response_code = ResponseCode::ServFail,
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}
