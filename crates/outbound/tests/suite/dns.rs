//! A name server for one test, over UDP on a port of the loopback address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, MX};
use hickory_proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;

/// What a name gives.
pub(crate) enum Say {
    Records(Vec<RData>),
    ServFail,
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
    let names: Arc<HashMap<_, _>> = Arc::new(names.into_iter().map(|(name, say)| (absolute(name), say)).collect());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let answer = answer(&names, &Message::from_vec(&buffer[..length]).unwrap());
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    address
}

fn answer(names: &HashMap<Name, Say>, question: &Message) -> Message {
    let query = question.queries.first().unwrap().clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    match names.get(query.name()) {
        Some(Say::Records(records)) => {
            let fitting = records.iter().filter(|data| data.record_type() == query.query_type());
            answer.add_answers(fitting.map(|data| Record::from_rdata(query.name().clone(), 300, data.clone())));
        }
        Some(Say::ServFail) => answer.metadata.response_code = ResponseCode::ServFail,
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}
