//! A name server for one test: it says what the test told it to, over UDP and TCP on one port of the loopback address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TLSA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mailtier_dns::Resolver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What a name gives.
pub(crate) enum Say {
    /// These records, each to a question for its kind; none is NODATA.
    Records(Vec<RData>),
    /// The same, validated with DNSSEC.
    Secure(Vec<RData>),
    /// The same, with another lifetime in seconds.
    RecordsFor(u32, Vec<RData>),
    /// An address to A, SERVFAIL to everything else.
    OnlyA(&'static str),
    ServFail,
    Refused,
    Nothing,
}

pub(crate) fn mx(preference: u16, host: &str) -> RData {
    RData::MX(MX::new(preference, absolute(host)))
}

pub(crate) fn a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

pub(crate) fn aaaa(address: &str) -> RData {
    RData::AAAA(AAAA(address.parse().unwrap()))
}

pub(crate) fn cname(name: &str) -> RData {
    RData::CNAME(CNAME(absolute(name)))
}

pub(crate) fn tlsa_record(usage: u8, selector: u8, matching: u8) -> RData {
    RData::TLSA(TLSA::new(usage.into(), selector.into(), matching.into(), vec![7; 32]))
}

pub(crate) fn txt(pieces: &[&str]) -> RData {
    RData::TXT(TXT::new(pieces.iter().map(|&piece| piece.to_owned()).collect()))
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).unwrap()
}

#[derive(Clone)]
pub(crate) struct NameServer {
    address: SocketAddr,
    names: Arc<HashMap<Name, Say>>,
    asked: Arc<Mutex<HashMap<Name, usize>>>,
}

impl NameServer {
    pub(crate) async fn start<const N: usize>(names: [(&'static str, Say); N]) -> Self {
        let (tcp, udp) = sockets().await;
        let server = Self {
            address: tcp.local_addr().unwrap(),
            names: Arc::new(names.into_iter().map(|(name, say)| (absolute(name), say)).collect()),
            asked: Arc::default(),
        };
        tokio::spawn(server.clone().datagrams(udp));
        tokio::spawn(server.clone().streams(tcp));
        server
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::new(&[self.address], crate::TIMEOUT).unwrap()
    }

    /// How often a name was asked for, whatever the kind.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(&absolute(name)).copied().unwrap_or(0)
    }

    async fn datagrams(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let Some(mut answer) = self.answer(&buffer[..length]) else { continue };
            if answer.to_vec().unwrap().len() > 1232 {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    }

    async fn streams(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(self.clone().stream(stream));
        }
    }

    async fn stream(self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.unwrap();
            let Some(answer) = self.answer(&question) else { continue };
            let answer = answer.to_vec().unwrap();
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Message> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries.first().unwrap().clone();
        *self.asked.lock().unwrap().entry(query.name().clone()).or_default() += 1;
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.add_query(query.clone());
        let (ttl, records) = match self.names.get(query.name()) {
            Some(Say::Nothing) => return None,
            Some(Say::Records(records)) => (300, records.clone()),
            Some(Say::Secure(records)) => {
                // RFC 6840 section 5.8: said to those who ask for it.
                answer.metadata.authentic_data = question.metadata.authentic_data;
                (300, records.clone())
            }
            Some(Say::RecordsFor(ttl, records)) => (*ttl, records.clone()),
            Some(Say::OnlyA(address)) if query.query_type() == RecordType::A => (300, vec![a(address)]),
            Some(Say::OnlyA(_) | Say::ServFail) => {
                answer.metadata.response_code = ResponseCode::ServFail;
                return Some(answer);
            }
            Some(Say::Refused) => {
                answer.metadata.response_code = ResponseCode::Refused;
                return Some(answer);
            }
            None => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                (300, Vec::new())
            }
        };
        let fits = |data: &RData| [query.query_type(), RecordType::CNAME].contains(&data.record_type());
        let found: Vec<_> = records.into_iter().filter(fits).collect();
        if found.is_empty() {
            let soa = SOA::new(absolute("ns.example"), absolute("admin.example"), 1, 3600, 600, 86_400, 300);
            answer.add_authorities([Record::from_rdata(absolute("example"), 300, RData::SOA(soa))]);
        }
        answer.add_answers(found.into_iter().map(|data| Record::from_rdata(query.name().clone(), ttl, data)));
        Some(answer)
    }
}

/// TCP and UDP on the same free port.
async fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (tcp, udp);
        }
    }
}
